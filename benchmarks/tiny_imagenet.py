"""Make one npz of Tiny-ImageNet from the official archive's folder, tiny-imagenet-200/.

The archive is at http://cs231n.stanford.edu/tiny-imagenet-200.zip (248 MB); unpack it first. The
npz has the 100,000 training images and, as test images, the 10,000 official validation images:
those of the archive's own test/ have no published labels. Images are 64 pixels a side. Smaller
ones are means: of 2 x 2 pixels at 32, by Pillow's box filter at sizes that do not divide 64.

How many images there must be is checked, and what comes out is named by the SHA-256 of its arrays.
"""

import argparse
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attnlib.data.open_image import read_image

CLASSES, TRAIN_EACH, VAL_EACH = 200, 500, 50  # of the official archive
SIDE = 64  # pixels
Arrays = dict[str, NDArray[np.generic]]


def read_names(root: Path) -> tuple[list[str], list[str]]:
    """WordNet ids in the archive's order, and a name for each: the first word, made unique.

    Raises:
        ValueError: If a file is missing, or an id is listed twice or has no words.
    """
    for file in ("wnids.txt", "words.txt", "val/val_annotations.txt"):
        if not (root / file).is_file():
            raise ValueError(f"{root} lacks {file}; expected the unpacked tiny-imagenet-200")
    ids = (root / "wnids.txt").read_text(encoding="utf-8").split()
    lines = (root / "words.txt").read_text(encoding="utf-8").splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    lacking = [name for name in ids if name not in words]
    if len(set(ids)) < len(ids) or lacking:
        raise ValueError(f"{root}: ids that are listed twice or have no words: {lacking or ids}")
    first = [words[name].partition(",")[0].strip() for name in ids]
    names = [
        f"{name} ({wnid})" if first.count(name) > 1 else name
        for name, wnid in zip(first, ids, strict=True)
    ]
    return ids, names


def list_images(root: Path, ids: Sequence[str]) -> dict[str, list[tuple[Path, int]]]:
    """Files and labels: training class by class, validation in the order of its annotations.

    Raises:
        ValueError: If a validation image is of no known class.
    """
    train = [
        (file, label)
        for label, wnid in enumerate(ids)
        for file in sorted((root / "train" / wnid / "images").glob("*.JPEG"), key=_number)
    ]
    val = []
    for line in (root / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines():
        name, wnid, *_ = line.split("\t")
        if wnid not in ids:
            raise ValueError(f"val_annotations.txt: {name} is of the unknown class {wnid}")
        val.append((root / "val" / "images" / name, ids.index(wnid)))
    return {"train": train, "test": val}


def _number(file: Path) -> tuple[str, int]:
    """Of ``n01443537_17.JPEG``: 17, so that 2 comes before 10."""
    wnid, _, number = file.stem.rpartition("_")
    return wnid, int(number)


def check_counts(images: list[tuple[Path, int]], part: str, classes: int, each: int) -> None:
    """Refuse a part that has more or fewer images of a class than the archive.

    Raises:
        ValueError: Naming the part and how many there are.
    """
    counts = np.bincount([label for _, label in images], minlength=classes)
    if len(counts) != classes or (counts != each).any():
        odd = {int(k): int(counts[k]) for k in np.flatnonzero(counts != each)[:5]}
        raise ValueError(
            f"{part}: expected {each} images of each of {classes} classes; found "
            f"{counts.sum()} of {len(counts)}, by label {odd}"
        )


def read_pixels(file: Path, size: int) -> NDArray[np.uint8]:
    """One image, RGB, (size, size, 3).

    Raises:
        ValueError: If it is not 64 pixels a side, or no image.
    """
    image = read_image(file)
    if image.size != (SIDE, SIDE):
        raise ValueError(f"{file}: expected {SIDE} x {SIDE} pixels; found {image.size}")
    if SIDE % size == 0:
        image = image.reduce(SIDE // size)  # means, rounded once
    else:
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def make_arrays(
    root: Path, size: int, *, classes: int = CLASSES, each: tuple[int, int] = (TRAIN_EACH, VAL_EACH)
) -> Arrays:
    """The arrays of the npz, checked against the counts of the official archive.

    Raises:
        ValueError: If anything is missing, too many or damaged.
    """
    ids, names = read_names(root)
    if len(ids) != classes:
        raise ValueError(f"wnids.txt: expected {classes} classes; found {len(ids)}")
    arrays: Arrays = {}
    for (part, images), count in zip(list_images(root, ids).items(), each, strict=True):
        check_counts(images, part, classes, count)
        with ThreadPoolExecutor() as pool:
            pixels = list(pool.map(lambda image: read_pixels(image[0], size), images))
        arrays[f"{part}_images"] = np.stack(pixels)
        arrays[f"{part}_labels"] = np.array([label for _, label in images], np.int64)
    return arrays | {"class_names": np.array(names)}


def content_sha256(arrays: Arrays) -> str:
    """SHA-256 over names, shapes, types and values of all arrays, in alphabetical order."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {array.dtype.str} {array.shape}\0".encode() + array.tobytes())
    return content.hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, check, write, and say what it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="tiny-imagenet-200, unpacked")
    parser.add_argument("out", type=Path, help="FILE.npz to write")
    parser.add_argument("--size", type=int, default=SIDE, help=f"pixels of a side ({SIDE})")
    parser.add_argument("--sha256", help="of the arrays; another result is refused")
    options = parser.parse_args(arguments)
    if options.size not in range(1, SIDE + 1):
        parser.error(f"--size: expected 1 to {SIDE} pixels; got {options.size}")
    try:
        arrays = make_arrays(options.folder, options.size)
        found = content_sha256(arrays)
        if options.sha256 and options.sha256 != found:
            raise ValueError(f"the arrays have SHA-256 {found}, not {options.sha256}")
    except (ValueError, OSError) as fault:
        parser.exit(2, f"{fault}\n")
    np.savez(options.out, **arrays)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    print(f"{options.out}: {shapes}\nSHA-256 of the arrays: {found}")


if __name__ == "__main__":
    main()
