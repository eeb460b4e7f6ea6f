"""Augmentation: the reference transforms of one image, and mixing within a batch.

The transforms are timm's, on PIL images, and draw from the global generators (set them with
``seeding.seeded``). Mixing takes its generator.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from attnlib.layers import IMAGENET_MEAN, IMAGENET_STD

BICUBIC = transforms.InterpolationMode.BICUBIC
SMALL = 32  # up to this size DeiT's script crops with padding instead of resizing
Transform = Callable[[Image.Image], Tensor]


def train_transform(augment: str, img_size: int) -> Transform:
    """Transform of a training image: PIL image to floats in [0, 1], (3, img_size, img_size).

    Args:
        augment: ``"thesis"``: random resized crop, both flips, RandAugment, colour jitter, random
            erasing; ``"light"``: flip and padded crop; ``"none"``: as in evaluation.
        img_size: Pixels of a side.

    Raises:
        ValueError: If ``augment`` is none of these.
    """
    if augment == "thesis":
        return thesis_transform(img_size)
    if augment == "light":
        return transforms.Compose(
            [
                *_resize_and_crop(img_size, img_size),
                transforms.RandomCrop(img_size, padding=img_size // 8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )
    if augment == "none":
        return eval_transform(img_size)
    raise ValueError(f"augment: unknown value {augment!r}. Valid: thesis, light, none.")


def eval_transform(img_size: int) -> Transform:
    """Transform of an evaluation image: resize by 8/7 and crop the centre, as DeiT does.

    Images of 32 pixels and less are only resized: their border holds no surplus.
    """
    resized = img_size if img_size <= SMALL else int(img_size / 0.875)
    return transforms.Compose([*_resize_and_crop(resized, img_size), transforms.ToTensor()])


def thesis_transform(img_size: int) -> Transform:
    """The thesis's recipe (section 7.6.1) from timm's transforms, with DeiT's defaults.

    Departures from timm: ``create_transform`` silently drops colour jitter under RandAugment, so
    its inner function is called, which can be told not to; posterising to 0 bits is guarded (see
    ``guard_posterize``). Erasing draws normalised noise, as in timm, and the result is brought
    back to [0, 1] floats, which our models take.
    """
    from timm.data.transforms_factory import transforms_imagenet_train

    geometry, colour, tensor = transforms_imagenet_train(
        img_size,
        hflip=0.5,
        vflip=0.5,
        color_jitter=0.3,
        force_color_jitter=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        re_prob=0.25,
        re_mode="pixel",
        separate=True,
    )
    guard_posterize(colour.transforms[0])
    if img_size <= SMALL:  # as DeiT's build_transform does
        crop = transforms.RandomCrop(img_size, padding=4)
        geometry.transforms[:1] = [*_resize_and_crop(img_size, img_size), crop]
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    denormalize = transforms.Normalize(-mean / std, 1 / std)
    return transforms.Compose([geometry, colour, tensor, denormalize])


def guard_posterize(randaugment: Any) -> None:
    """Let timm's RandAugment posterise to 0 bits: a black image, as Pillow did before 13.

    timm 1.0 asks for 0 bits whenever a magnitude is clipped to 10, about one image in 660;
    Pillow 13 raises ValueError for it. Only the given transform is changed.
    """

    def posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
        if bits < 1:
            return Image.new(image.mode, image.size)
        return timm_posterize(image, bits, **options)

    for op in randaugment.ops:
        if op.name.startswith("Posterize"):
            timm_posterize = op.aug_fn
            op.aug_fn = posterize


def _resize_and_crop(resized: int, cropped: int) -> list[Any]:
    return [transforms.Resize(resized, BICUBIC), transforms.CenterCrop(cropped)]


def soft_labels(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Class numbers (B,) to probabilities (B, K): 1 - smoothing, and smoothing / K everywhere."""
    spread = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), spread, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + spread)


def cutmix(
    images: Tensor, targets: Tensor, share: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of each image's partner into it, labels in proportion to area (Yun et al. 2019).

    The partner is the image at the mirrored place of the batch and the box is the same for all,
    as in timm. Labels follow the pasted area, which the border may have clipped.

    Args:
        images: (B, C, H, W).
        targets: Probabilities (B, K).
        share: Area of the image that stays, in [0, 1], before clipping.
        generator: Draws the box's centre.

    Returns:
        New images and targets.
    """
    H, W = images.shape[-2:]
    height, width = (int(side * (1 - share) ** 0.5) for side in (H, W))
    row, column = int(generator.integers(H)), int(generator.integers(W))
    top, bottom = max(row - height // 2, 0), min(row + height // 2, H)
    left, right = max(column - width // 2, 0), min(column + width // 2, W)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    stays = 1 - (bottom - top) * (right - left) / (H * W)
    return mixed, targets * stays + targets.flip(0) * (1 - stays)


def mixup(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Blend each image and its label with its partner's (Zhang et al. 2018).

    Args:
        images: (B, C, H, W).
        targets: Probabilities (B, K).
        share: Weight of the image itself, in [0, 1].
    """
    return (
        images * share + images.flip(0) * (1 - share),
        targets * share + targets.flip(0) * (1 - share),
    )


def mix(
    images: Tensor,
    targets: Tensor,
    generator: np.random.Generator,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Mix a batch with one share drawn from Beta(alpha, alpha), as timm's batch mode does.

    With both alphas above 0 each batch takes cutmix or mixup by a fair coin; with neither it is
    returned as it is.
    """
    if mixup_alpha <= 0 and cutmix_alpha <= 0:
        return images, targets
    cut = cutmix_alpha > 0 and (mixup_alpha <= 0 or generator.random() < 0.5)
    alpha = cutmix_alpha if cut else mixup_alpha
    share = generator.beta(alpha, alpha)
    if cut:
        return cutmix(images, targets, share, generator)
    return mixup(images, targets, share)
