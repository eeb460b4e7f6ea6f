"""The optimiser, its parameter groups, and averaging of the weights."""

import copy
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from attnlib.config import TrainConfig

VECTORS = ("bias", "cls_token", "dist_token", "pos_embed")  # whatever their number of axes


SGD_MOMENTUM = 0.9  # as in He et al. (2016), section 3.4; Nesterov's, as in timm


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """Two groups of weights: matrices decay; norms, biases and tokens do not.

    A matrix mixes features, and decay keeps it from growing needlessly; a vector sets a scale or
    an offset, and pulling it to zero only shifts it. The tokens and the positional embedding are
    stored as 3-D tensors but are vectors by this rule, so they are exempt by name, as in timm, and
    are those that a timm model declares.

    With ``layer_decay`` there are two groups a layer, by timm's function, and the learning rate of
    each is multiplied by its ``lr_scale``: 1 in the last layer, ``layer_decay`` in the one before.
    """
    declare: Callable[[], set[str]] = getattr(model, "no_weight_decay", set)
    declared = declare()  # of timm's: Swin's tables of biases too
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    exempt_names: list[str] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1 or name.rpartition(".")[2] in VECTORS
            is_declared = any(fnmatch(name, pattern) for pattern in declared)
            (exempt if is_vector or is_declared else decayed).append(parameter)
            exempt_names += [name] if is_vector or is_declared else []
    if layer_decay is not None:
        from timm import optim  # slow, and only needed here

        return optim.param_groups_layer_decay(  # type: ignore[attr-defined]
            model, weight_decay, no_weight_decay_list=exempt_names, layer_decay=layer_decay
        )
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser ``config.opt`` over ``parameter_groups``, fused into one kernel.

    AdamW (Loshchilov and Hutter 2019), or SGD with momentum.
    """
    groups = parameter_groups(model, config.weight_decay, config.layer_decay)
    if config.opt == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    optimizer = torch.optim.SGD(
        groups, lr=config.lr, momentum=SGD_MOMENTUM, nesterov=True, fused=True
    )
    # PyTorch makes these in the first step, from memory that it has not written to, and a first
    # step that is skipped leaves them so (torch/optim/sgd.py, ``_fused_sgd``). From zeros the first
    # step is the same.
    for parameter in (p for group in groups for p in group["params"]):
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of each group: ``lr`` times its ``lr_scale``, if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


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
