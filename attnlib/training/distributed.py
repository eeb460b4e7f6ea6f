"""Processes that train together: how they meet, what each computes, how they agree.

Started by ``torchrun``, which sets RANK, WORLD_SIZE and LOCAL_RANK; without it there is one
process, a group of its own. The learner, which a process calls in each step, is made here too.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnlib.config import TrainConfig
from attnlib.losses import Objective

Positions = npt.NDArray[np.int64]
TIMEOUT = timedelta(minutes=30)  # the longest that one rank waits for another


@dataclass(frozen=True)
class Group:
    """The processes that train together; rank 0 alone writes."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any rank; all ranks must ask."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=_host_group())
        return bool(flags)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over ranks of a tensor on the training device."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def gather(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The ranks' arrays, joined along the first axis in the order of ranks."""
        if self.size == 1:
            return array
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, array, group=_host_group())
        return np.concatenate(parts)

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=_host_group())
        return box[0]

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.any(False)


_groups: dict[str, Any] = {}  # the group of host memory, beside CUDA's


def _host_group() -> Any:
    return _groups.get("host")


def current_group() -> Group:
    """The group that ``join`` has started, or the single process."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return Group()


def launched_by_torchrun() -> bool:
    """Whether ``torchrun`` has started this process, with or without others."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def first_of_group() -> bool:
    """Whether this process is the first, before or after it has met the others."""
    return os.environ.get("RANK", "0") == "0"


def local_device(device: str) -> str:
    """This rank's device: ``cuda`` becomes ``cuda:LOCAL_RANK`` under ``torchrun``."""
    if device == "cuda" and launched_by_torchrun():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


@contextmanager
def join(device: str) -> Iterator[Group]:
    """Meet the other ranks, if ``torchrun`` started some, and leave them at the end.

    NCCL carries gradients between CUDA devices, gloo everything between CPUs.
    """
    if not launched_by_torchrun() or dist.is_initialized():
        yield current_group()
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if is_cuda else "gloo", timeout=TIMEOUT)
    _groups["host"] = dist.new_group(backend="gloo", timeout=TIMEOUT) if is_cuda else None
    try:
        yield current_group()
    finally:
        dist.destroy_process_group()
        _groups.clear()


def part_of_batch(batch_size: int, part: int, parts: int) -> Positions:
    """Positions of a global batch that one of ``parts`` takes, in ascending order.

    A position and its mirror (mixing's partner) are always in the same part, at mirrored places of
    it, so a part mixes exactly as the whole batch would.

    The middle of an odd batch is its own mirror; it joins a pair, so no part is a single image, of
    which BatchNorm could learn nothing.

    Raises:
        ValueError: If there are more parts than pairs.
    """
    pairs = (batch_size + 1) // 2
    if parts > max(batch_size // 2, 1):
        raise ValueError(f"a batch of {batch_size} images can't be cut into {parts} parts of pairs")
    first = np.arange(part, pairs, parts, dtype=np.int64)
    return np.unique(np.concatenate([first, batch_size - 1 - first]))


def part_of_split(length: int, rank: int, size: int) -> Positions:
    """The contiguous positions of a split that one rank evaluates."""
    return np.array_split(np.arange(length, dtype=np.int64), size)[rank]


class Learner(nn.Module):
    """Images and targets to the objective's value."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B, 3, H, W), (B, K) -> scalar."""
        return self.objective(self.model, images, targets)


def make_learner(
    model: nn.Module,
    objective: Objective,
    config: TrainConfig,
    group: Group,
    example: Callable[[], tuple[Tensor, Tensor]],
) -> nn.Module:
    """The learner that the loop calls.

    Args:
        model: What is trained.
        objective: Model, images, targets to a scalar.
        config: Its device and compile count.
        group: The processes that train together.
        example: Makes a batch to compile with.
    """
    learner: nn.Module = Learner(model, objective)
    if group.size > 1:
        devices = [torch.device(config.device)] if config.device.startswith("cuda") else None
        learner = DistributedDataParallel(learner, devices)
    return compile_or_say_why(learner, model, example) if config.compile else learner


def compile_or_say_why(
    learner: nn.Module, model: nn.Module, example: Callable[[], tuple[Tensor, Tensor]]
) -> nn.Module:
    """The compiled learner, after one step on trial; if that fails, itself, with a warning.

    The trial leaves the model as it was: no gradients, BatchNorm's statistics untouched.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    compiled: nn.Module = torch.compile(learner)  # type: ignore[assignment]
    try:
        model.train()
        compiled(*example()).backward()
    except Exception as fault:  # compilers fail in every way there is
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        warnings.warn(f"torch.compile failed, so this run goes on without: {reason}", stacklevel=2)
        torch.compiler.reset()
        compiled = learner
    model.zero_grad(set_to_none=True)
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    return compiled
