"""The archive of the reference runs is made from a folder of pictures in the official order."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlib.data.readers import CIFAR10_CLASSES

ROOT = Path(__file__).resolve().parents[2]
LABELS = np.array([3, 0, 3, 9, 1, 2, 4, 5, 6, 7, 8] * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey pictures, the k-th of a class 10 k + class bright, and the order of their labels."""
    for part in ("train", "test"):
        for number, name in enumerate(CIFAR10_CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(int((LABELS == number).sum())):
                picture = Image.new("RGB", (32, 32), (10 * k + number,) * 3)
                picture.save(tmp_path / part / name / f"{k:04}.jpg")
    np.savez(tmp_path / "labels.npz", train=LABELS, test=LABELS)
    return tmp_path


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "benchmarks" / "jpeg_copy.py"), str(folder)]
    options = [str(folder / "out.npz"), "--labels", str(folder / "labels.npz")]
    return subprocess.run([*script, *options], cwd=ROOT, capture_output=True, text=True)


def test_kth_picture_of_a_class_stands_where_its_kth_label_stands(folder: Path):
    done = make(folder)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        for part in ("train", "test"):
            assert arrays[f"{part}_labels"].tolist() == LABELS.tolist()
            assert arrays[f"{part}_images"].shape == (33, 32, 32, 3)
            seen = [0] * 10
            for picture, label in zip(arrays[f"{part}_images"], LABELS, strict=True):
                assert abs(int(picture[0, 0, 0]) - (10 * seen[label] + label)) <= 1  # it is a JPEG
                seen[label] += 1
    assert "0 kept runs are of these images" in done.stdout


def test_missing_picture_is_named_by_its_class(folder: Path):
    (folder / "test" / "cat" / "0005.jpg").unlink()
    done = make(folder)
    assert done.returncode == 1 and not (folder / "out.npz").exists()
    assert "test/cat: expected 6 pictures, got 5" in done.stderr
