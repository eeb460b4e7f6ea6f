"""Feature maps twice: as the published pictures were made, and of the real network; and how dull.

The pictures that the thesis shows (its Figures 8.3 and 8.4) come from the notebooks of T2T-ViT,
which chain a network's layers without what stands between them.
"""

import torch
from torch import Tensor, nn

from attnlib.models.hooks import (
    NothingToRecordError,
    patches_to_grid,
    record_features,
    token_grid,
)
from attnlib.models.modes import evaluating

DULL = 0.1  # of the grey scale: a map whose robust range is less shows next to nothing


def real_features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Outputs of a network's stages or blocks on images (B, 3, H, W), each (B, C, rows, columns).

    The network is left as it was.

    Raises:
        NothingToRecordError: If its stages are not known by name, or do not lie on the image.
    """
    with evaluating(model), torch.no_grad(), record_features(model) as features:
        model(images)
    size = (images.shape[-2], images.shape[-1])
    return {name: features_on_plane(model, output, size) for name, output in features.items()}


def chained_features(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Feature maps made as the published pictures were: layers chained bare.

    Of a ResNet, its convolutions one after the other (49 of a ResNet-50), without normalisation,
    activation, pooling and skips; of a ViT or DeiT, the patch projection and the blocks, without
    class token, position and normalisation of the image. Any size will do. Not what the network
    computes: compare ``real_features``.

    Args:
        model: A ResNet, AtResNet, ViT or DeiT.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, C, rows, columns) by the name of the layer, in order.

    Raises:
        NothingToRecordError: If the model is of another family.
    """
    with torch.no_grad():
        if hasattr(model, "layer4"):
            return _chain_convolutions(model, images)
        if hasattr(model, "patch_embed") and hasattr(model, "blocks"):
            return _chain_blocks(model, images)
    raise NothingToRecordError(
        f"{type(model).__name__}: the published pictures are of ResNets and ViTs"
    )


def _chain_convolutions(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    features = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and "downsample" not in name:
            features[name] = x = module(x)
    return features


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
    """From the 5th to the 95th percentile of each map, as a share of its full range.

    (..., H, W) -> (...), in [0, 1]. Pictures stretch a map from its least value to its largest,
    so this is the share of the grey scale that nine tenths of the pixels use; a map that is
    constant has 0.
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


def tell_between(ours: float, one: float, other: float, least: float) -> str:
    """Whether ``ours`` lies between two others, each at least ``least`` away, in words."""
    if min(abs(ours - one), abs(ours - other)) < least:
        return "not decided"
    return "holds" if min(one, other) < ours < max(one, other) else "does not hold"


def features_on_plane(model: nn.Module, output: Tensor, img_size: tuple[int, int]) -> Tensor:
    """Features over the image: tokens (B, N, C) lose their prefix and become (B, C, H, W)."""
    if output.ndim == 4:
        return output
    grid = token_grid(model, img_size)
    if output.shape[1] == grid.rows * grid.columns:  # the class token joins later, as in CaiT
        grid = grid._replace(prefix=0)
    return patches_to_grid(output.transpose(1, 2), grid)
