"""What went wrong in a step: the first layer that is not finite, the memory that an image takes."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def first_bad_layer(model: nn.Module, loss: Loss, images: Tensor, targets: Tensor) -> str:
    """Where a value that is not finite first appears, in words; runs the step once more.

    Args:
        model: Its layers are looked at, in the order in which they compute.
        loss: Images and targets to a scalar, through ``model``.
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
    return f"{bad[-1]}, backward" if bad else "none, when the step is computed again"


def bytes_per_image(loss: Loss, images: Tensor, targets: Tensor) -> int:
    """Bytes that one more image keeps for the backward pass, weights not counted.

    Counts what autograd saves for one image and for two.
    """

    def saved(count: int) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # keeps the address from being given out again
            return tensor

        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss(images[:count], targets[:count])
        return sum(storages.values())

    return saved(2) - saved(1)
