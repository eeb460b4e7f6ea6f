"""Modes of a model: evaluation that is undone afterwards, and training with frozen parts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into evaluation mode inside the ``with`` block.

    Each module's own mode is restored, not the root's: a model in training may keep some layers
    in evaluation mode (a frozen BatchNorm), and ``model.train()`` would unfreeze them.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def train_unfrozen(model: nn.Module) -> None:
    """Put ``model`` into training mode, except for its frozen parts.

    Where no weight is trained, BatchNorm keeps its averages and nothing is dropped.
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def freeze_body(model: nn.Module, heads: Sequence[str]) -> None:
    """Let gradients reach only the layers named ``heads``: a linear probe.

    Raises:
        ValueError: If there are none.
    """
    if not heads:
        raise ValueError("freeze: the model does not say which of its layers is the head")
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.rpartition(".")[0] in heads)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm's running averages may change; afterwards they are as they were."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)
