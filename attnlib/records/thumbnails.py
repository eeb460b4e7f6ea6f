"""Thumbnails of test images, kept in ``results`` for readers who don't have the data set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from attnlib.data.datasets import Split
from attnlib.records.find import find_folders
from attnlib.records.provenance import write_json

THUMBNAIL_FOLDER = "thumbnails"  # of ``results``
THUMBNAIL_FILE = "cifar10"
MOST_THUMBNAILS = 120  # images
THUMBNAIL_COLUMNS = 12  # images in a row of the sheet


def read_thumbnails(results: str | Path = "results") -> Split | None:
    """The kept test images of CIFAR-10, by their places in its test set; None without the files."""
    for folder in find_folders(results):
        told = folder / THUMBNAIL_FOLDER / f"{THUMBNAIL_FILE}.json"
        if told.is_file():
            values = json.loads(told.read_text(encoding="utf-8"))
            with Image.open(told.with_suffix(".png")) as opened:
                sheet = np.asarray(opened.convert("RGB"))
            indices = np.array(values["indices"], dtype=np.int64)
            labels = np.array(values["labels"], dtype=np.int64)
            return Split(_cut(sheet, len(indices), values["side"]), labels, indices)
    return None


def write_thumbnails(
    split: Split, places: Sequence[int], results: Path, source: dict[str, Any]
) -> Path:
    """Write the images at ``places`` as one PNG file, and beside it what they are; returns it.

    Args:
        split: The test images, in the order of their source.
        places: Distinct positions, at most ``MOST_THUMBNAILS``.
        results: Folder of kept runs.
        source: Where the images come from, in JSON values.

    Raises:
        ValueError: If there are too many.
    """
    indices = np.unique(np.asarray(places, dtype=np.int64))
    if len(indices) > MOST_THUMBNAILS:
        raise ValueError(f"at most {MOST_THUMBNAILS} thumbnails are kept; got {len(indices)}")
    chosen = split.subset(indices)
    images = np.asarray(chosen.images)
    path = results / THUMBNAIL_FOLDER / f"{THUMBNAIL_FILE}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_join(images)).save(path, optimize=True)
    values = {"indices": indices.tolist(), "labels": chosen.labels.tolist()}
    write_json(path.with_suffix(".json"), source | {"side": images.shape[1]} | values)
    return path


def _join(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Images (n, S, S, 3) side by side in rows of ``THUMBNAIL_COLUMNS``."""
    n, side = images.shape[:2]
    rows = -(-n // THUMBNAIL_COLUMNS)
    tiles = np.zeros((rows * THUMBNAIL_COLUMNS, side, side, 3), np.uint8)
    tiles[:n] = images
    grid = tiles.reshape(rows, THUMBNAIL_COLUMNS, side, side, 3)
    return grid.swapaxes(1, 2).reshape(rows * side, THUMBNAIL_COLUMNS * side, 3)


def _cut(sheet: npt.NDArray[np.uint8], count: int, side: int) -> npt.NDArray[np.uint8]:
    """The first ``count`` images of a sheet, (n, S, S, 3)."""
    rows = sheet.shape[0] // side
    grid = sheet.reshape(rows, side, THUMBNAIL_COLUMNS, side, 3).swapaxes(1, 2)
    return grid.reshape(rows * THUMBNAIL_COLUMNS, side, side, 3)[:count]
