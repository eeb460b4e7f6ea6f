"""Augmentation: the reference transforms of one image, and mixing within a batch.

The transforms are timm's, on PIL images, and draw from the global generators (set them with
``seeding.seeded``). Mixing takes its generator.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from attnlib.layers import IMAGENET_MEAN, IMAGENET_STD

BICUBIC = transforms.InterpolationMode.BICUBIC
SMALL = 32  # up to this size DeiT's script crops with padding instead of resizing
PAIRS = 4  # of images of 224 pixels, 5 MB
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
    resized = evaluation_resize(img_size)
    return transforms.Compose([*_resize_and_crop(resized, img_size), transforms.ToTensor()])


def evaluation_resize(img_size: int) -> int:
    """Pixels of the shorter side before the centre is cropped."""
    return img_size if img_size <= SMALL else int(img_size / 0.875)


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


class Mixing(NamedTuple):
    """How a batch is mixed: each image with the one at the mirrored place of the batch."""

    share: float  # of an image's own label
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right, pasted; None: mixup


def draw_mixing(
    size: tuple[int, int],
    generator: np.random.Generator,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> Mixing | None:
    """One share for a batch, drawn from Beta(alpha, alpha), as timm's batch mode does.

    With both alphas above 0 each batch takes cutmix or mixup by a fair coin; with neither there is
    nothing to mix.
    """
    if mixup_alpha <= 0 and cutmix_alpha <= 0:
        return None
    cut = cutmix_alpha > 0 and (mixup_alpha <= 0 or generator.random() < 0.5)
    alpha = cutmix_alpha if cut else mixup_alpha
    share = generator.beta(alpha, alpha)
    return cut_box(size, share, generator) if cut else Mixing(share)


def cut_box(size: tuple[int, int], share: float, generator: np.random.Generator) -> Mixing:
    """A box of the area 1 - share about a random centre; labels follow what the border leaves."""
    H, W = size
    height, width = (int(side * (1 - share) ** 0.5) for side in size)
    row, column = int(generator.integers(H)), int(generator.integers(W))
    top, bottom = max(row - height // 2, 0), min(row + height // 2, H)
    left, right = max(column - width // 2, 0), min(column + width // 2, W)
    stays = 1 - (bottom - top) * (right - left) / (H * W)
    return Mixing(stays, (top, bottom, left, right))


def mix_in_place(images: Tensor, targets: Tensor, mixing: Mixing) -> Tensor:
    """Mix images (B, C, H, W) where they are; mixed targets (B, K) are returned.

    Mirrored pairs are done a few at a time on a CPU, where they stay in the cache.
    """
    B = len(images)
    few = PAIRS if images.device.type == "cpu" else B
    for start in range(0, B // 2, few):
        stop = min(start + few, B // 2)
        own, partners = images[start:stop], images[B - stop : B - start]
        if mixing.box is None:
            kept, share = own.clone(), mixing.share
            own.mul_(share).add_(partners.flip(0), alpha=1 - share)
            partners.mul_(share).add_(kept.flip(0), alpha=1 - share)
        else:
            top, bottom, left, right = mixing.box
            own, partners = (half[..., top:bottom, left:right] for half in (own, partners))
            kept = own.clone()
            own.copy_(partners.flip(0))
            partners.copy_(kept.flip(0))
    return targets * mixing.share + targets.flip(0) * (1 - mixing.share)


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
    mixed = images.clone()
    return mixed, mix_in_place(mixed, targets, cut_box((H, W), share, generator))


def mixup(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Blend each image and its label with its partner's (Zhang et al. 2018).

    Args:
        images: (B, C, H, W).
        targets: Probabilities (B, K).
        share: Weight of the image itself, in [0, 1].

    Returns:
        New images and targets.
    """
    mixed = images.clone()
    return mixed, mix_in_place(mixed, targets, Mixing(share))


def mix(
    images: Tensor,
    targets: Tensor,
    generator: np.random.Generator,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Mix a batch as ``draw_mixing`` says; new images and targets, or those given."""
    H, W = images.shape[-2:]
    mixing = draw_mixing((H, W), generator, mixup_alpha, cutmix_alpha)
    if mixing is None:
        return images, targets
    mixed = images.clone()
    return mixed, mix_in_place(mixed, targets, mixing)
