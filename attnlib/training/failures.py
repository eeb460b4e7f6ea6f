"""Ways in which training stops early: their errors, messages with advice, and exit codes.

In this order: signals, storage, memory, non-finite values.
"""

import errno
import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from attnlib.allocator import kept_memory
from attnlib.training.distributed import Group
from attnlib.training.state import Training

NOT_FINITE, NO_MEMORY, NO_STORAGE = 3, 4, 5  # exit codes
SPARE_BYTES = 16 * 2**20  # for logs, predictions and maps
LEAST_SCALE = 1e-4  # loss scale of float16 below which training has diverged, as in fairseq


class NonFiniteLossError(FloatingPointError):
    """Losses or gradients became NaN or infinite; ``report`` has the details."""

    exit_code = NOT_FINITE

    def __init__(self, report: dict[str, Any]) -> None:
        samples = ", ".join(str(index) for index in report["samples"][:8])
        more = ", ..." if len(report["samples"]) > 8 else ""
        super().__init__(
            f"{report['fault']} at step {report['step']} of {report['steps']} "
            f"in epoch {report['epoch']}, at a learning rate of {report['lr']:.3g}. First bad "
            f"layer: {report['first_bad_layer']}. Training images of that step: {samples}{more}. "
            "The last saved state is from before it. A lower lr, a longer warm-up or amp=false "
            "may help; skip_nonfinite=N leaves out up to N such steps of an epoch."
        )
        self.report = report


class OutOfMemoryError(MemoryError):
    """A step did not fit into memory; the message says what would."""

    exit_code = NO_MEMORY


class StorageError(OSError):
    """The run can't be written; the last saved state is intact."""

    exit_code = NO_STORAGE


@dataclass
class StopRequest:
    """Whether a signal has asked the run to stop, and which one."""

    received: signal.Signals | None = None
    _before: dict[signal.Signals, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.received is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._put_back()  # a second signal ends the process at once

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def raise_as_exit(self) -> None:
        """Exit as the signal would have: KeyboardInterrupt (130) or SystemExit (143)."""
        if self.received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Inside, the first Ctrl-C or SIGTERM is a request to stop, the second ends at once.

    Handlers can only be set in the main thread; in others, signals keep their usual effect. One
    that is ignored, as Ctrl-C is by a background job, stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in (n for n in numbers if signal.getsignal(n) not in (None, signal.SIG_IGN)):
            request._before[number] = signal.signal(number, request._receive)
    try:
        yield request
    finally:
        request._put_back()


@contextmanager
def storage_faults(path: Path) -> Iterator[None]:
    """Turn a failed write below ``path`` into a StorageError with advice."""
    try:
        yield
    except StorageError:
        raise
    except OSError as fault:
        full = fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space" if full else "check that the folder can be written"
        raise StorageError(
            fault.errno,
            f"can't write to {path}: {fault.strerror or fault}; {remedy}, or choose another "
            "runs_dir, and give the same command again: it goes on from the last saved state",
        ) from fault


def check_storage(path: Path, needed: int) -> None:
    """Check, before the start, that ``path`` can be written and holds ``needed`` more bytes.

    Raises:
        StorageError: Saying what is available, what is needed, and what to do.
    """
    with storage_faults(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"written")
        probe.unlink()
        free = shutil.disk_usage(path).free
    if free < needed:
        raise StorageError(
            errno.ENOSPC,
            f"{path} has {free / 1e6:,.0f} MB left and this run needs {needed / 1e6:,.0f} MB; "
            "free some space, or choose another runs_dir",
        )


# Messages of allocators and CUDA's libraries, such as CUBLAS_STATUS_ALLOC_FAILED and cuDNN's
# CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED. The last is cuDNN's where no algorithm finds
# room to work.
NO_MEMORY_WORDS = re.compile(
    r"out[ _]?of[ _]?(device[ _]|host[ _])?memory|not enough memory|can(no|')t allocate memory"
    r"|_\w*ALLOC\w*_FAILED|MemoryAllocation|find a valid cuDNN algorithm",
    re.IGNORECASE,
)


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether an allocation failed, on any device and in any library."""
    if isinstance(fault, OSError):
        return fault.errno == errno.ENOMEM
    is_torch = isinstance(fault, RuntimeError) and NO_MEMORY_WORDS.search(str(fault)) is not None
    return is_torch or isinstance(fault, torch.OutOfMemoryError | MemoryError)


def available_memory(device: str) -> int | None:
    """Bytes that can still be allocated on ``device``; None if the system does not say."""
    if device.startswith("cuda"):
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    kept = kept_memory()
    try:
        import resource

        counts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(counts["MemAvailable"].split()[0]) * 1024
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError, ValueError, KeyError):
        return None
    free += kept
    return free if limit == resource.RLIM_INFINITY else min(free, max(limit - used + kept, 0))


def explain_out_of_memory(
    images: int, img_size: int, accumulate: int, bytes_per_image: int | None, free: int | None
) -> str:
    """The message of an OutOfMemoryError.

    Args:
        images: Images of one step, before it is divided into parts.
        img_size: Side of an image in pixels.
        accumulate: Parts of a step.
        bytes_per_image: Bytes kept per image for the backward pass, if known.
        free: Bytes available, if the device reports them.
    """
    at_once = math.ceil(images / accumulate)
    parts = accumulate * 2
    text = f"out of memory with {at_once} images of {img_size} x {img_size} pixels at once"
    if bytes_per_image and free is not None:
        fitting = max(int(0.8 * free / bytes_per_image), 1)
        if fitting < at_once:
            parts = max(math.ceil(images / fitting), parts)
            text += (
                f": each keeps {bytes_per_image / 1e6:,.1f} MB for the backward pass, and "
                f"{free / 1e6:,.0f} MB are free, so that about {fitting} would fit"
            )
    if parts > max(images // 2, 1):
        return f"{text}. Not even two images fit: choose a smaller img_size or model."
    return (
        f"{text}. With accumulate={parts} a step computes {math.ceil(images / parts)} images at a "
        f"time and the batch stays {images}; a smaller batch_size or img_size helps too."
    )


Loss = Callable[[Tensor, Tensor], Tensor]


def first_bad_layer(model: nn.Module, loss: Loss, images: Tensor, targets: Tensor) -> str | None:
    """Where a non-finite value first appears, in words; None if all are finite.

    Runs the step again, without loss scaling.

    Args:
        model: Its layers are checked in the order in which they run.
        loss: Computes a scalar from images and targets, through ``model``.
        images: The batch (B, 3, H, W).
        targets: Probabilities (B, K).
    """
    if not (images.isfinite().all() and targets.isfinite().all()):
        return "the batch itself"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"the weights of {name}"
    found: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            values = output if isinstance(output, Tensor) else None
            if not found and values is not None and not values.isfinite().all():
                found.append(f"{name} ({type(layer).__name__}), forward")

        return hook

    with ExitStack() as hooks:
        for name, layer in model.named_modules():
            if not list(layer.children()):
                hooks.callback(layer.register_forward_hook(look(name)).remove)
        value = loss(images, targets)
    if found:
        return found[0]
    if not value.isfinite():
        return "the loss, computed from finite logits"
    model.zero_grad(set_to_none=True)
    value.backward()
    gradients = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    bad = [name for name, gradient in gradients if not gradient.isfinite().all()]
    model.zero_grad(set_to_none=True)
    return f"{bad[-1]}, backward" if bad else None


def bytes_per_image(loss: Loss, images: Tensor, targets: Tensor) -> int:
    """Bytes kept for the backward pass per additional image, not counting weights.

    Compares what autograd saves for one image and for two.
    """

    def saved(count: int) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # keeps the address from being reused
            return tensor

        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss(images[:count], targets[:count])
        return sum(storages.values())

    return saved(2) - saved(1)


def count_nonfinite(training: Training, loss: Tensor, step: int, group: Group) -> Tensor:
    """Note the step's loss and gradients, and whether they are not finite, which is returned.

    In float16, overflowing gradients are normal, as the scaler searches for its scale. They are
    counted separately. Everything stays on the device, without synchronisation.
    """
    gradients = [p.grad for p in training.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    counts = torch.stack([loss, *(~torch.stack([loss, norm]).isfinite()).float()])
    loss, bad_losses, bad_gradients = group.sum(counts)
    fault, overflow = bad_losses > 0, bad_gradients > 0
    if training.scaler.is_enabled():
        training.overflows += overflow & ~fault
    else:
        fault = fault | overflow
    training.total += torch.where(fault, 0.0, loss)
    training.loss, training.grad_norm = loss, norm
    training.first_fault += torch.where(fault & (training.first_fault == 0), step + 1, 0)
    training.faults += fault
    return fault | overflow


def skip_update(optimizer: torch.optim.Optimizer, leave_out: Tensor) -> None:
    """Make the next update a no-op if ``leave_out`` is true, without synchronisation.

    Fused optimisers read a tensor attribute ``found_inf``, and skip the update and the
    count of steps if it is 1. PyTorch has no public way to set it; its own GradScaler sets the
    same attribute (torch/amp/grad_scaler.py, ``GradScaler.step``; read in torch/optim/adam.py,
    ``Adam.step``).
    """
    vars(optimizer)["found_inf"] = leave_out.float()
