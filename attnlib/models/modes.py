"""Temporary evaluation mode that restores each module's own mode afterwards."""

from collections.abc import Iterator
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
