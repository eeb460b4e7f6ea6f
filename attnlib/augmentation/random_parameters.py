"""Random parameters of each sample: crops, flips, operations and erased boxes.

They are drawn on the host, a whole batch at a time, from uniform numbers that depend only on
(seed, epoch, index). Distributions are those of the reference transforms of ``augment``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlib.arrays import Floats, Integers
from attnlib.augmentation import randaugment as ops
from attnlib.augmentation.pil_transforms import PADDED_UP_TO
from attnlib.seeding import sample_uniforms

TRIES = 10  # to find a box that fits, for crops and erased boxes
SMALL_PADDING = 4  # pixels around a small image, before its crop
LAYERS = 2  # RandAugment's, each applied with probability 0.5
JITTER = np.array([ops.BRIGHTNESS, ops.CONTRAST, ops.COLOR])  # each by a factor of 0.7 to 1.3
ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


WIDTHS = {  # uniform numbers per use, in the order in which they are drawn
    "tries": 2 * TRIES, "place": 2, "flip": 2, "layers": 5 * LAYERS, "jitter": 4,
    "erased": 1 + 2 * TRIES, "corner": 2, "noise": 2,
}  # fmt: skip


class Draws(NamedTuple):
    """The parameters of B images; pixels are counted from the top left, rows before columns."""

    place: Integers  # (B, 2) first row and column of the crop
    extent: Integers  # (B, 2) its height and width
    flip: NDArray[np.bool_]  # (B, 2) rows (upside down), columns
    codes: Integers  # (B, operations) as in ``randaugment.OPERATIONS``, or NOTHING
    arguments: Floats  # (B, operations)
    erased: Integers  # (B, 4) top, left, height, width; zeros for none
    noise: Integers  # (B, 2) position in the noise table


def draw_samples(
    augment: str,
    img_size: int,
    native: tuple[int, int],
    *,
    seed: int,
    epoch: int,
    indices: Integers,
) -> Draws:
    """Draw the parameters of the samples ``indices`` in one epoch.

    Args:
        augment: ``"thesis"``, ``"light"`` or ``"none"``.
        img_size: Side of the result in pixels.
        native: Height and width of the stored images.
        seed: Of the run.
        epoch: Counted from 0.
        indices: Positions in the split (B,).

    Raises:
        ValueError: If ``augment`` is none of these.
    """
    B = len(indices)
    uniforms = sample_uniforms(seed, "sample", epoch, indices, sum(WIDTHS.values()))
    ends = np.cumsum(list(WIDTHS.values()))[:-1]
    uniform = dict(zip(WIDTHS, np.split(uniforms, ends, axis=1), strict=True))
    shift = below(uniform["place"], 2 * crop_padding(augment, img_size) + 1)
    plain = Draws(
        place=shift,
        extent=np.full((B, 2), img_size),
        flip=np.zeros((B, 2), np.bool_),
        codes=np.zeros((B, 0), np.int64),
        arguments=np.zeros((B, 0)),
        erased=np.zeros((B, 4), np.int64),
        noise=np.zeros((B, 2), np.int64),
    )
    if augment == "none":
        return plain
    if augment == "light":
        return plain._replace(flip=(uniform["flip"] < 0.5) & np.array([False, True]))
    if img_size > PADDED_UP_TO:
        place, extent = crop_box(uniform["tries"], uniform["place"], native)
        plain = plain._replace(place=place, extent=extent)
    layers, jitter = rand_augment(uniform["layers"]), color_jitter(uniform["jitter"])
    return plain._replace(
        flip=uniform["flip"] < 0.5,
        codes=np.concatenate([layers[0], jitter[0]], axis=1),
        arguments=np.concatenate([layers[1], jitter[1]], axis=1),
        erased=erased_box(uniform["erased"], uniform["corner"], img_size),
        noise=below(uniform["noise"], img_size + 1),
    )


def crop_padding(augment: str, img_size: int) -> int:
    """Pixels of zero padding on each side before the crop; the thesis pads only small images.

    Raises:
        ValueError: If ``augment`` is unknown.
    """
    padding = {"thesis": SMALL_PADDING, "light": img_size // 8, "none": 0}
    if augment not in padding:
        raise ValueError(f"augment: unknown value {augment!r}. Valid: {', '.join(padding)}.")
    return padding[augment]


def below(uniforms: Floats, count: Integers | int) -> Integers:
    """Whole numbers 0 to ``count - 1``."""
    return (uniforms * count).astype(np.int64)


def boxes(uniforms: Floats, area: tuple[float, float], ratio: float) -> tuple[Floats, Floats]:
    """Height and width of candidate boxes (B, tries).

    The area is uniform, and the height-to-width ratio log-uniform between 1 / ratio and ratio.
    """
    first, second = uniforms[:, ::2], uniforms[:, 1::2]
    areas = area[0] + (area[1] - area[0]) * first
    ratios = np.exp((2 * second - 1) * np.log(ratio))
    return np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))


def first_that_fits(fits: NDArray[np.bool_], *sides: Floats) -> tuple[NDArray[np.bool_], Integers]:
    """Whether any of the boxes (B, tries) fits, and the sides (B, 2) of the first that does."""
    chosen = fits.argmax(axis=1)[:, None]
    taken = [np.take_along_axis(side, chosen, axis=1) for side in sides]
    return np.take_along_axis(fits, chosen, axis=1), np.concatenate(taken, axis=1).astype(np.int64)


def crop_box(tries: Floats, place: Floats, native: tuple[int, int]) -> tuple[Integers, Integers]:
    """Random resized crop: 8 to 100 % of the area, sides 3:4 to 4:3, else the largest central one.

    torchvision's rule, but at least one pixel, where timm would fail on an empty box.
    """
    H, W = native
    height, width = boxes(tries, (0.08 * H * W, H * W), 4 / 3)
    found, sides = first_that_fits((height <= H) & (width <= W), height, width)
    fallback = np.array([min(H, round(W * 4 / 3)), min(W, round(H * 4 / 3))])
    extent = np.maximum(np.where(found, sides, fallback), 1)
    surplus = np.array(native) - extent
    return np.where(found, below(place, surplus + 1), surplus // 2), extent


def erased_box(tries: Floats, corner: Floats, size: int) -> Integers:
    """Random erasing: a quarter of the images lose 2 to 33 % of the area, sides 3:10 to 10:3."""
    area = size * size
    height, width = boxes(tries[:, 1:], (0.02 * area, area / 3), 1 / 0.3)
    found, sides = first_that_fits((height < size) & (width < size), height, width)
    box = np.concatenate([below(corner, size - sides + 1), sides], axis=1)
    return np.where(found & (tries[:, :1] < 0.25), box, 0)


def rand_augment(uniforms: Floats) -> tuple[Integers, Floats]:
    """Codes and arguments (B, layers) of ``rand-m9-mstd0.5-inc1``."""
    choice, chance, radius, angle, sign = np.moveaxis(uniforms.reshape(len(uniforms), -1, 5), 2, 0)
    code = np.where(chance < 0.5, below(choice, len(ops.OPERATIONS)), ops.NOTHING)
    normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)  # Box and Muller (1958)
    level = np.clip(9 + 0.5 * normal, 0, 10) / 10
    return code, operation_arguments(code, level, np.where(sign < 0.5, 1, -1))


def operation_arguments(code: Integers, level: Floats, sign: Integers) -> Floats:
    """Arguments of timm's operations for a level in [0, 1], stronger as it increases."""
    factor = np.maximum(0.1, 1 + sign * level * 0.9)
    arguments = {
        ops.ROTATE: sign * level * 30,  # degrees
        ops.POSTERIZE: 4 - np.trunc(level * 4),  # bits
        ops.SOLARIZE: 256 - np.minimum(256, np.trunc(level * 256)),  # threshold
        ops.SOLARIZE_ADD: np.minimum(128, np.trunc(level * 110)),  # levels
        ops.COLOR: factor, ops.CONTRAST: factor, ops.BRIGHTNESS: factor, ops.SHARPNESS: factor,
        ops.SHEAR_X: sign * level * 0.3, ops.SHEAR_Y: sign * level * 0.3,  # slope
        ops.TRANSLATE_X: sign * level * 0.45, ops.TRANSLATE_Y: sign * level * 0.45,  # of the side
    }  # fmt: skip
    return np.select([code == key for key in arguments], list(arguments.values()), 0.0)


def color_jitter(uniforms: Floats) -> tuple[Integers, Floats]:
    """Codes and arguments (B, 3): brightness, contrast and colour in random order."""
    order = ORDERS[below(uniforms[:, 0], len(ORDERS))]
    return JITTER[order], np.take_along_axis(0.7 + 0.6 * uniforms[:, 1:], order, axis=1)
