"""What a model attends to and computes, taken through hooks: its forward pass stays as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from attnlib.layers import Attention, ClassAttention

FEATURES = (
    ("conv1", "layer1", "layer2", "layer3", "layer4"),  # ResNets and AtResNet
    ("stem", "s1", "s2", "s3", "s4"),  # RegNets
    ("blocks",),  # ViT, DeiT and EfficientNets: each block of the list
)
"""Modules whose outputs are features worth seeing, by the first that a model has all of."""


@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the attention weights of every forward pass inside the ``with`` block.

    The fused pass goes on as ever; the weights are computed beside it, in memory O(N^2) a block.
    Meant for models that are not compiled.

    Args:
        model: One that attends with this package's layers: ViT, DeiT, AtResNet.

    Yields:
        A list that every pass extends by one tensor a block, first block first: (B, h, N, N), or
        (B, h, 1, N) for AtResNet, whose class token alone asks. Rows sum to 1; no gradients.

    Raises:
        ValueError: If the model has no such layer.
    """
    layers = [m for m in model.modules() if isinstance(m, Attention | ClassAttention)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no attention layer of attnlib to record")
    maps: list[Tensor] = []

    @torch.no_grad()
    def record(layer: Attention | ClassAttention, args: tuple[Tensor, ...]) -> None:
        maps.append(layer.weights(*args))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(record).remove)
        yield maps


@contextmanager
def record_features(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the output of each block or stage in the last forward pass of the ``with`` block.

    Args:
        model: A ViT, DeiT, ResNet or AtResNet, or one of timm's with stages or blocks.

    Yields:
        A dictionary that a pass fills, in order, from module names to outputs: (B, N, C) from
        "blocks.0" on, or (B, C, H, W) of "conv1" and "layer1" to "layer4". No gradients.

    Raises:
        ValueError: If the model has none of these modules.
    """
    features: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            features[name] = output.detach()

        return record

    with ExitStack() as hooks:
        for name in feature_names(model):
            handle = model.get_submodule(name).register_forward_hook(recorder(name))
            hooks.callback(handle.remove)
        yield features


def feature_names(model: nn.Module) -> list[str]:
    """Names of the modules whose outputs ``record_features`` takes, in order.

    Raises:
        ValueError: If the model has none that it knows.
    """
    children = dict(model.named_children())
    for names in FEATURES:
        if all(name in children for name in names):
            if names != ("blocks",):
                return list(names)
            return [f"blocks.{name}" for name, _ in children["blocks"].named_children()]
    raise ValueError(
        f"{type(model).__name__} has no stages known by name; expected one of "
        f"{', '.join(' '.join(names) for names in FEATURES)}"
    )


def attention_rollout(maps: Sequence[Tensor]) -> Tensor:
    """Attention rollout, Abnar and Zuidema (2020), arXiv:2005.00928, as in the thesis's Fig. 8.5.

    Mean over heads, plus the identity for the residual path, rows made to sum to 1 again, and
    the product over layers: row i says how much of each input token reaches token i at the end.

    Args:
        maps: Attention weights (B, h, N, N), first layer first, of one forward pass.

    Returns:
        (B, N, N), rows summing to 1.

    Raises:
        ValueError: If there is no map, or they are not square and of one size.
    """
    shapes = {(m.shape[0], *m.shape[-2:]) for m in maps}
    if len(shapes) != 1 or any(m.ndim != 4 or m.shape[-1] != m.shape[-2] for m in maps):
        raise ValueError(
            "expected one or more maps (B, h, N, N) of one size; "
            f"got {[tuple(m.shape) for m in maps]}"
        )
    identity = torch.eye(maps[0].shape[-1], device=maps[0].device)
    rollout = identity
    for weights in maps:
        mixed = weights.float().mean(dim=1) + identity  # (B, N, N)
        rollout = mixed / mixed.sum(dim=-1, keepdim=True) @ rollout
    return rollout
