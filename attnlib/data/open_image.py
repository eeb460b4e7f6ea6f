"""Opening of image files, for training, evaluation and notebooks alike.

``open_image`` takes a name: a file, a URL with its hash, or a photograph inside an installed
package. ``read_image`` and ``decode_image`` take files and bytes. The result is RGB, upright,
and white where it was transparent; if that is impossible, a ValueError says why.
"""

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from attnlib.data.downloads import fetch

PHOTOGRAPH_FOLDER = Path(__file__).with_name("pictures")  # scikit-image's, free to use
PHOTOGRAPHS = ("cat", "coffee", "rocket", "china", "flower")  # the last two inside scikit-learn
MAX_PIXELS = 50_000_000
MAX_RATIO = 100  # of the sides, both of which are enlarged until the shorter one has a model's size
MAX_BYTES = 200_000_000  # of a download
WHITES = {"I": (255, 65535), "F": (1, 255, 65535)}  # maximum by Pillow's mode; 16 bits are 65535
UPRIGHT = {  # by the orientation in the EXIF data
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DOG_URLS = tuple(  # the thesis's Figures 8.3 to 8.5, 680 x 452 pixels; never changed
    f"https://raw.githubusercontent.com/yitu-opensource/T2T-ViT/{commit}/images/dog.png"
    for commit in ("4db23e71acdc3d80a437f91b530f632460806b6e", "0f63dc9")
)
DOG_SHA256 = "529ab43e1fec3a22008d31b98d15c6837abb905d2637eaf46aa124347156e00d"
HASH = re.compile(r"(?P<url>https?://.+)#sha256=(?P<sha256>[0-9a-f]{64})")


def open_image(image: str | Path) -> Image.Image:
    """Open an image as RGB.

    Args:
        image: One of ``PHOTOGRAPHS``; "dog", the thesis's, downloaded once; a URL that ends in
            ``#sha256=`` and 64 hexadecimal digits; or a path.

    Raises:
        ValueError: If the file is missing, a URL has no hash, or the file is no image, is animated
            or PostScript, has more than 50 million pixels, or is a strip.
        DownloadError: If it is neither cached nor downloadable.
    """
    name = str(image)
    if name in PHOTOGRAPHS:
        if found := next(PHOTOGRAPH_FOLDER.glob(f"{name}.*"), None):
            return read_image(found)
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
        path = fetch(file, [parts["url"]], sha256=parts["sha256"], folder="images", limit=MAX_BYTES)
        return read_image(path)
    if not Path(name).is_file():
        raise ValueError(
            f"image: no file {name!r}. Valid: a path, a URL with its hash, the number of a test "
            f"image, {', '.join(PHOTOGRAPHS)}, or dog."
        )
    return read_image(Path(name))


def read_image(path: Path) -> Image.Image:
    """Read a file as an upright RGB image.

    Raises:
        ValueError: If it is not an image, is animated, has more than 50 million pixels, or one of
            its sides is more than 100 times the other.
    """
    return decode_image(path.read_bytes(), f"image: {readable(path.name)}")


def decode_image(data: bytes, name: str, *, small: bool = False) -> Image.Image:
    """Decode an upright RGB image from the bytes of its file.

    Args:
        data: Bytes of the whole file.
        name: Name of the file, for messages.
        small: Whether an eighth of the size is enough, which JPEG decodes faster. All else is
            the same: a file that can be read this way can be read in full.

    Raises:
        ValueError: If it is not an image, is animated, has more than 50 million pixels, or one of
            its sides is more than 100 times the other.
    """
    about = f"{name} ({len(data)} bytes)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings about sizes and odd EXIF data
            with Image.open(io.BytesIO(data)) as image:
                _refuse_odd(image, about)
                if small:
                    image.draft("RGB", (1, 1))
                image.load()
                return to_rgb(_turn_upright(image))
    except UnidentifiedImageError as error:
        raise ValueError(f"{about} is no image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{about} is too large: {error}") from error
    except _RefusedError:
        raise
    except Exception as error:  # decoders raise many types, including struct.error and SyntaxError
        raise ValueError(f"{about} is no whole image: {error}") from error


class _RefusedError(ValueError):
    """An intact image that is not accepted."""


def _refuse_odd(image: Image.Image, about: str) -> None:
    if image.format == "EPS":  # Pillow would let Ghostscript run it
        raise _RefusedError(f"{about} is PostScript, a program that draws: save it as pixels first")
    if image.width * image.height > MAX_PIXELS:
        raise _RefusedError(
            f"{about} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read: "
            f"make it smaller first"
        )
    if max(image.size) > MAX_RATIO * min(image.size):
        raise _RefusedError(
            f"{about} has sides of {image.width} and {image.height} pixels; one may be at most "
            f"{MAX_RATIO} times the other: cut it"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with an embedded preview
        raise _RefusedError(f"{about} has {frames} frames; save the one you mean by itself")


def _turn_upright(image: Image.Image) -> Image.Image:
    """Rotate by the EXIF data; ``ImageOps.exif_transpose`` fails if Pillow can't rewrite a tag."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # EXIF data that can't be parsed are ignored; the pixels are intact
        return image
    way = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if way is None else image.transpose(way)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency on white, deeper grey levels scaled to 8 bits.

    32-bit integers are read as 16-bit, or as 8-bit if none is above 255; floats as [0, 1] or
    [0, 255], whichever contains them. Negative values are black.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64).clip(0)
        whites = WHITES.get(image.mode, (65535,))
        white = next((top for top in whites if values.max() <= top), values.max())
        return Image.fromarray((values / white * 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def readable(path: str | Path) -> str:
    r"""A path as text safe for terminals, JSON files and hashes: undecodable bytes as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
