"""Training in several processes: joining the group, dividing the work, and communicating.

They are started by ``torchrun``, which sets RANK, WORLD_SIZE and LOCAL_RANK; without it one
process is a group by itself. The learner that a process calls in each step is also made here.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from attnlib.config import TrainConfig
from attnlib.losses import Objective

Positions = npt.NDArray[np.int64]
TIMEOUT = timedelta(minutes=30)  # longest wait of one rank for another
REASON_TIMEOUT = timedelta(seconds=5)  # wait for the reason of a process that has ended


@dataclass(frozen=True)
class Group:
    """The processes that train together; only rank 0 writes."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any rank; all ranks must call this."""
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
        """The ranks' arrays, concatenated along the first axis in the order of ranks."""
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
        """Wait for all ranks."""
        self.any(False)


_groups: dict[str, Any] = {}  # the group for host memory, besides CUDA's


def _host_group() -> Any:
    return _groups.get("host")


def current_group() -> Group:
    """The group that ``join`` started, or the single process."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return Group()


def launched_by_torchrun() -> bool:
    """Whether ``torchrun`` started this process, alone or with others."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def first_of_group() -> bool:
    """Whether this process is the first, before or after joining the group."""
    return os.environ.get("RANK", "0") == "0"


def local_device(device: str) -> str:
    """This rank's device: ``cuda`` becomes ``cuda:LOCAL_RANK`` under ``torchrun``."""
    if device == "cuda" and launched_by_torchrun():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


@contextmanager
def join(device: str) -> Iterator[Group]:
    """Join the other ranks, if ``torchrun`` started any, and leave them at the end.

    NCCL is used between CUDA devices, gloo between CPUs.
    """
    if not launched_by_torchrun() or dist.is_initialized():
        yield current_group()
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(device)
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(
        "nccl" if is_cuda else "gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )
    _groups["host"] = dist.new_group(backend="gloo", timeout=TIMEOUT) if is_cuda else None
    try:
        with reasons_shared(store, rank):
            yield current_group()
    finally:
        dist.destroy_process_group()
        _groups.clear()


class LostProcessError(ConnectionError):
    """Another process of the group has ended, so this one can't continue."""


@contextmanager
def reasons_shared(store: Any, rank: int) -> Iterator[None]:
    """Share the reason if this process ends; get the other's reason if that one has ended.

    Gloo soon reports that a process is gone, but not why.

    Raises:
        LostProcessError: With the other's reason, if another process ended first.
    """
    try:
        yield
    except Exception as fault:
        if not is_connection_lost(fault):
            reason = str(fault).strip() or type(fault).__name__
            store.compare_set("attnlib/reason", "", f"process {rank} of the group ended: {reason}")
            raise
        try:
            store.wait(["attnlib/reason"], REASON_TIMEOUT)
            reason = store.get("attnlib/reason").decode()
        except RuntimeError:  # no reason was left, or the store is gone with its process
            reason = "another process of the group ended without saying why"
        raise LostProcessError(reason) from fault


def is_connection_lost(fault: BaseException) -> bool:
    """Whether another process can't be reached any more."""
    if isinstance(fault, torch.distributed.DistError):
        return True
    return isinstance(fault, RuntimeError) and any(w in str(fault) for w in ("gloo", "NCCL"))


def part_of_batch(batch_size: int, part: int, parts: int) -> Positions:
    """Positions of a global batch that belong to one of ``parts``, in ascending order.

    A position and its mirror (mixing's partner) are in the same part, at mirrored places of
    it, so that a part is mixed exactly as the whole batch would be.

    The middle of an odd batch is its own mirror; it joins a pair, so no part is a single image,
    which BatchNorm could not normalise.

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
    """Computes the objective's value from images and targets."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B, 3, H, W), (B, K) -> scalar."""
        return self.objective(self.model, images, targets)


def distribute(learner: Learner, config: TrainConfig, group: Group) -> nn.Module:
    """A learner whose gradients are averaged over all processes of ``group``."""
    if group.size == 1:
        return learner
    devices = [torch.device(config.device)] if config.device.startswith("cuda") else None
    return DistributedDataParallel(learner, devices)


@contextmanager
def computed_alone(model: nn.Module) -> Iterator[None]:
    """Inside, no layer waits for other processes: SyncBatchNorm uses only this one's images.

    For examining a step that only some processes may be able to compute.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.SyncBatchNorm)]
    for layer in layers:
        alone = nn.modules.batchnorm._BatchNorm.forward
        vars(layer)["forward"] = functools.partial(alone, layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]
