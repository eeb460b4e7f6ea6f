"""One image to look at: a file, a URL with its hash, or a photograph inside an installed package.

Whatever comes, out goes RGB, upright, on white where it was transparent, or an error that says why
not.
"""

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from attnlib.data.downloads import fetch

PHOTOGRAPHS = ("china", "flower")  # inside scikit-learn, 640 x 427 pixels
MAX_PIXELS = 50_000_000
WHITES = {"I": (255, 65535), "F": (1, 255, 65535)}  # by the first letter of Pillow's mode
DOG_URLS = tuple(  # the thesis's Figures 8.3 to 8.5, 680 x 452 pixels; added once, never changed
    f"https://raw.githubusercontent.com/yitu-opensource/T2T-ViT/{commit}/images/dog.png"
    for commit in ("4db23e71acdc3d80a437f91b530f632460806b6e", "0f63dc9")
)
DOG_SHA256 = "529ab43e1fec3a22008d31b98d15c6837abb905d2637eaf46aa124347156e00d"
HASH = re.compile(r"(?P<url>https?://.+)#sha256=(?P<sha256>[0-9a-f]{64})")


def open_image(image: str | Path) -> Image.Image:
    """Open an image as RGB.

    Args:
        image: "china" or "flower", scikit-learn's photographs; "dog", the thesis's, downloaded
            once; a URL that ends in ``#sha256=`` and 64 hexadecimal digits; or a path.

    Raises:
        ValueError: If there is no such file, a URL has no hash, or the file is no image, moves,
            or has more than 50 million pixels.
        DownloadError: If a download is neither cached nor within reach.
    """
    name = str(image)
    if name in PHOTOGRAPHS:
        from sklearn.datasets import load_sample_image  # slow to import, and only needed here

        return Image.fromarray(load_sample_image(f"{name}.jpg"))
    if name == "dog":
        return read_image(fetch("dog.png", DOG_URLS, sha256=DOG_SHA256))
    if name.startswith(("http://", "https://")):
        parts = HASH.fullmatch(name)
        if parts is None:
            raise ValueError(
                f"image: a URL needs the file's hash, URL#sha256=64 hexadecimal digits; got {name}"
            )
        file = parts["sha256"][:16] + Path(parts["url"].partition("?")[0]).suffix
        return read_image(fetch(file, [parts["url"]], sha256=parts["sha256"], folder="images"))
    if not Path(name).is_file():
        raise ValueError(
            f"image: no file {name!r}. Valid: a path, a URL with its hash, the number of a test "
            f"image, {', '.join(PHOTOGRAPHS)}, or dog."
        )
    return read_image(Path(name))


def read_image(path: Path) -> Image.Image:
    """Read a file as an upright RGB image.

    Raises:
        ValueError: If it is no image, moves, or has more than 50 million pixels.
    """
    try:
        with _open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"image: {path.name} has {image.width} x {image.height} pixels; at most "
                    f"{MAX_PIXELS:,} are read: make it smaller first"
                )
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise ValueError(
                    f"image: {path.name} has {frames} frames; save the one you mean by itself"
                )
            return to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ValueError(f"image: {path.name} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"image: {path.name} is no image that Pillow can read") from error
    except (OSError, SyntaxError) as error:  # Pillow's, for what is torn or corrupt
        raise ValueError(f"image: {path.name} can't be read: {error}") from error


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # too large is refused
        return Image.open(path)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: white behind what is transparent, deeper grey brought to 8 bits.

    Integers are taken for 16-bit, or for 8-bit if none is above 255; floats for [0, 1] or [0, 255],
    whichever holds them. Negative values are black.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64).clip(0)
        white = next((top for top in WHITES[image.mode[0]] if values.max() <= top), values.max())
        return Image.fromarray((values / white * 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
