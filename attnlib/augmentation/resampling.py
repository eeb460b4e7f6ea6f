"""Resizing and cropping as matrix products, with Pillow's bicubic weights and rounding.

Crops, flips and resizes treat rows and columns separately: the result is
``rows @ image @ columns.T``, where ``rows`` and ``columns`` hold the weights of each output pixel.
With TF32 the weights keep 11 bits, and a pixel can differ by one level.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlib.arrays import Integers

TABLE_BYTES = 32 * 2**20  # above this the weights of random crops are computed for each batch


class Weights(Protocol):
    """Weights of crops along one axis, in two steps, so that little is sent to the device."""

    def numbers(self, place: Integers, extent: Integers, flip: NDArray[np.bool_]) -> Integers:
        """The numbers (B, k) from which ``weights`` computes the weights on the device."""

    def weights(self, numbers: Tensor) -> Tensor:
        """The weights (B, S, n)."""


def resize_weights(offset: Tensor, extent: Tensor, length: int, size: int) -> Tensor:
    """Weights (K, size, length) that resize pixels ``offset`` to ``offset + extent`` to ``size``.

    Keys's cubic with a = -0.5, widened when shrinking, cut off and normalised at the borders of
    the interval, like Pillow's ``resize`` of a crop. Pillow then rounds the weights to 22 bits.

    Args:
        offset: First pixel of each interval (K,), in the dtype to compute in.
        extent: Pixels of each interval (K,).
        length: Pixels of the whole axis.
        size: Pixels of the result.
    """
    pixel = torch.arange(length, device=offset.device, dtype=offset.dtype) + 0.5
    place = torch.arange(size, device=offset.device, dtype=offset.dtype) + 0.5
    scale = (extent / size)[:, None]
    centre = (offset[:, None] + place * scale)[..., None]
    x = ((pixel - centre) / scale.clamp(min=1)[..., None]).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0))
    first, last = offset[:, None, None], (offset + extent)[:, None, None]
    weights = torch.where((pixel > first) & (pixel < last), weights, 0)
    return weights / weights.sum(2, keepdim=True)


def crop_weights(length: int, size: int, device: torch.device) -> Weights:
    """Weights of crops [place, place + extent) resized to ``size``; from a table if it is small."""
    count = length * (length + 1) // 2
    if 4 * count * size * length > TABLE_BYTES:
        return ComputedCrops(length, size)
    return TabledCrops(length, size, device)


class ComputedCrops:
    """Weights of crops, computed for each batch."""

    def __init__(self, length: int, size: int):
        self.length, self.size = length, size

    def numbers(self, place: Integers, extent: Integers, flip: NDArray[np.bool_]) -> Integers:
        """Place, extent and flip."""
        return np.stack([place, extent, flip], axis=1)

    def weights(self, numbers: Tensor) -> Tensor:
        """The weights (B, S, n)."""
        place, extent, flip = numbers.unbind(1)
        weights = resize_weights(place.float(), extent.float(), self.length, self.size)
        return torch.where(flip[:, None, None] > 0, weights.flip(1), weights)


class Rows:
    """Weights that are rows of one table, read downwards, or upwards if flipped."""

    def __init__(self, table: Tensor, size: int, device: torch.device):
        self.table = table.float().to(device)
        self.step = torch.arange(size, device=device, dtype=torch.int32)

    def weights(self, numbers: Tensor) -> Tensor:
        """The weights (B, S, n) from first row and direction (B, 2)."""
        return self.table[torch.addcmul(numbers[:, :1], numbers[:, 1:], self.step)]

    def _rows(self, first: Integers, flip: NDArray[np.bool_]) -> Integers:
        last = first + len(self.step) - 1
        return np.stack([np.where(flip, last, first), np.where(flip, -1, 1)], axis=1)


class TabledCrops(Rows):
    """Table of the weights of all crops of an axis, ordered by extent, then place."""

    def __init__(self, length: int, size: int, device: torch.device):
        self.length = length
        extents = torch.arange(1, length + 1).repeat_interleave(torch.arange(length, 0, -1))
        offsets = torch.cat([torch.arange(length - extent) for extent in range(length)])
        whole = resize_weights(offsets.double(), extents.double(), length, size)
        super().__init__(whole.flatten(0, 1), size, device)

    def numbers(self, place: Integers, extent: Integers, flip: NDArray[np.bool_]) -> Integers:
        """First row and direction."""
        shorter = (extent - 1) * (2 * self.length + 2 - extent) // 2  # crops with a smaller extent
        return self._rows((shorter + place) * len(self.step), flip)


class ShiftedCrops(Rows):
    """Weights of a resize of the whole axis, then a padded crop.

    The middle ``size`` of ``resized`` pixels, between ``padding`` zeros, are cropped to ``size``
    starting at ``place``.
    """

    def __init__(self, length: int, resized: int, size: int, padding: int, device: torch.device):
        interval = torch.tensor([0.0, length], dtype=torch.float64)
        whole = resize_weights(interval[:1], interval[1:], length, resized)[0]
        middle = round((resized - size) / 2)
        zeros = whole.new_zeros(padding, length)
        super().__init__(torch.cat([zeros, whole[middle : middle + size], zeros]), size, device)

    def numbers(self, place: Integers, extent: Integers, flip: NDArray[np.bool_]) -> Integers:
        """First row and direction; the extent is always the whole axis."""
        return self._rows(place, flip)


def resample(pixels: Tensor, rows: Tensor, columns: Tensor, out: Tensor | None = None) -> Tensor:
    """Resize integer levels (B, 3, H, W) by weights (B, S, H), (B, S, W), columns before rows.

    The result, uint8 (B, 3, S, S), is written to ``out``, if given. Each of the two passes rounds
    and clips to 0..255, as in Pillow. Pillow 13.0 begins with the rows where that is less work, so
    some crops that are shrunk differ by a few levels.
    """
    B, C, H, W = pixels.shape
    across = torch.bmm(pixels.float().view(B, C * H, W), columns.transpose(1, 2))
    across.add_(0.5).clamp_(0, 255).floor_()
    down = torch.matmul(rows[:, None], across.view(B, C, H, -1))
    down.add_(0.5).clamp_(0, 255)
    return down.to(torch.uint8) if out is None else out.copy_(down)


def upscale(pixels: Tensor, rows: Tensor, columns: Tensor, images: Tensor) -> None:
    """Write uint8 images (B, 3, n, n) into floats in [0, 1] ``images`` (B, 3, S, S).

    Weights (S, n) of rows, divided by 255, and of columns. Nothing is rounded; clipping comes
    last.
    """
    S, n = columns.shape
    down = torch.matmul(rows, pixels.float())  # (B, 3, S, n)
    torch.mm(down.view(-1, n), columns.t(), out=images.view(-1, S))
    images.clamp_(0, 1)
