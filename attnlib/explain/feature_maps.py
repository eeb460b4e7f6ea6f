"""Feature maps of the real network and as in the published pictures, and a measure of contrast.

The pictures in the thesis (Figures 8.3 and 8.4) come from the notebooks of T2T-ViT,
which chain a network's layers without the operations between them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attnlib.models.hooks import (
    NothingToRecordError,
    patches_to_grid,
    record_features,
    token_grid,
)
from attnlib.models.modes import evaluating

DULL = 0.1  # of the grey scale: a map with a smaller robust range shows almost nothing


def real_features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Outputs of a network's stages or blocks on images (B, 3, H, W), each (B, C, rows, columns).

    The network is left unchanged.

    Raises:
        NothingToRecordError: If its stages are unknown, or have no spatial positions.
    """
    with evaluating(model), torch.no_grad(), record_features(model) as features:
        model(images)
    size = (images.shape[-2], images.shape[-1])
    return {name: features_on_plane(model, output, size) for name, output in features.items()}


def chained_features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Feature maps as in the published pictures: layers chained without what is between them.

    For a convolutional network, its convolutions in sequence (49 in a ResNet-50), without
    normalisation, activation, pooling and skips; for a ViT or DeiT, the patch projection and the
    blocks, without class token, position and normalisation of the image. Images may have any
    size. Not what it computes in use; see ``real_features``.

    Args:
        model: A ResNet, AtResNet, ViT or DeiT, or a network whose convolutions fit in a row.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, C, rows, columns) by layer name, in order.

    Raises:
        NothingToRecordError: If the model is of another family.
    """
    convolutions = chained_convolutions(model)
    with torch.no_grad():
        if hasattr(model, "patch_embed") and hasattr(model, "blocks"):
            return _chain_blocks(model, images)
        if not convolutions:
            raise NothingToRecordError(
                f"{type(model).__name__}: only ViTs and convolutions in a row can be chained"
            )
        features, x = {}, images
        for name, convolution in convolutions.items():
            features[name] = x = convolution(x)
        return features


def chained_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """A network's convolutions but those of its skips; empty if they don't fit in a row."""
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and "downsample" not in name
    }
    channels = [3, *(module.out_channels for module in found.values())]
    fits = all(c == m.in_channels for c, m in zip(channels, found.values(), strict=False))
    return found if fits else {}


def _chain_blocks(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    features = {}
    plane = model.patch_embed.proj(images)  # type: ignore[operator, union-attr]
    rows = plane.shape[-2]
    features["patch_embed"] = plane
    x = plane.flatten(2).transpose(1, 2)  # (B, P, C)
    for name, block in model.blocks.named_children():  # type: ignore[union-attr]
        x = block(x)
        features[f"blocks.{name}"] = x.transpose(1, 2).unflatten(-1, (rows, -1))
    return features


def robust_range(planes: Tensor) -> Tensor:
    """The 5th to 95th percentile range of each map, as a share of its full range.

    (..., H, W) -> (...), in [0, 1]. Pictures scale a map from its smallest value to its largest,
    so this is the share of the grey scale that nine tenths of the pixels use; a
    constant map has 0.
    """
    values = planes.float().flatten(-2).sort(dim=-1).values
    last = values.shape[-1] - 1
    low, high = values[..., round(0.05 * last)], values[..., round(0.95 * last)]
    full = values[..., -1] - values[..., 0]
    return torch.where(full > 0, (high - low) / full, 0)


def dull_share(planes: Tensor, threshold: float = DULL) -> float:
    """Share of maps whose robust range is under ``threshold``: "all black or white" as a number.

    Args:
        planes: (B, C, H, W).
        threshold: Share of the grey scale.

    Raises:
        ValueError: If the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a number in (0, 1]; got {threshold}")
    return (robust_range(planes) < threshold).float().mean().item()


def mean_range(planes: Tensor) -> float:
    """Mean robust range of maps (B, C, H, W): how much of the grey scale they use, in [0, 1]."""
    return robust_range(planes).mean().item()


def tell_none(shares: Sequence[float]) -> str:
    """In words, whether there are none of something, from its share at each of some thresholds."""
    if max(shares) == 0:
        return "holds"
    return "does not hold" if min(shares) > 0 else "depends on the threshold"


def tell_between(ours: float, one: float | None, other: float, least: float) -> str:
    """In words, whether ``ours`` is between two others, each at least ``least`` away.

    With None for one of them the question can't be asked.
    """
    if one is None:
        return "not asked: no such network"
    if min(abs(ours - one), abs(ours - other)) < least:
        return "not decided"
    return "holds" if min(one, other) < ours < max(one, other) else "does not hold"


def features_on_plane(model: nn.Module, output: Tensor, img_size: tuple[int, int]) -> Tensor:
    """Features over the image: tokens (B, N, C) without their prefix, as (B, C, H, W)."""
    if output.ndim == 4:
        return output
    grid = token_grid(model, img_size)
    if output.shape[1] == grid.rows * grid.columns:  # the class token joins later, as in CaiT
        grid = grid._replace(prefix=0)
    return patches_to_grid(output.transpose(1, 2), grid)
