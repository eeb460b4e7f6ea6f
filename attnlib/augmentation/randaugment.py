"""RandAugment's fifteen operations and colour jitter on batches of uint8 images.

Each image has its own parameter, and the arithmetic is Pillow's, rounding included. Two roundings
can differ by one level in rare pixels: Pillow places shifted and rotated pixels in float64, this
file in float32. Random numbers are not drawn here (``draws``).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlib.models.layers import IMAGENET_MEAN

OPERATIONS = (  # timm's, in its order for rand-m9-mstd0.5-inc1
    "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing",
    "SolarizeAdd", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing",
    "SharpnessIncreasing", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
)  # fmt: skip
(
    AUTO_CONTRAST, EQUALIZE, INVERT, ROTATE, POSTERIZE, SOLARIZE, SOLARIZE_ADD, COLOR, CONTRAST,
    BRIGHTNESS, SHARPNESS, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y,
) = range(len(OPERATIONS))  # fmt: skip
NOTHING = -1
FILL = tuple(round(255 * mean) for mean in IMAGENET_MEAN)  # of pixels from outside, as in timm
LEVELS = np.arange(256, dtype=np.float32)


class Work(NamedTuple):
    """One function for some images of a batch, and its values for each of them."""

    function: Callable[[Tensor, Tensor], Tensor]
    images: NDArray[np.int32]  # (b,) positions in the batch
    values: NDArray[np.float32]  # (b, ...)


def plan_work(codes: NDArray[np.int64], arguments: NDArray[np.float64], size: int) -> list[Work]:
    """Group the operations of a batch by function, one column after the other.

    Args:
        codes: Places in ``OPERATIONS``, or ``NOTHING`` (B, columns).
        arguments: Degrees, bits, threshold, levels added, factor, slope or share of ``size``.
        size: Pixels of an image's side.
    """
    plan = []
    for code, argument in zip(codes.T, arguments.T, strict=True):
        family = np.where(code == NOTHING, NOTHING, FAMILY_OF[code])
        for number in np.unique(family[family != NOTHING]):
            images = np.flatnonzero(family == number)
            _, function, values_of = FAMILIES[number]
            values = values_of(code[images], argument[images], size)
            plan.append(Work(function, images.astype(np.int32), values.astype(np.float32)))
    return plan


def apply_work(
    pixels: Tensor, plan: list[Work], tensors: list[tuple[Tensor, Tensor]], few: int
) -> None:
    """Do planned work on ``pixels`` (B, 3, S, S) in place, ``few`` images at a time.

    ``tensors`` are the images and values of ``plan``, on the device of ``pixels``.
    """
    for work, (all_images, all_values) in zip(plan, tensors, strict=True):
        for images, values in zip(all_images.long().split(few), all_values.split(few), strict=True):
            put_images(pixels, images, work.function(pixels.index_select(0, images), values))


def put_images(pixels: Tensor, images: Tensor, values: Tensor) -> None:
    """Set ``pixels[images]``."""
    if pixels.is_cuda:
        pixels.index_copy_(0, images, values)
    else:  # where index_copy_ moves byte after byte
        for place, value in zip(images.tolist(), values, strict=True):
            pixels[place] = value


# Tables: what an operation does to each of the 256 levels.


def fixed_tables(
    code: NDArray[np.int64], argument: NDArray[np.float64], size: int
) -> NDArray[np.float32]:
    """Tables (b, 256) of the operations that need to know nothing of the image."""
    x, a = LEVELS, argument.astype(np.float32)[:, None]
    merged = 256 / 2 ** np.minimum(a, 8)  # levels that become one; all of them at 0 bits: black
    choices = {
        INVERT: 255 - x + 0 * a,
        POSTERIZE: x - x % merged,
        SOLARIZE: np.where(x < a, x, 255 - x),
        SOLARIZE_ADD: np.where(x < 128, np.minimum(x + a, 255), x),
    }
    return np.select([code[:, None] == key for key in choices], list(choices.values()))


def look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Map levels through tables, (b, 256), or (b, 3, 256) by channel."""
    tables = tables.to(torch.uint8).view(len(pixels), -1, 256)
    count = tables.shape[0] * tables.shape[1]
    first = torch.arange(0, 256 * count, 256, dtype=torch.int32, device=pixels.device)
    places = pixels.int() + first.view(len(pixels), -1, 1, 1)
    return tables.flatten().index_select(0, places.flatten()).view_as(pixels)


def auto_contrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0..255."""
    low, high = (edge(dim=(2, 3))[..., None].double() for edge in (pixels.amin, pixels.amax))
    levels = torch.arange(256, device=pixels.device, dtype=torch.float64)
    scale = torch.full_like(low, 255) / (high - low)  # 255 / x would round twice
    stretched = (levels * scale + -low * scale).clamp(0, 255)
    return look_up(pixels, torch.where(high > low, stretched, levels))


def equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Spread each channel's levels so that all are about equally frequent."""
    flat = pixels.flatten(2).long()
    counts = flat.new_zeros(*flat.shape[:2], 256)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    step = (flat.shape[2] - counts.gather(2, flat.amax(2, keepdim=True))) // 255
    below = counts.cumsum(2) - counts
    spread = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    levels = torch.arange(256, device=pixels.device)
    return look_up(pixels, torch.where(step > 0, spread, levels))


# Blends with another version of the image.


def blend(other: Tensor, pixels: Tensor, factor: Tensor) -> Tensor:
    """Pillow's ``Image.blend``: ``other`` at factor 0, ``pixels`` at 1, beyond at others."""
    return (pixels - other).mul_(factor).add_(other).clamp_(0, 255).to(torch.uint8)


def grey(pixels: Tensor) -> Tensor:
    """Pillow's luma, ITU-R 601-2 in 16 bits: whole floats (b, 3, H, W) to (b, 1, H, W).

    Sums stay below 2**24, where floats are exact.
    """
    red, green, blue = pixels.split(1, dim=1)
    total = (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471)
    return total.add_(32768).mul_(2**-16).floor_()


def color(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with grey."""
    exact = pixels.float()
    return blend(grey(exact), exact, factor.view(-1, 1, 1, 1))


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey level, rounded."""
    count = pixels.shape[2] * pixels.shape[3]
    exact = pixels.float()
    whole = grey(exact).sum(dim=3).long().sum(dim=(1, 2))  # the sum of a row is exact in floats
    mean = (2 * whole + count) // (2 * count)
    return blend(mean.view(-1, 1, 1, 1).float(), exact, factor.view(-1, 1, 1, 1))


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return pixels.float().mul_(factor.view(-1, 1, 1, 1)).clamp_(0, 255).to(torch.uint8)


def sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed version (3 x 3, the centre weighs 5 of 13), whose border is its own."""
    exact = pixels.float()
    rows = exact[:, :, :-2] + exact[:, :, 1:-1] + exact[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * exact[:, :, 1:-1, 1:-1]
    smooth = exact.clone()
    smooth[:, :, 1:-1, 1:-1] = (sums / 13).add_(0.5).floor_()
    return blend(smooth, exact, factor.view(-1, 1, 1, 1))


# Movements. Pillow's transform() is bicubic with a = -1 and cuts fractions off; resizing is not.


def cubic(points: Sequence[Tensor], share: Tensor) -> Tensor:
    """The value ``share`` of the way from the second to the third of four points.

    In Pillow's order of terms: where all points are equal, so is the value.
    """
    a, b, c, d = points
    slope = a - b
    cube = (d - c).sub_(slope)
    value = slope.sub_(cube).addcmul_(cube, share)
    value = (c - a).addcmul_(value, share)
    return torch.addcmul(b, value, share)


def fill_outside(values: Tensor, inside: Tensor) -> Tensor:
    """Levels from values (b, 3, ...), and the fill colour where they come from outside."""
    fill = torch.tensor(FILL, device=values.device, dtype=torch.uint8).view(-1, 1, 1)
    kept = inside.to(torch.uint8)  # where() would take ten times as long on a CPU
    return values.clamp_(0, 255).to(torch.uint8).mul_(kept).add_(fill * (1 - kept))


def slide_rows(pixels: Tensor, values: Tensor) -> Tensor:
    """Shift row y by ``slope * (y + 0.5) + shift`` pixels; values (b, 2) are slope and shift."""
    H, W = pixels.shape[2:]
    y, x = (torch.arange(-1, side + 2, device=pixels.device) for side in (H, W))
    shift = values[:, :1] * (y[1:-2] + 0.5) + values[:, 1:]  # (b, H)
    whole = shift.floor()
    places = (x + whole[..., None].long()).clamp_(0, W - 1)  # (b, H, W + 3)
    rows = pixels.gather(3, places[:, None].expand(-1, 3, -1, -1)).float()
    taps = [rows[..., place : place + W] for place in range(4)]
    source = x[1:-2] + 0.5 + shift[..., None]
    inside = (source >= 0) & (source < W)
    return fill_outside(cubic(taps, (shift - whole)[:, None, :, None]), inside[:, None])


def slide_columns(pixels: Tensor, values: Tensor) -> Tensor:
    """``slide_rows`` with rows and columns exchanged."""
    return slide_rows(pixels.transpose(2, 3), values).transpose(2, 3)


def rotate(pixels: Tensor, values: Tensor) -> Tensor:
    """Turn about the centre; values (b, 2) are the cosine and sine of the angle."""
    H, W = pixels.shape[2:]
    y = torch.arange(H, device=pixels.device)[:, None] + (0.5 - H / 2)
    x = torch.arange(W, device=pixels.device) + (0.5 - W / 2)
    cosine, sine = values[:, :1, None], values[:, 1:, None]
    column = cosine * x - sine * y + W / 2  # (b, H, W), where the pixel comes from
    row = sine * x + cosine * y + H / 2
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    left, top = (column - 0.5).floor(), (row - 0.5).floor()
    tap = torch.arange(-1, 3, device=pixels.device).view(4, 1, 1)
    columns = (left[:, None].long() + tap).clamp_(0, W - 1)  # (b, 4, H, W)
    rows = (top[:, None].long() + tap).clamp_(0, H - 1)
    flat, share, across = pixels.flatten(2), (column - 0.5 - left)[:, None], []
    for start in (rows * W).split(1, dim=1):
        places = (start + columns).view(len(pixels), 1, -1).expand(-1, 3, -1)
        found = flat.gather(2, places).view(len(pixels), 3, 4, H, W).float()
        across.append(cubic(found.unbind(2), share))
    return fill_outside(cubic(across, (row - 0.5 - top)[:, None]), inside[:, None])


def _factors(
    code: NDArray[np.int64], argument: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    return argument[:, None]


def _slides(
    code: NDArray[np.int64], argument: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    is_shear = np.isin(code, (SHEAR_X, SHEAR_Y))
    return np.stack([is_shear * argument, ~is_shear * argument * size], axis=1)


def _turns(
    code: NDArray[np.int64], argument: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    angle = np.radians(argument)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


FAMILIES = (  # operations, their function, and what turns codes and arguments into its values
    ((INVERT, POSTERIZE, SOLARIZE, SOLARIZE_ADD), look_up, fixed_tables),
    ((BRIGHTNESS,), brightness, _factors),
    ((AUTO_CONTRAST,), auto_contrast, _factors),
    ((EQUALIZE,), equalize, _factors),
    ((CONTRAST,), contrast, _factors),
    ((COLOR,), color, _factors),
    ((SHARPNESS,), sharpness, _factors),
    ((SHEAR_X, TRANSLATE_X), slide_rows, _slides),
    ((SHEAR_Y, TRANSLATE_Y), slide_columns, _slides),
    ((ROTATE,), rotate, _turns),
)
FAMILY_OF = np.array(
    [
        next(number for number, family in enumerate(FAMILIES) if code in family[0])
        for code in range(len(OPERATIONS))
    ]
)
