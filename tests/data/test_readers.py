"""Readers of NumPy archives and CIFAR-10 against small files made here, sound and broken."""

import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlib.data import readers
from attnlib.data.readers import read_cifar10, read_npz

Arrays = dict[str, NDArray[np.generic]]


# npz


def arrays(train: int = 12, test: int = 6, classes: int = 3) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (train, 4, 5, 3), np.uint8),
        "train_labels": np.arange(train) % classes,
        "test_images": rng.integers(0, 256, (test, 4, 5, 3), np.uint8),
        "test_labels": np.arange(test) % classes,
    }


def npz(folder: Path, **changed: object) -> Path:
    path = folder / "own.npz"
    kept = {key: value for key, value in (arrays() | changed).items() if value is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path


def test_npz_gives_the_arrays_back(tmp_path: Path) -> None:
    parts = read_npz(npz(tmp_path))
    assert parts.class_names == ("0", "1", "2")
    for key, part in zip(readers.NPZ_ARRAYS, parts[1:5], strict=True):
        np.testing.assert_array_equal(part, arrays()[key])
    assert parts.train_labels.dtype == np.int64


@pytest.mark.parametrize("shape", [(12, 4, 5), (12, 4, 5, 1)])
def test_npz_repeats_grey_images_over_three_channels(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    grey = np.arange(240, dtype=np.uint8).reshape(shape)
    images = read_npz(npz(tmp_path, train_images=grey)).train_images
    assert isinstance(images, np.ndarray) and images.shape == (12, 4, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel].ravel(), np.arange(240))


def test_npz_takes_labels_in_a_column_and_compressed_archives(tmp_path: Path) -> None:
    path = npz(tmp_path, train_labels=arrays()["train_labels"][:, None].astype(np.uint8))
    np.testing.assert_array_equal(read_npz(path).train_labels, arrays()["train_labels"])
    np.savez_compressed(path, **arrays())  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_npz(path).train_labels, arrays()["train_labels"])


def test_npz_takes_class_names(tmp_path: Path) -> None:
    path = npz(tmp_path, class_names=np.array(["cat", "dog", "žaba"]))
    assert read_npz(path).class_names == ("cat", "dog", "žaba")


FLOATS = np.zeros((12, 4, 5, 3))
REFUSED_ARRAYS: list[tuple[dict[str, object], str]] = [
    ({"test_images": None, "test_labels": None}, "lacks test_images, test_labels; found: train_i"),
    ({"train_images": FLOATS}, r"train_images must be uint8 in 0 to 255, found float64 \(12, 4"),
    ({"test_images": np.full((6, 4, 5, 3), np.nan)}, "test_images must be uint8 .* found float64"),
    ({"train_images": np.zeros((12, 3, 4, 5), np.uint8)}, r"\(N, H, W, 3\).*\(12, 3, 4, 5\)"),
    ({"train_images": np.zeros((12, 60), np.uint8)}, r"train_images must be .*\(12, 60\)"),
    ({"train_images": np.zeros((0, 4, 5, 3), np.uint8)}, r"train_images must be .*\(0, 4, 5, 3\)"),
    ({"train_labels": np.arange(11) % 3}, r"train_labels must be \(12,\).*found \(11,\)"),
    ({"test_labels": np.zeros((6, 3), int)}, r"test_labels must be \(6,\).*found \(6, 3\)"),
    ({"train_labels": np.zeros(12)}, "train_labels must be integers, found float64"),
    ({"train_labels": np.full(12, np.nan)}, "train_labels must be integers, found float64"),
    ({"train_labels": np.array(["a"] * 12)}, "train_labels must be integers, found <U1"),
    ({"train_labels": np.array([object()] * 12)}, "cannot be read.*allow_pickle"),
    ({"train_labels": np.arange(12) % 3 + 1}, r"without a gap; found \[1, 2, 3\]"),
    ({"train_labels": np.arange(12) % 3 - 1}, r"without a gap; found \[-1, 0, 1\]"),
    ({"test_labels": np.array([0, 1, 2, 3, 0, 9])}, r"test_labels\[3\] is 3.* 0 to 2; 2 of 6"),
    ({"test_labels": np.array([0, 1, 2, -1, 0, 1])}, r"test_labels\[3\] is -1"),
    ({"class_names": np.array(["a", "b"])}, r"train_labels\[2\] is 2, .* 0 to 1"),
    ({"class_names": np.array(["a", "b", "a"])}, "class_names must be a list of different"),
    ({"class_names": np.arange(3)}, "class_names must be a list of different strings"),
    ({"class_names": np.array(["a", "b", "c", "d"])}, r"2 training images; too few of 'd' \(0\)"),
    ({"val_images": np.zeros((2, 4, 5, 3), np.uint8)}, "lacks val_labels; found: train_images"),
    ({"val_labels": np.arange(3)}, "lacks val_images; found: train_images"),
    ({"valid_images": np.zeros((2, 4, 5, 3), np.uint8)}, "has unknown valid_images; .*val_images"),
    (
        {"val_images": np.zeros((2, 4, 5, 3), np.uint8), "val_labels": np.array([0, 3])},
        r"val_labels\[1\] is 3, .* 0 to 2",
    ),
    (
        {"train_labels": np.zeros(12, int), "test_labels": np.zeros(6, int)},
        "two or more classes are needed, found 1",
    ),
    ({"train_labels": np.array([0, 1] * 5 + [0, 2])}, r"2 training images; too few of '2' \(1\)"),
    ({"test_labels": np.array([0, 1] * 3)}, r"at least 1 test image; too few of '2' \(0\)"),
]


@pytest.mark.parametrize(("changed", "reason"), REFUSED_ARRAYS)
def test_npz_refuses_arrays_by_name_and_reason(
    tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    path = npz(tmp_path, **changed)
    with pytest.raises(ValueError, match=reason) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    path = npz(tmp_path, train_labels=np.array([Payload(tmp_path / "ran")] * 12))
    with pytest.raises(ValueError, match="cannot be read"):
        read_npz(path)
    assert not (tmp_path / "ran").exists()


def test_npz_refuses_what_is_no_whole_archive(tmp_path: Path) -> None:
    whole = npz(tmp_path).read_bytes()
    flipped = bytearray(whole)
    flipped[400] ^= 1
    for content, reason in (
        (b"", "no NumPy archive"),
        (b"train_images,train_labels\n1,2\n", "no NumPy archive"),
        (whole[: len(whole) // 2], "or a truncated one"),
        (bytes(flipped), "cannot be read: Bad CRC-32 for file 'train_images.npy'"),
        (b"garbage" + whole, "cannot be read"),
    ):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.npz .*{reason}"):
            read_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="is a folder"):
        read_npz(tmp_path)


# cifar10


class Payload:
    """A pickle that would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], object], tuple[Path]]:
        return Path.touch, (self.path,)


def python2_batch(images: NDArray[np.uint8], labels: list[int]) -> bytes:
    """A batch as Python 2 and its NumPy pickled the official ones: byte strings, protocol 2."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    pixels = images.transpose(0, 3, 1, 2).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b")
        + b"\x87R(K\x01K" + bytes([len(images)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )  # fmt: skip
    items = b"".join(b"K" + bytes([label]) for label in labels)
    pairs = text(b"data") + array + text(b"labels") + b"](" + items + b"e"
    return b"\x80\x02}(" + pairs + text(b"batch_label") + text(b"a batch") + b"u."


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for k, name in enumerate(readers.CIFAR10_BATCHES):
        images = rng.integers(0, 256, (20, 32, 32, 3), np.uint8)
        images[:, 0, 0] = [k, 100 + k, 200 + k]
        files[name] = python2_batch(images, [(n + k) % 10 for n in range(20)])
    md5s = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(readers, "CIFAR10_BATCHES", md5s)
    return files


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{readers.CIFAR10_FOLDER}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_cifar10_reads_python2_batches_in_their_order(
    tmp_path: Path, batches: dict[str, bytes]
) -> None:
    reversed_files = dict(reversed(batches.items())) | {"readme.html": b"<html>"}
    parts = read_cifar10(write_archive(tmp_path / "any.tar.gz", reversed_files))
    assert isinstance(parts.train_images, np.ndarray) and isinstance(parts.test_images, np.ndarray)
    assert parts.train_images.shape == (100, 32, 32, 3)
    assert parts.train_images.dtype == np.uint8 and parts.train_images.flags.c_contiguous
    np.testing.assert_array_equal(parts.train_images[:, 0, 0, 0], np.repeat(np.arange(5), 20))
    np.testing.assert_array_equal(parts.test_images[:, 0, 0], [[5, 105, 205]] * 20)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (20, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(parts.train_images[:20, 1:], drawn[:, 1:])
    assert parts.train_labels[18:24].tolist() == [8, 9, 1, 2, 3, 4]
    assert parts.test_labels.tolist() == [(n + 5) % 10 for n in range(20)]
    assert parts.class_names[3] == "cat" and len(parts.class_names) == 10


def test_cifar10_reads_archive_and_folder_alike(tmp_path: Path, batches: dict[str, bytes]) -> None:
    (tmp_path / "a").mkdir()
    write_archive(tmp_path / "a" / readers.CIFAR10_ARCHIVE, batches)
    (tmp_path / "b").mkdir()
    folder = write_folder(tmp_path / "b" / readers.CIFAR10_FOLDER, batches)
    expected = read_cifar10(tmp_path / "a" / readers.CIFAR10_ARCHIVE)
    for path in (tmp_path / "a", tmp_path / "b", folder):
        for part, same in zip(read_cifar10(path), expected, strict=True):
            np.testing.assert_array_equal(part, same)


def test_cifar10_names_the_batch_that_is_not_the_official_one(
    tmp_path: Path, batches: dict[str, bytes]
) -> None:
    damaged = batches | {"data_batch_4": batches["data_batch_4"][:-1] + b"x"}
    folder = write_folder(tmp_path / "damaged", damaged)
    with pytest.raises(ValueError, match=r"damaged: data_batch_4 has md5 .* instead of") as caught:
        read_cifar10(folder)
    assert readers.CIFAR10_BATCHES["data_batch_4"] in str(caught.value)
    (folder / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"damaged: data_batch_4 is missing; .* fetch .* again"):
        read_cifar10(folder)


def test_cifar10_refuses_what_is_no_whole_archive(
    tmp_path: Path, batches: dict[str, bytes]
) -> None:
    whole = write_archive(tmp_path / "whole.tar.gz", batches).read_bytes()
    for content in (b"", b"<html>not found</html>", whole[: len(whole) // 2], whole[:-999]):
        (tmp_path / "torn.tar.gz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"torn.tar.gz \({len(content)} bytes\) is no tar"):
            read_cifar10(tmp_path / "torn.tar.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds neither cifar-10-python\.tar\.gz nor"):
        read_cifar10(tmp_path / "empty")


def test_cifar10_never_runs_a_pickle(
    tmp_path: Path, batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = pickle.dumps({"data": Payload(tmp_path / "ran"), "labels": [0]})
    md5 = hashlib.md5(evil).hexdigest()  # even if the hash were right
    monkeypatch.setitem(readers.CIFAR10_BATCHES, "test_batch", md5)
    folder = write_folder(tmp_path / "evil", batches | {"test_batch": evil})
    with pytest.raises(ValueError, match=r"test_batch: a pickle that calls pathlib.* is refused"):
        read_cifar10(folder)
    assert not (tmp_path / "ran").exists()
