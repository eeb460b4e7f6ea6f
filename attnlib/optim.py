"""The optimiser: which parameters decay, the learning rate as a function of time, averaging."""

import copy
import math

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

WARMUP_LR, MIN_LR = 1e-6, 1e-5  # DeiT's, for a peak of 1.25e-4
TOKENS = ("cls_token", "dist_token", "pos_embed")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups for AdamW: matrices decay; norms, biases and tokens do not.

    A matrix mixes features, and decay keeps it from growing without use; a vector sets a scale or
    a place, and pulling it to zero only shifts it. The tokens and the positional embedding are
    stored as 3-D tensors but are vectors by this rule, so they are exempt by name, as in timm.
    """
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1 or name.rpartition(".")[2] in TOKENS
            (exempt if is_vector else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over ``parameter_groups``, fused into one kernel."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, fused=True)


def make_average(model: nn.Module, decay: float) -> nn.Module | None:
    """A copy of the model to hold its exponential moving average; None if ``decay`` is 0."""
    return copy.deepcopy(model).requires_grad_(False) if decay > 0 else None


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * model, buffers too; whole numbers are copied.

    ``torch.optim.swa_utils.AveragedModel`` does the same, but asks the device at each step whether
    it is the first.
    """
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
    ours, theirs = (list(tensors) for tensors in zip(*floats, strict=True))
    get_ema_multi_avg_fn(decay)(ours, theirs, 0)
    for our, their in pairs:
        if not our.is_floating_point():
            our.copy_(their)


def learning_rate(
    epoch: float, *, peak: float, epochs: int, warmup_epochs: int = 0, restarts: int = 0
) -> float:
    """Learning rate at a moment in epochs: linear warm-up, then cosine decay.

    timm's ``CosineLRScheduler`` as DeiT sets it, which the thesis's script calls; there a value
    holds for a whole epoch, here ``epoch`` may be fractional. The cosine runs from time 0, so the
    warm-up replaces its beginning. The thesis says "with restarts", DeiT makes none: with
    ``restarts`` the time is cut into equal cycles (Loshchilov and Hutter 2017).

    Args:
        epoch: Time since the start, in epochs.
        peak: Highest value.
        epochs: Length of the run.
        warmup_epochs: Length of the rise from 1e-6.
        restarts: Number of returns to the peak.
    """
    start, floor = min(WARMUP_LR, peak), min(MIN_LR, peak)
    if epoch < warmup_epochs:
        return start + (peak - start) * epoch / warmup_epochs
    cycle = epochs / (restarts + 1)
    progress = (epoch % cycle) / cycle if epoch < epochs else 1.0
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2
