"""RandAugment's fifteen operations and colour jitter on batches of uint8 images.

Each image has its own parameter, and the arithmetic is Pillow's, including rounding. Two roundings
can differ by one level in rare pixels: Pillow computes shifts and rotations in float64, this
file in float32. Random numbers are drawn elsewhere (``random_parameters``).

A batch passes through columns of operations, one operation per image and column. It is sorted for
each column, so that images with operations of one family are contiguous and share most of its
kernels, none of which makes the host wait.
"""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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
FILL = tuple(round(255 * mean) for mean in IMAGENET_MEAN)  # fill colour outside, as in timm
LEVELS = np.arange(256, dtype=np.float32)
CUBIC = (  # ``cubic`` as a polynomial: coefficients of each of four points by power of ``share``
    (0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 1.0, 0.0), (2.0, -2.0, 1.0, -1.0), (-1.0, 1.0, -1.0, 1.0),
)  # fmt: skip

# Families that share most of their work, each in the order in which its images are sorted.
TABLES = (AUTO_CONTRAST, EQUALIZE, INVERT, POSTERIZE, SOLARIZE, SOLARIZE_ADD)
MOVEMENTS = (SHEAR_X, TRANSLATE_X, SHEAR_Y, TRANSLATE_Y, ROTATE)
BLENDS = (BRIGHTNESS, CONTRAST, COLOR, SHARPNESS)
SORTED = (*TABLES, *MOVEMENTS, *BLENDS, NOTHING)
RANK_OF = np.array([SORTED.index(code) for code in (*range(len(OPERATIONS)), NOTHING)])


class Column(NamedTuple):
    """One operation per image, and the order in which the images are sorted for it."""

    codes: NDArray[np.int64]  # (B,) sorted by ``RANK_OF``
    places: NDArray[np.int64]  # (B,) of these images in the order of the column before
    tables: NDArray[np.float32]  # (b, 256) of the first images
    paths: NDArray[np.float32]  # (b, 2, 6) of the next images
    factors: NDArray[np.float32]  # (b,) of the images after these


def plan_columns(
    codes: NDArray[np.int64], arguments: NDArray[np.float64], size: int
) -> tuple[list[Column], NDArray[np.int64]]:
    """Sort the operations of a batch, column by column.

    Args:
        codes: Places in ``OPERATIONS``, or ``NOTHING`` (B, columns).
        arguments: Degrees, bits, threshold, levels added, factor, slope or share of ``size``.
        size: Side of an image in pixels.

    Returns:
        Columns with at least one operation, and each image's position after the last one (B,).
    """
    columns, lies_at = [], np.arange(len(codes))
    for code, argument in zip(codes.T, arguments.T, strict=True):
        if (code == NOTHING).all():
            continue
        order = np.argsort(RANK_OF[code], kind="stable")
        column, given = code[order], argument[order]
        tabled, moved, blended = (np.isin(column, family) for family in (TABLES, MOVEMENTS, BLENDS))
        columns.append(
            Column(
                column,
                lies_at[order],
                fixed_tables(column[tabled], given[tabled]),
                source_paths(column[moved], given[moved], size),
                given[blended].astype(np.float32),
            )
        )
        lies_at = np.argsort(order)
    return columns, lies_at


class Operations:
    """The operations on square images of one size, with their constants on the device.

    Args:
        size: Side of an image in pixels.
        device: Of the images.
        few: Number of images at a time, so that they stay in a CPU's cache; by default all.
    """

    def __init__(self, size: int, device: torch.device, few: int | None = None):
        self.size, self.few = size, few
        self.stretches = stretch_tables().to(device)
        self.levels = torch.arange(256, device=device)
        self.one = torch.ones(1, dtype=torch.long, device=device)
        self.fill = torch.tensor(FILL, dtype=torch.uint8).to(device).view(-1, 1, 1)
        steps = torch.arange(size, dtype=torch.float32)
        self.middles = (steps + 0.5).to(device)
        self.grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy")).to(device)  # (2, S, S)
        self.cubic = torch.tensor(CUBIC).to(device)
        self.taps = torch.arange(-1, 3, device=device).view(4, 1, 1)

    @staticmethod
    def numbers(
        columns: Sequence[Column], lies_at: NDArray[np.int64]
    ) -> list[NDArray[np.int64] | NDArray[np.float32]]:
        """The arrays that ``apply`` needs on the device."""
        each = [(c.places, c.tables, c.paths, c.factors) for c in columns]
        return [array for arrays in each for array in arrays] + [lies_at]

    def apply(self, pixels: Tensor, columns: Sequence[Column], numbers: Sequence[Tensor]) -> Tensor:
        """Images (B, 3, S, S) after all columns, given ``numbers`` on their device."""
        for column, (places, *values) in zip(
            columns, zip(*(numbers[k:-1:4] for k in range(4)), strict=True), strict=True
        ):
            pixels = pixels.index_select(0, places)
            start = 0
            for does, given in zip((self.map_levels, self.move, self.blend), values, strict=True):
                for part in in_parts(len(given), self.few):
                    whole = slice(start + part.start, start + part.stop)
                    does(pixels[whole], column.codes[whole], given[part])
                start += len(given)
        return pixels.index_select(0, numbers[-1]) if columns else pixels

    def map_levels(self, pixels: Tensor, codes: NDArray[np.int64], given: Tensor) -> None:
        """Map the levels of each channel through a table; fixed tables (b, 256) are given."""
        levels = pixels.flatten(2).long()
        tables = pixels.new_empty(len(pixels), 3, 256)
        stretched, equalized, fixed = _slices(codes, (AUTO_CONTRAST,), (EQUALIZE,), TABLES[2:])
        if _some(stretched):
            tables[stretched] = self.auto_contrast(levels[stretched])
        if _some(equalized):
            tables[equalized] = self.equalize(levels[equalized])
        if _some(fixed):
            tables[fixed] = given[fixed, None]
        torch.gather(tables, 2, levels, out=pixels.flatten(2))

    def auto_contrast(self, levels: Tensor) -> Tensor:
        """Tables (b, 3, 256) that stretch each channel's levels (b, 3, n) to 0..255."""
        pairs = torch.add(levels.amax(2), levels.amin(2), alpha=256)
        return self.stretches.index_select(0, pairs.flatten()).view(len(levels), 3, 256)

    def equalize(self, levels: Tensor) -> Tensor:
        """Tables that make each channel's levels (b, 3, n) about equally frequent."""
        counts = levels.new_zeros(len(levels), 3, 256)
        counts.scatter_add_(2, levels, self.one.expand_as(levels))
        step = (levels.shape[2] - counts.gather(2, levels.amax(2, keepdim=True))) // 255
        below = counts.cumsum(2).sub_(counts)
        spread = (below.add_(step // 2) // step.clamp(min=1)).clamp_(max=255)
        return torch.where(step > 0, spread, self.levels)

    def blend(self, pixels: Tensor, codes: NDArray[np.int64], factors: Tensor) -> None:
        """Blend each image with another version of it, by its factor (b,)."""
        _, contrast, color, sharpness = _slices(codes, *((code,) for code in BLENDS))
        exact = pixels.float()
        others = exact.new_zeros(len(pixels), 3 if _some(sharpness) else 1, *pixels.shape[2:])
        greyed = slice(contrast.start, color.stop)
        if _some(greyed):
            grey(exact[greyed], out=others[greyed, :1])
        if _some(contrast):
            others[contrast, :1] = grey_mean(others[contrast, :1])
        if _some(sharpness):
            others[greyed, 1:] = others[greyed, :1]
            smooth(exact[sharpness], out=others[sharpness])
        blend(others, exact, factors.view(-1, 1, 1, 1), out=pixels)

    def move(self, pixels: Tensor, codes: NDArray[np.int64], paths: Tensor) -> None:
        """Fetch each pixel along its image's path (b, 2, 6), see ``source_paths``."""
        if pixels.device.type != "cpu":
            values, inside = self.follow(pixels, paths)
            self.fill_outside(values, inside, pixels)
            return
        # Movements along a row or column take a quarter of the work, in more kernels than on a GPU.
        rows, columns, turned = _slices(codes, MOVEMENTS[:2], MOVEMENTS[2:4], (ROTATE,))
        if _some(rows):
            self.fill_outside(*self.slide_rows(pixels[rows], paths[rows, 0, 1:3]), pixels[rows])
        if _some(columns):
            upright = pixels[columns].transpose(2, 3)
            found = self.slide_rows(upright, paths[columns, 1, 0:3:2])
            self.fill_outside(*found, upright)
        few = max(1, (self.few or 8) // 8)  # sixteen values for each pixel
        for part in in_parts(turned.stop - turned.start, few):
            own = slice(turned.start + part.start, turned.start + part.stop)
            self.fill_outside(*self.follow(pixels[own], paths[own]), pixels[own])

    def follow(self, pixels: Tensor, paths: Tensor) -> tuple[Tensor, Tensor]:
        """Values (b, 3, S, S) from anywhere in the image, and whether they are inside it."""
        S, b = self.size, len(pixels)
        by_column, by_row, shift, start, own, half = paths[..., None, None].unbind(2)
        middles = self.middles - start[:, :1, 0]  # (b, 1, S)
        # Where each pixel comes from, in columns and rows (b, 2, S, S), without its own position.
        near = by_column * middles[:, :, None] + by_row * middles[..., None]
        near = near.add_(shift).sub_(half)
        first = near.floor()
        share = near - first
        first = torch.addcmul(first, self.grid, own)
        spot = first + share
        inside = ((spot >= -0.5) & (spot < S - 0.5)).all(1, keepdim=True)
        taps = (first.long()[:, :, None] + self.taps).clamp_(0, S - 1)  # (b, 2, 4, S, S)
        places = (taps[:, 1, :, None] * S + taps[:, :1]).view(b, 1, -1).expand(-1, 3, -1)
        found = pixels.flatten(2).gather(2, places).float()
        if pixels.device.type == "cpu":  # products of such small matrices are slow there
            return cubic(self._across(found, share), share[:, 1:]), inside
        powers = torch.matmul(self.cubic, found.view(b * 12, 4, -1)).view(b, 3, 4, 4, S, S)
        across, across_share = powers[:, :, :, 3], share[:, :1, None]
        for power in (2, 1, 0):
            across = torch.addcmul(powers[:, :, :, power], across, across_share)
        return cubic(across.unbind(2), share[:, 1:]), inside

    def _across(self, found: Tensor, share: Tensor) -> tuple[Tensor, ...]:
        """The values of four rows (b, 3, S, S), each between its four columns."""
        S, b = self.size, len(found)
        columns = found.view(b, 3, 4, 4, S, S).unbind(3)
        return cubic(columns, share[:, :1, None]).unbind(2)

    def slide_rows(self, pixels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As ``follow`` where row y shifts by ``slope * (y + 0.5) + shift``; values (b, 2)."""
        W = self.size
        shift = values[:, :1] * self.middles + values[:, 1:]  # (b, H)
        whole = shift.floor()
        x = torch.arange(-1, W + 2)
        places = (x + whole[..., None].long()).clamp_(0, W - 1)  # (b, H, W + 3)
        rows = pixels.gather(3, places[:, None].expand(-1, 3, -1, -1)).float()
        taps = [rows[..., place : place + W] for place in range(4)]
        share = shift - whole
        spot = self.grid[0] + whole[..., None] + share[..., None]
        inside = (spot >= -0.5) & (spot < W - 0.5)
        return cubic(taps, share[:, None, :, None]), inside[:, None]

    def fill_outside(self, values: Tensor, inside: Tensor, out: Tensor) -> None:
        """Write values (b, 3, S, S), or the fill colour for pixels from outside."""
        values.clamp_(0, 255)
        if values.device.type != "cpu":
            out.copy_(torch.where(inside, values, self.fill))
        else:  # where() would take ten times as long; bytes wrap around
            levels, kept = values.to(torch.uint8), inside.to(torch.uint8)
            out.copy_(levels.sub_(self.fill).mul_(kept).add_(self.fill))


def in_parts(count: int, few: int | None) -> list[slice]:
    """Slices that cover ``count`` images, ``few`` at a time, or all at once."""
    few = few or max(count, 1)
    return [slice(start, min(start + few, count)) for start in range(0, count, few)]


def _slices(codes: NDArray[np.int64], *groups: Sequence[int]) -> list[slice]:
    """Slice of each group's images among the sorted ``codes``."""
    ends = np.cumsum([np.isin(codes, group).sum() for group in groups]).tolist()
    return [slice(start, stop) for start, stop in pairwise([0, *ends])]


def _some(part: slice) -> bool:
    return part.stop > part.start


# Tables: the result of an operation for each of the 256 levels.


def fixed_tables(code: NDArray[np.int64], argument: NDArray[np.float64]) -> NDArray[np.float32]:
    """Tables (b, 256) of operations that don't depend on the image; zeros for others."""
    x, a = LEVELS, argument.astype(np.float32)[:, None]
    merged = 256 / 2 ** np.minimum(a, 8)  # levels merged into one; at 0 bits all: black
    choices = {
        INVERT: 255 - x + 0 * a,
        POSTERIZE: x - x % merged,
        SOLARIZE: np.where(x < a, x, 255 - x),
        SOLARIZE_ADD: np.where(x < 128, np.minimum(x + a, 255), x),
    }
    chosen = np.select([code[:, None] == key for key in choices], list(choices.values()))
    return chosen.astype(np.float32)


@functools.cache
def stretch_tables() -> Tensor:
    """Each level after stretching (low, high) to 0..255: uint8 (256 * 256, 256).

    Computed once, in float64 as in Pillow, which not every device supports.
    """
    tables = np.tile(np.arange(256, dtype=np.uint8), (256, 256, 1))
    for low in range(255):
        high = np.arange(low + 1, 256, dtype=np.float64)[:, None]
        scale = 255 / (high - low)
        stretched = np.arange(256) * scale + -low * scale
        tables[low, low + 1 :] = stretched.clip(0, 255).astype(np.uint8)
    return torch.from_numpy(tables.reshape(-1, 256))


# Blends with another version of the image.


def blend(other: Tensor, pixels: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Pillow's ``Image.blend``: ``other`` at factor 0, ``pixels`` at 1, extrapolated beyond."""
    levels = (pixels - other).mul_(factor).add_(other).clamp_(0, 255)
    return levels.to(torch.uint8) if out is None else out.copy_(levels)


def grey(pixels: Tensor, out: Tensor | None = None) -> Tensor:
    """Pillow's luma, ITU-R 601-2 in 16 bits: whole floats (b, 3, H, W) to (b, 1, H, W).

    All terms are multiples of 2**-16 below 256, which float32 represents exactly.
    """
    red, green, blue = pixels.split(1, dim=1)
    total = torch.mul(red, 19595 / 65536, out=out).add_(green, alpha=38470 / 65536)
    return total.add_(blue, alpha=7471 / 65536).add_(0.5).floor_()


def grey_mean(greys: Tensor) -> Tensor:
    """The mean of each image's grey levels (b, 1, H, W), rounded: (b, 1, 1, 1)."""
    count = greys.shape[2] * greys.shape[3]
    if 255 * count < 2**24:  # exact in floats
        whole = greys.sum(dim=(1, 2, 3))
    else:
        whole = greys.sum(dim=3).sum(dim=(1, 2), dtype=torch.long)
    return whole.add_(count // 2).floor_divide_(count).view(-1, 1, 1, 1)


def smooth(pixels: Tensor, out: Tensor) -> None:
    """Rounded means of 3 x 3 pixels with weight 5 of 13 at the centre; the border is kept."""
    out.copy_(pixels)
    if min(pixels.shape[2:]) >= 3:
        if pixels.device.type == "cpu":  # pooling would take ten times as long
            rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
            sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        else:
            sums = F.avg_pool2d(pixels, 3, stride=1, divisor_override=1)
        sums.add_(pixels[..., 1:-1, 1:-1], alpha=4)
        out[..., 1:-1, 1:-1] = torch.div(sums, 13, out=sums).add_(0.5).floor_()


# Movements. Pillow's transform() is bicubic with a = -1 and truncates; resizing does neither.


def source_paths(
    code: NDArray[np.int64], argument: NDArray[np.float64], size: int
) -> NDArray[np.float32]:
    """Where each pixel's value comes from, for the column (first row) and row (second row).

    Each is ``by_column * (x + 0.5 - start) + by_row * (y + 0.5 - start) + shift``, and where
    ``own`` is 1 the pixel's own column or row is added, else ``half`` is subtracted for the
    middle of a pixel: (b, 2, 6) are by_column, by_row, shift, start, own and half.
    """
    slope = np.where(np.isin(code, (SHEAR_X, SHEAR_Y)), argument, 0)
    shift = np.where(np.isin(code, (TRANSLATE_X, TRANSLATE_Y)), argument * size, 0)
    angle, zero = np.radians(argument), np.zeros(len(code))
    one, centre, half = zero + 1, zero + size / 2, zero + 0.5
    still = np.stack([zero, zero, zero, zero, one, zero], axis=1)
    rows = np.stack([zero, slope, shift, zero, one, zero], axis=1), still
    columns = still, np.stack([slope, zero, shift, zero, one, zero], axis=1)
    turned = (
        np.stack([np.cos(angle), -np.sin(angle), centre, centre, zero, half], axis=1),
        np.stack([np.sin(angle), np.cos(angle), centre, centre, zero, half], axis=1),
    )
    chosen = [np.isin(code, group)[:, None, None] for group in (MOVEMENTS[:2], MOVEMENTS[2:4])]
    kinds = [np.stack(pair, axis=1) for pair in (rows, columns, turned)]
    return np.select(chosen, kinds[:2], kinds[2]).astype(np.float32)


def cubic(points: Sequence[Tensor], share: Tensor) -> Tensor:
    """The value ``share`` of the way from the second to the third of four points.

    The terms are in Pillow's order, so that equal points give exactly that value.
    """
    a, b, c, d = points
    slope = a - b
    cube = (d - c).sub_(slope)
    value = slope.sub_(cube).addcmul_(cube, share)
    value = (c - a).addcmul_(value, share)
    return torch.addcmul(b, value, share)
