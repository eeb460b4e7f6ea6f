"""The optimiser, its parameter groups, and averaging of the weights."""

import copy
from collections.abc import Callable
from fnmatch import fnmatch

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

VECTORS = ("bias", "cls_token", "dist_token", "pos_embed")  # whatever their number of axes


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups for AdamW: matrices decay; norms, biases and tokens do not.

    A matrix mixes features, and decay keeps it from growing needlessly; a vector sets a scale or
    an offset, and pulling it to zero only shifts it. The tokens and the positional embedding are
    stored as 3-D tensors but are vectors by this rule, so they are exempt by name, as in timm, and
    are those that a timm model declares.
    """
    declare: Callable[[], set[str]] = getattr(model, "no_weight_decay", set)
    declared = declare()  # of timm's: Swin's tables of biases too
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1 or name.rpartition(".")[2] in VECTORS
            is_declared = any(fnmatch(name, pattern) for pattern in declared)
            (exempt if is_vector or is_declared else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over ``parameter_groups``, fused into one kernel."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, fused=True)


def make_average(model: nn.Module, decay: float) -> nn.Module | None:
    """A copy of the model for its exponential moving average; None if ``decay`` is 0."""
    return copy.deepcopy(model).requires_grad_(False) if decay > 0 else None


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * model, buffers too; integers are copied.

    ``torch.optim.swa_utils.AveragedModel`` does the same, but synchronises at each step to see if
    it is the first.
    """
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
    ours, theirs = (list(tensors) for tensors in zip(*floats, strict=True))
    get_ema_multi_avg_fn(decay)(ours, theirs, 0)
    for our, their in pairs:
        if not our.is_floating_point():
            our.copy_(their)
