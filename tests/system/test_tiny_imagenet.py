"""Tiny-ImageNet's npz, from a small invented tree with the layout of the official archive."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attnlib as al

ROOT = Path(__file__).parents[2]
specification = importlib.util.spec_from_file_location(
    "tiny_imagenet", ROOT / "benchmarks" / "tiny_imagenet.py"
)
tiny_imagenet = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tiny_imagenet)
IDS = ("n02", "n01", "n03")  # not sorted: the archive's order counts
WORDS = {"n01": "crane, bird", "n02": "goldfish, Carassius auratus", "n03": "crane"}


def save(path: Path, level: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (64, 64), level).convert(mode)
    image.save(path, "JPEG", quality=95)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    for k, wnid in enumerate(IDS):
        for n in range(11):
            mode = "L" if n == 3 else "RGB"  # some of the official images are grey
            save(root / "train" / wnid / "images" / f"{wnid}_{n}.JPEG", 60 * k + n, mode)
        (root / "train" / wnid / f"{wnid}_boxes.txt").touch()
    lines = []
    for n in range(6):
        save(root / "val" / "images" / f"val_{n}.JPEG", 200 + n)
        lines.append(f"val_{n}.JPEG\t{IDS[n % 3]}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(IDS) + "\n")
    words = {**WORDS, "n99": "something else"}
    (root / "words.txt").write_text("".join(f"{k}\t{v}\n" for k, v in words.items()))
    (root / "test" / "images").mkdir(parents=True)
    return root


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of the invented tree in place of the official ones."""
    make = tiny_imagenet.make_arrays
    monkeypatch.setattr(
        tiny_imagenet, "make_arrays", lambda root, size: make(root, size, classes=3, each=(11, 2))
    )


def test_the_npz_is_a_data_set_that_attnlib_reads(root: Path, tmp_path: Path, capsys) -> None:
    tiny_imagenet.main([str(root), str(tmp_path / "tiny.npz")])
    assert "train_images (33, 64, 64, 3)" in capsys.readouterr().out
    data = al.load_dataset("npz", tmp_path / "tiny.npz")
    assert data.class_names == ("goldfish", "crane (n01)", "crane (n03)")
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    levels = [int(image[0, 0, 0]) for image in data.test.images]
    assert levels == list(range(200, 206))
    arrays = np.load(tmp_path / "tiny.npz")
    shown = arrays["train_images"][:, 0, 0, 0].tolist()
    assert shown == [60 * k + n for k in range(3) for n in range(11)]  # 2 before 10
    assert arrays["train_labels"].tolist() == [k for k in range(3) for _ in range(11)]


def test_a_smaller_size_is_means_of_pixels(root: Path, tmp_path: Path) -> None:
    board = np.zeros((64, 64), np.uint8)
    board[::2, ::2] = 200
    file = root / "val" / "images" / "val_0.JPEG"
    Image.fromarray(board).convert("RGB").save(file, "JPEG", quality=100, subsampling=0)
    whole = np.asarray(Image.open(file).convert("RGB")).astype(float)
    tiny_imagenet.main([str(root), str(tmp_path / "tiny.npz"), "--size", "32"])
    found = np.load(tmp_path / "tiny.npz")["test_images"]
    assert found.shape == (6, 32, 32, 3)
    means = whole.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(found[0] - means).max() <= 0.5


def test_the_result_is_named_by_its_hash_and_another_one_is_refused(
    root: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "tiny.npz"
    tiny_imagenet.main([str(root), str(out)])
    found = capsys.readouterr().out.rpartition(" ")[2].strip()
    tiny_imagenet.main([str(root), str(out), "--sha256", found])
    save(root / "val" / "images" / "val_5.JPEG", 17)
    out.unlink()
    with pytest.raises(SystemExit):
        tiny_imagenet.main([str(root), str(out), "--sha256", found])
    assert f"not {found}" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: (root / "wnids.txt").unlink(), "lacks wnids.txt"),
        (lambda root: (root / "words.txt").write_text("n01\tcrane\n"), "have no words"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn02\n"), "expected 3 classes; found 2"),
        (
            lambda root: (root / "train" / "n01" / "images" / "n01_4.JPEG").unlink(),
            "train: expected 11 images of each of 3 classes; found 32 of 3, by label {1: 10}",
        ),
        (lambda root: (root / "val" / "images" / "val_1.JPEG").write_bytes(b"x"), "val_1.JPEG"),
        (lambda root: save(root / "train" / "n01" / "images" / "n01_77.JPEG", 1), "found 34 of 3"),
        (
            lambda root: Image.new("RGB", (32, 32)).save(root / "val" / "images" / "val_2.JPEG"),
            "val_2.JPEG: expected 64 x 64 pixels; found (32, 32)",
        ),
    ],
)
def test_what_is_not_the_official_archive_is_refused(
    root: Path, tmp_path: Path, capsys, spoil, told: str
) -> None:
    spoil(root)
    with pytest.raises(SystemExit) as ended:
        tiny_imagenet.main([str(root), str(tmp_path / "tiny.npz")])
    assert ended.value.code == 2 and told in capsys.readouterr().err
    assert not (tmp_path / "tiny.npz").exists()
