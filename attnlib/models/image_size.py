"""Check that a model accepts images of a given size, by trying one image before training."""

from collections.abc import Callable

import torch
from torch import nn

from attnlib.seeding import seeded

USUAL_SIZES = (64, 96, 128, 160, 192, 224, 240, 256, 299, 384, 448, 512)  # those a hint may name


def check_size(name: str, build: Callable[[int], nn.Module], img_size: int) -> None:
    """Pass one image through a model that is built for this check only.

    Args:
        name: The model's name in the message.
        build: Makes the model for a size.
        img_size: Pixels of a side.

    Raises:
        ValueError: With the reason, and the next larger size that works.
    """
    fault = _fault(build, img_size)
    if fault is None:
        return
    larger = (size for size in USUAL_SIZES if size > img_size and _fault(build, size) is None)
    size = next(larger, None)
    reason = str(fault).strip().splitlines()[0].removeprefix("img_size: ").rstrip(".")
    hint = f" img_size {size} would do." if size else ""
    raise ValueError(
        f"img_size: {name} can't take images of {img_size} x {img_size} pixels: {reason}.{hint}"
    )


def _fault(build: Callable[[int], nn.Module], img_size: int) -> Exception | None:
    """The error for one image of this size; None if there is none.

    Only shapes are computed first, which takes no memory and almost no time. A model that can't
    be run this way, because it depends on values, is run on real tensors.
    """
    fault: Exception | None = None
    for device in ("meta", "cpu"):
        try:
            with seeded(0), torch.device(device), torch.no_grad():
                build(img_size).eval()(torch.zeros(1, 3, img_size, img_size))
            return None
        except (RuntimeError, ValueError, TypeError, LookupError, AssertionError) as error:
            fault = error  # NotImplementedError of the meta device is a RuntimeError
    return fault
