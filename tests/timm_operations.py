"""RandAugment's operations as timm does them, the reference of two tests."""

import numpy as np
from PIL import Image
from timm.data import auto_augment

from attnlib.augmentation import randaugment as ops

LEVELS = {ops.POSTERIZE: (0, 1, 2, 4), ops.SOLARIZE: (0, 26, 128, 256),
          ops.SOLARIZE_ADD: (0, 99, 110, 128)}  # fmt: skip
PLAIN = [
    ops.OPERATIONS.index(name) for name in ("AutoContrast", "Equalize", "Invert")
]  # no argument


def done_by_timm(images: np.ndarray, code: int, argument: float) -> np.ndarray:
    """Images uint8 (N, H, W, 3) after one operation with one argument, one by one."""
    function = auto_augment.NAME_TO_OP[ops.OPERATIONS[code]]
    if code == ops.POSTERIZE and argument == 0:
        return np.zeros_like(images)  # where Pillow fails, see pil_transforms.guard_posterize
    arguments = () if code in PLAIN else (int(argument) if code in LEVELS else argument,)
    options = {"fillcolor": ops.FILL, "resample": Image.BICUBIC}
    return np.stack(
        [np.asarray(function(Image.fromarray(image), *arguments, **options)) for image in images]
    )
