"""Resizing and cropping as matrix products, with Pillow's bicubic weights and rounding.

A crop, flip and resize treats rows and columns alike and one after the other: its result is
``rows @ image @ columns.T``, where ``rows`` and ``columns`` hold the weights of each output pixel.
Where PyTorch is allowed TF32 the weights keep 11 bits, and a pixel can differ by one level.
"""

from collections.abc import Callable

import torch
from torch import Tensor

TABLE_BYTES = 32 * 2**20  # above this the weights of random crops are computed for each batch
Weights = Callable[[Tensor, Tensor, Tensor], Tensor]  # (place, extent, flip) of (B,) -> (B, S, n)


def resize_weights(offset: Tensor, extent: Tensor, length: int, size: int) -> Tensor:
    """Weights (K, size, length) that resize pixels ``offset`` to ``offset + extent`` to ``size``.

    Keys's cubic with a = -0.5, wider where it shrinks, and cut off and normalised at the borders of
    the interval: Pillow's ``resize`` of a crop. Pillow then rounds the weights to 22 bits.

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
    """Weights of crops [place, place + extent) resized to ``size``, from a table if it is small."""
    step = torch.arange(size, device=device)
    count = length * (length + 1) // 2
    if 4 * count * size * length > TABLE_BYTES:

        def computed(place: Tensor, extent: Tensor, flip: Tensor) -> Tensor:
            weights = resize_weights(place.float(), extent.float(), length, size)
            return torch.where(flip[:, None, None] > 0, weights.flip(1), weights)

        return computed

    extents = torch.arange(1, length + 1).repeat_interleave(torch.arange(length, 0, -1))
    offsets = torch.cat([torch.arange(length - extent) for extent in range(length)])
    whole = resize_weights(offsets.double(), extents.double(), length, size)
    table = whole.flatten(0, 1).to(device, torch.float32)

    def tabled(place: Tensor, extent: Tensor, flip: Tensor) -> Tensor:
        shorter = (extent - 1) * (2 * length + 2 - extent) // 2  # intervals with less extent
        first = ((shorter + place) * size)[:, None]
        return table[first + torch.where(flip[:, None] > 0, size - 1 - step, step)]

    return tabled


def shift_weights(
    length: int, resized: int, size: int, padding: int, device: torch.device
) -> Weights:
    """Weights of a resize of the whole axis, then a padded crop.

    The middle ``size`` of ``resized`` pixels, between ``padding`` zeros, are cropped to ``size``
    from ``place`` on.
    """
    step = torch.arange(size, device=device)
    interval = torch.tensor([0.0, length], dtype=torch.float64)
    whole = resize_weights(interval[:1], interval[1:], length, resized)[0]
    middle = round((resized - size) / 2)
    zeros = whole.new_zeros(padding, length)
    table = torch.cat([zeros, whole[middle : middle + size], zeros]).to(device, torch.float32)

    def shifted(place: Tensor, _: Tensor, flip: Tensor) -> Tensor:
        return table[place[:, None] + torch.where(flip[:, None] > 0, size - 1 - step, step)]

    return shifted


def resample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resize uint8 images (B, 3, H, W) by weights (B, S, H), (B, S, W), columns before rows.

    Each of the two passes rounds and clips to 0..255, as in Pillow, which (13.0)
    begins with the rows where that is less work: some crops that shrink differ by a few levels.
    """
    B, C, H, W = pixels.shape
    across = torch.bmm(pixels.float().view(B, C * H, W), columns.transpose(1, 2))
    across.add_(0.5).clamp_(0, 255).floor_()
    down = torch.matmul(rows[:, None], across.view(B, C, H, -1))
    return down.add_(0.5).clamp_(0, 255).to(torch.uint8)


def upscale(pixels: Tensor, weights: Tensor, images: Tensor) -> None:
    """Write uint8 images (B, 3, n, n) into floats in [0, 1] ``images`` (B, 3, S, S).

    ``weights`` (S, n) serve both axes. Nothing is rounded, and clipping comes last.
    """
    S, n = weights.shape
    down = torch.matmul(weights / 255, pixels.float())  # (B, 3, S, n)
    torch.mm(down.view(-1, n), weights.t(), out=images.view(-1, S))
    images.clamp_(0, 1)
