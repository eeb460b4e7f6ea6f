"""Whether a model takes images of a size, tried on one image before anything else is done."""

from collections.abc import Callable

import torch
from torch import nn

from attnlib.seeding import seeded

USUAL_SIZES = (64, 96, 128, 160, 192, 224, 256, 299, 384)  # that a hint is looked for in


def check_size(name: str, build: Callable[[int], nn.Module], img_size: int) -> None:
    """Pass one image through a model that is built to be thrown away.

    Args:
        name: What the message calls the model.
        build: Makes the model for a size.
        img_size: Pixels of a side.

    Raises:
        ValueError: In the words of what failed, with the next larger size that would do.
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
    """What goes wrong with one image of a size; None: nothing.

    Shapes alone are computed first, which takes no memory and almost no time. A model that can't
    be computed so, since it looks at values, is computed in truth.
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
