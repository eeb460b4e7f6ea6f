"""The reference transforms of one image: timm's, on PIL images.

They draw from the global generators; seed those with ``seeding.seeded``. They can be pickled, as
needed by workers that are not forked (Windows, macOS, Python 3.14).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from attnlib.models.layers import IMAGENET_MEAN, IMAGENET_STD

BICUBIC = transforms.InterpolationMode.BICUBIC
PADDED_UP_TO = 32  # up to this size DeiT's script crops with padding instead of resizing
Transform = Callable[[Image.Image], Tensor]


def train_transform(augment: str, img_size: int) -> Transform:
    """Training transform: PIL image to floats in [0, 1], (3, img_size, img_size).

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
    """Evaluation transform: resize by 8/7 and crop the centre, as DeiT does.

    Images of 32 pixels or less are only resized, since their border can't be spared.
    """
    resized = evaluation_resize(img_size)
    return transforms.Compose([*_resize_and_crop(resized, img_size), transforms.ToTensor()])


def evaluation_resize(img_size: int) -> int:
    """Length of the shorter side, in pixels, before the centre is cropped."""
    return img_size if img_size <= PADDED_UP_TO else int(img_size / 0.875)


def thesis_transform(img_size: int) -> Transform:
    """The thesis's recipe (section 7.6.1) built from timm's transforms, with DeiT's defaults.

    Differences from timm: ``create_transform`` silently drops colour jitter under RandAugment, so
    its inner function is called, which has an option for it; posterising to 0 bits is guarded (see
    ``guard_posterize``). Erasing draws normalised noise, as in timm, and the result is converted
    back to the [0, 1] floats that our models take.
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
    if img_size <= PADDED_UP_TO:  # as DeiT's build_transform does
        crop = transforms.RandomCrop(img_size, padding=4)
        geometry.transforms[:1] = [*_resize_and_crop(img_size, img_size), crop]
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    denormalize = transforms.Normalize(-mean / std, 1 / std)
    return transforms.Compose([geometry, colour, tensor, denormalize])


def guard_posterize(randaugment: Any) -> None:
    """Let timm's RandAugment posterise to 0 bits (a black image), as Pillow did before 13.

    timm 1.0 asks for 0 bits whenever a magnitude is clipped to 10, about one image in 660;
    Pillow 13 raises ValueError there. Only the given transform is changed.
    """
    for op in randaugment.ops:
        if op.name.startswith("Posterize"):
            op.aug_fn = partial(_posterize, op.aug_fn)


def _posterize(
    timm_posterize: Callable[..., Image.Image], image: Image.Image, bits: int, **options: Any
) -> Image.Image:
    if bits < 1:
        return Image.new(image.mode, image.size)
    return timm_posterize(image, bits, **options)


def _resize_and_crop(resized: int, cropped: int) -> list[Any]:
    return [transforms.Resize(resized, BICUBIC), transforms.CenterCrop(cropped)]
