"""Mixup and cutmix within a batch, and the soft labels they produce."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PAIRS = 4  # of images of 224 pixels, 5 MB


def soft_labels(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Class numbers (B,) to probabilities (B, K): 1 - smoothing, plus smoothing / K everywhere."""
    spread = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), spread, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + spread)


class Mixing(NamedTuple):
    """How a batch is mixed: each image with the one at the mirrored position in the batch."""

    share: float  # of an image's own label
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right, pasted; None: mixup


def draw_mixing(
    size: tuple[int, int],
    generator: np.random.Generator,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> Mixing | None:
    """One share for a batch, drawn from Beta(alpha, alpha), as timm's batch mode does.

    With both alphas above 0, cutmix or mixup is chosen per batch with equal chance; with neither,
    nothing is mixed.
    """
    if mixup_alpha <= 0 and cutmix_alpha <= 0:
        return None
    cut = cutmix_alpha > 0 and (mixup_alpha <= 0 or generator.random() < 0.5)
    alpha = cutmix_alpha if cut else mixup_alpha
    share = generator.beta(alpha, alpha)
    return cut_box(size, share, generator) if cut else Mixing(share)


def cut_box(size: tuple[int, int], share: float, generator: np.random.Generator) -> Mixing:
    """The box of timm: area 1 - share about a random centre, clipped at the border.

    An odd side extends one pixel further down or to the right of the centre.
    """
    H, W = size
    height, width = (int(side * math.sqrt(1 - share)) for side in size)
    row, column = int(generator.integers(H)), int(generator.integers(W))
    top, bottom = max(row - height // 2, 0), min(row + (height + 1) // 2, H)
    left, right = max(column - width // 2, 0), min(column + (width + 1) // 2, W)
    stays = 1 - (bottom - top) * (right - left) / (H * W)
    return Mixing(stays, (top, bottom, left, right))


def mix_in_place(images: Tensor, targets: Tensor, mixing: Mixing) -> Tensor:
    """Mix images (B, C, H, W) in place and return the mixed targets (B, K)."""
    mix_images(images, mixing)
    return mix_targets(targets, mixing)


def mix_targets(targets: Tensor, mixing: Mixing) -> Tensor:
    """Mix each image's targets (B, K) with its partner's, by the share of it that is left."""
    return targets * mixing.share + targets.flip(0) * (1 - mixing.share)


def mix_images(images: Tensor, mixing: Mixing) -> None:
    """Mix images (B, C, H, W) in place.

    On a CPU a few mirrored pairs are processed at a time, so that they stay in the cache.
    """
    B = len(images)
    few = PAIRS if images.device.type == "cpu" else B
    for start in range(0, B // 2, few):
        stop = min(start + few, B // 2)
        own, partners = images[start:stop], images[B - stop : B - start]
        if mixing.box is None:
            kept, share = own.flip(0), mixing.share
            own.mul_(share).add_(partners.flip(0), alpha=1 - share)
            partners.mul_(share).add_(kept, alpha=1 - share)
        else:
            top, bottom, left, right = mixing.box
            own, partners = (half[..., top:bottom, left:right] for half in (own, partners))
            kept = own.flip(0)
            own.copy_(partners.flip(0))
            partners.copy_(kept)


def cutmix(
    images: Tensor, targets: Tensor, share: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of each image's partner into it; labels by area (Yun et al. 2019).

    The partner is the image at the mirrored position in the batch, and the box is the same for all,
    as in timm. Labels are mixed by the pasted area, after clipping at the border.

    Args:
        images: (B, C, H, W).
        targets: Probabilities (B, K).
        share: Share of the image that is kept, in [0, 1], before clipping.
        generator: Draws the box's centre.

    Returns:
        New images and targets.
    """
    H, W = images.shape[-2:]
    mixed = images.clone()
    return mixed, mix_in_place(mixed, targets, cut_box((H, W), share, generator))
