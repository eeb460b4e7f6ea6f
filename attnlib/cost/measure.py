"""Measuring a model's cost: speed, memory, bytes on disk, multiply-accumulates and parameters.

Sizes and counts are computed from tensors with a shape and no content, so they need no memory,
GPU or weights, and don't depend on the machine. Speeds do, and are marked as unstable if they
vary too much.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from attnlib.cost.memory_replay import Memory, Prepared, attending, replay
from attnlib.models.layers import Normalize
from attnlib.models.modes import evaluating
from attnlib.models.zoo import create_model

UNSTABLE = 0.1  # interquartile range over median above which a speed is unstable
WARM_UP = 3  # warm-up passes that are not timed
FEWEST = 5  # minimum number of timings


class Speed(NamedTuple):
    """Images per second: median and quartiles over individually timed steps."""

    value: float
    low: float
    high: float
    mean: float  # all images over total time, as the thesis reports
    repeats: int
    batch_size: int

    @property
    def stable(self) -> bool:
        """Whether the quartiles lie within 10% of the median."""
        return (self.high - self.low) / self.value <= UNSTABLE

    def __str__(self) -> str:
        if self.stable:
            return f"{self.value:.4g} images/s"
        return f"unstable: {self.low:.3g} to {self.high:.3g} images/s"


def build_empty(
    name: str,
    num_classes: int = 10,
    img_size: int = 224,
    *,
    tokens: str = "channel",
    distilled: bool = True,
) -> nn.Module:
    """A model of the zoo in evaluation mode on the meta device: only shapes, no memory.

    Raises:
        ValueError: As ``create_model``.
    """
    with torch.device("meta"):
        model = create_model(name, num_classes, img_size, tokens=tokens, distilled=distilled)
    return model.eval()


def measure_speed(
    model: nn.Module, *, batch_size: int = 1, repeats: int = 1000, seconds: float = math.inf
) -> Speed:
    """Images per second by the algorithm of Oršić and Šegvić (2019), on the model's device.

    CVPR 2019, Fig. 5, used by the thesis: evaluation mode, no gradients, warm-up, synchronise;
    n times forward, arg-max and copy to the CPU; synchronise. With a batch of one this is
    latency. Copying the result to the CPU waits for the device, so each step can be timed
    separately, which gives median and quartiles besides the algorithm's mean.

    Args:
        model: Floats in [0, 1] (B, 3, H, W) to logits (B, K).
        batch_size: Images per step.
        repeats: Steps timed.
        seconds: Stop after this time, once there are five timings.

    Raises:
        ValueError: If ``batch_size`` or ``repeats`` is less than 1.
    """
    if batch_size < 1 or repeats < 1:
        raise ValueError(
            f"batch_size and repeats: expected numbers >= 1; got {batch_size} and {repeats}"
        )
    device = _device_of(model)
    images = torch.rand(_shape(model, batch_size), device=device)
    times: list[float] = []
    with evaluating(model), torch.no_grad():
        for _ in range(WARM_UP):
            model(images).argmax(dim=1).byte().cpu()
        _synchronise(device)
        started = time.perf_counter()
        while len(times) < repeats:
            if time.perf_counter() - started > seconds and len(times) >= FEWEST:
                break
            before = time.perf_counter()
            model(images).argmax(dim=1).byte().cpu()
            times.append(time.perf_counter() - before)
        _synchronise(device)
        total = time.perf_counter() - started
    slow, middle, fast = batch_size / np.percentile(times, [75, 50, 25])
    mean = batch_size * len(times) / total
    return Speed(float(middle), float(slow), float(fast), mean, len(times), batch_size)


def measure_memory(
    model: nn.Module, batch_size: int = 128, *, grad: bool = False, attention: str = "fused"
) -> Memory:
    """Peak memory of a forward pass in evaluation mode, as the thesis's section 8.1 defines it.

    On CUDA, the maximum allocated during inference minus what was allocated before. Elsewhere it is
    replayed; see ``replay_memory``, which has the same arguments and conventions.
    """
    device = _device_of(model)
    if device.type != "cuda":
        return replay_memory(model, batch_size, grad=grad, attention=attention)
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(_normalized_before(model))
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(attending(attention))
        model(torch.rand(_shape(model, 1), device=device))  # libraries allocate their workspace
        images = torch.rand(_shape(model, batch_size), device=device)
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        logits = model(images)
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - before
        del logits
    return Memory(peak, None, "allocated")


def replay_memory(
    model: nn.Module, batch_size: int = 128, *, grad: bool = False, attention: str = "fused"
) -> Memory:
    """Peak bytes of live tensors in a forward pass, computed from shapes without a GPU.

    As in the thesis the images are already normalised, so the model's normalisation is skipped.
    Temporary memory inside kernels is not counted.

    Args:
        model: On any device, including meta; only its shapes are used.
        batch_size: Images in the pass.
        grad: Whether autograd is on, as in the thesis, or off (``no_grad``).
        attention: "fused", as in this package, or "explicit", with the N x N weights in
            memory, as timm did in 2021.

    Raises:
        ValueError: If ``attention`` is unknown.
    """
    entries: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}

    def prepare() -> Prepared:
        state = {
            name: torch.empty(entry.shape, dtype=entry.dtype, requires_grad=entry.requires_grad)
            for name, entry in entries.items()
        }
        images = torch.empty(_shape(model, batch_size))

        def compute(images: Tensor) -> Tensor:
            return torch.func.functional_call(model, state, (images,))

        return compute, (images,)

    with evaluating(model), _normalized_before(model):
        return replay(prepare, grad=grad, attention=attention)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_gmac(model: nn.Module) -> float:
    """Multiply-accumulates of a forward pass of one image, in 1e9.

    Convolutions, matrix products and attention, as PyTorch's ``FlopCounterMode`` counts them; half
    its figure, which counts a multiply-accumulate as two operations. Additions of residuals,
    norms and activations are not counted, as usual.
    """
    from torch.utils.flop_counter import FlopCounterMode

    entries: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = {name: torch.empty_like(entry, device="meta") for name, entry in entries.items()}
    images = torch.empty(_shape(model, 1), device="meta")
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(model, state, (images,))
    return counter.get_total_flops() / 2e9


def weights_size(model: nn.Module) -> int:
    """Bytes on disk of the weights alone, as needed for inference."""
    return _saved_size({"model": _unwritten(model.state_dict())})


def checkpoint_size(model: nn.Module) -> int:
    """Bytes on disk of a training checkpoint: weights, their average, and AdamW's two moments.

    The parts of DeiT's checkpoint that scale with the model. The thesis's sizes on disk are these,
    four times what inference needs.
    """
    weights, parameters = model.state_dict(), dict(model.named_parameters())
    parts = {"model": weights, "model_ema": weights, "exp_avg": parameters}
    parts["exp_avg_sq"] = parameters
    return _saved_size({name: _unwritten(part) for name, part in parts.items()})


class _Sink:
    """A file that only counts the bytes written."""

    size = 0

    def write(self, content: bytes) -> int:
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """Do nothing."""


def _saved_size(content: Mapping[str, object]) -> int:
    sink = _Sink()
    torch.save(dict(content), sink)  # type: ignore[arg-type]
    return sink.size


def _unwritten(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of these shapes on the CPU, never written, so that they take no physical memory."""
    return {
        name: torch.empty(entry.shape, dtype=entry.dtype, device="cpu")
        for name, entry in entries.items()
    }


@contextmanager
def _normalized_before(model: nn.Module) -> Iterator[None]:
    """Make the model take images that are already normalised."""
    inside = getattr(model, "normalize", None)
    if isinstance(inside, Normalize):
        model.normalize = nn.Identity()
    try:
        yield
    finally:
        if isinstance(inside, Normalize):
            model.normalize = inside


def _shape(model: nn.Module, batch_size: int) -> tuple[int, int, int, int]:
    size = getattr(model, "img_size", 224)
    H, W = (size, size) if isinstance(size, int) else size
    return batch_size, 3, H, W


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
