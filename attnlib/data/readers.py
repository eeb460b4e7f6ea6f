"""Readers of data sets: NumPy archives, CIFAR-10's batches, and one folder per class.

Each reader checks everything it reads; a ValueError names the file and the reason.
"""

import hashlib
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlib.data.downloads import cache_dir
from attnlib.data.mapped import MappedImages, load_member
from attnlib.data.open_image import decode_image, readable

Array = NDArray[Any]  # as read from a file: shape and type not yet checked
Labels = NDArray[np.int64]

NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
NPZ_VAL = ("val_images", "val_labels")  # both or neither
NPZ_KEYS = (*NPZ_ARRAYS, *NPZ_VAL, "class_names")  # the last may be missing
NPZ_FAULTS = (
    *(ValueError, KeyError, OSError, EOFError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_BATCHES = {  # file: md5; the test batch comes last
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
BATCH_GLOBALS = {  # everything that the pickle of an array may call
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff")
IGNORED_FILES = ("Thumbs.db", "desktop.ini")  # and names that begin with a dot


@dataclass(frozen=True)
class ImageFiles:
    """Images of any size that stay on disk and are decoded on access, as by ``open_image``.

    ``digests`` are the SHA-256 of the files' bytes at the time they were checked. A file that has
    changed since is refused.
    """

    paths: tuple[Path, ...]
    digests: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        path = self.paths[position]
        try:
            data = path.read_bytes()
        except OSError as fault:  # not one of the run's folder
            reason = fault.strerror or fault
            raise ValueError(f"{readable(path)} can't be read any more: {reason}") from fault
        if hashlib.sha256(data).digest() != self.digests[position]:
            raise ValueError(
                f"{readable(path)} has changed since it was checked; put it back, or start again "
                f"with the data as they are now"
            )
        return np.array(decode_image(data, readable(path)))

    def select(self, positions: Sequence[int] | Labels) -> "ImageFiles":
        """The files at ``positions``, in that order."""
        return ImageFiles(
            tuple(self.paths[position] for position in positions),
            tuple(self.digests[position] for position in positions),
        )


# (N, H, W, 3) in memory or in a file, or files where the sizes may differ
Images = NDArray[np.uint8] | MappedImages | ImageFiles


class Parts(NamedTuple):
    """The parts of a source, in its own order; not all sources have validation images."""

    class_names: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    val_images: Images | None = None
    val_labels: Labels | None = None

    @property
    def splits(self) -> list[tuple[Images, Labels]]:
        """Images and labels: training, test and, if the source has it, validation."""
        found = [(self.train_images, self.train_labels), (self.test_images, self.test_labels)]
        if self.val_images is not None and self.val_labels is not None:
            found.append((self.val_images, self.val_labels))
        return found


def check_classes(where: str, parts: Parts) -> Parts:
    """Refuse parts that can't be stratified or that lack a class; return the others unchanged."""
    names = parts.class_names
    if len(names) < 2:
        raise ValueError(f"{where}: two or more classes are needed, found {len(names)}: {names}")
    for part, labels, least in (
        ("training", parts.train_labels, 2),
        ("test", parts.test_labels, 1),
    ):
        counts = np.bincount(labels, minlength=len(names))
        few = [f"{names[k]!r} ({counts[k]})" for k in np.flatnonzero(counts < least)]
        if few:
            raise ValueError(
                f"{where}: each class needs at least {least} {part} image{'s' * (least > 1)}; "
                f"too few of {', '.join(few[:10])}"
            )
    return parts


def read_npz(path: Path) -> Parts:
    """Arrays of uint8 images (N, H, W, 3), or grey, and integer labels, without unpickling.

    ``val_images``, ``val_labels`` and ``class_names`` are optional. Images that are
    large relative to the machine's memory stay in the file.
    """
    where = readable(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        kind = "a folder" if path.is_dir() else "no NumPy archive (.npz), or a truncated one"
        raise ValueError(f"{where} is {kind}; an archive with {', '.join(NPZ_ARRAYS)} is needed")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            keys = [key for key in NPZ_KEYS if key in archive]
        arrays = {key: load_member(path, key, cache_dir() / "npz") for key in keys}
    except NPZ_FAULTS as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    pairs = NPZ_ARRAYS + NPZ_VAL * any(key in arrays for key in NPZ_VAL)
    missing = [key for key in pairs if key not in arrays]
    unknown = [key for key in names if key.endswith(("_images", "_labels")) and key not in NPZ_KEYS]
    if missing or unknown:
        fault = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise ValueError(
            f"{where} {fault}; found: {', '.join(names) or 'nothing'}; known: {', '.join(NPZ_KEYS)}"
        )
    images = [_rgb(f"{where}: {key}", arrays[key]) for key in pairs[::2]]
    labels = [
        _integers(f"{where}: {key}", arrays[key], len(part))
        for key, part in zip(pairs[1::2], images, strict=True)
    ]
    classes = _class_names(f"{where}: class_names", arrays.get("class_names"), labels[0])
    for key, values in zip(pairs[1::2], labels, strict=True):
        outside = np.flatnonzero((values < 0) | (values >= len(classes)))
        if len(outside):
            raise ValueError(
                f"{where}: {key}[{outside[0]}] is {values[outside[0]]}, but labels must lie in "
                f"0 to {len(classes) - 1}; {len(outside)} of {len(values)} do not"
            )
    splits: list[Any] = [array for pair in zip(images, labels, strict=True) for array in pair]
    return check_classes(where, Parts(classes, *splits))


def _rgb(where: str, array: Array) -> NDArray[np.uint8] | MappedImages:
    if array.dtype != np.uint8:
        raise ValueError(f"{where} must be uint8 in 0 to 255, found {array.dtype} {array.shape}")
    pixels = array[..., None] if array.ndim == 3 else array
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
        raise ValueError(
            f"{where} must be (N, H, W, 3), (N, H, W, 1) or (N, H, W), none of them 0; "
            f"found {array.shape}"
        )
    if isinstance(pixels, np.memmap):
        return MappedImages(pixels, np.arange(len(pixels)))
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


def _integers(where: str, array: Array, count: int) -> Labels:
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{where} must be integers, found {array.dtype} {array.shape}")
    if labels.shape != (count,):
        raise ValueError(f"{where} must be ({count},), a label an image; found {array.shape}")
    return labels.astype(np.int64)


def _class_names(where: str, array: Array | None, labels: Labels) -> tuple[str, ...]:
    """The given names, or the labels themselves, which must then be 0, 1, 2, ... without a gap."""
    if array is None:
        present = np.unique(labels)
        if not np.array_equal(present, np.arange(len(present))):
            raise ValueError(
                f"{where} are missing, so training labels must be 0, 1, 2, ... without a gap; "
                f"found {present[:12].tolist()}"
            )
        return tuple(str(label) for label in present)
    names = tuple(str(name) for name in np.atleast_1d(array))
    if array.ndim != 1 or array.dtype.kind != "U" or len(set(names)) < len(names):
        raise ValueError(
            f"{where} must be a list of different strings, found {array.dtype} {array.shape}"
        )
    return names


def read_cifar10(path: Path) -> Parts:
    """The official batches, each checked by its md5: from the archive, or from a folder."""
    parts = [_unpickle(name, data) for name, data in _cifar10_files(path).items()]
    images = [pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for pixels, _ in parts]
    labels = [labels for _, labels in parts]
    return Parts(
        CIFAR10_CLASSES,
        np.ascontiguousarray(np.concatenate(images[:-1])),
        np.concatenate(labels[:-1]),
        np.ascontiguousarray(images[-1]),
        labels[-1],
    )


def _cifar10_files(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    archive = path / CIFAR10_ARCHIVE if path.is_dir() else path
    folders = [folder for folder in (path, path / CIFAR10_FOLDER) if folder.is_dir()]
    for file in (folder / name for folder in folders for name in CIFAR10_BATCHES):
        if file.is_file():
            files[file.name] = file.read_bytes()
    if not files:
        if not archive.is_file():
            raise ValueError(
                f"{readable(path)} holds neither {CIFAR10_ARCHIVE} nor {CIFAR10_FOLDER}"
            )
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    name, stream = Path(member.name).name, tar.extractfile(member)
                    if name in CIFAR10_BATCHES and stream is not None:
                        files[name] = stream.read()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{readable(archive)} ({archive.stat().st_size} bytes) is no tar archive, or a "
                f"truncated one: {error}; remove it and fetch {CIFAR10_ARCHIVE} again"
            ) from error
    for name, md5 in CIFAR10_BATCHES.items():
        found = hashlib.md5(files.get(name, b""), usedforsecurity=False).hexdigest()
        if found != md5:
            state = f"has md5 {found} instead of {md5}" if name in files else "is missing"
            raise ValueError(
                f"{readable(path)}: {name} {state}; remove it and fetch {CIFAR10_ARCHIVE} again"
            )
    return {name: files[name] for name in CIFAR10_BATCHES}


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain values, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in BATCH_GLOBALS:
            raise ValueError(f"a pickle that calls {module}.{name} is refused")
        return BATCH_GLOBALS[module, name]


def _unpickle(name: str, data: bytes) -> tuple[NDArray[np.uint8], Labels]:
    try:
        batch = _BatchUnpickler(io.BytesIO(data), encoding="latin1").load()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return batch["data"], np.array(batch["labels"], dtype=np.int64)


def read_folder(root: Path) -> Parts:
    """``train/CLASS/*``, ``test/CLASS/*`` and perhaps ``val/CLASS/*``, images of any size.

    Every image is decoded once as a check.
    """
    where = readable(root)
    folders = ["train", "test", *(["val"] if (root / "val").is_dir() else [])]
    found = {part: _class_files(root, part) for part in folders}
    names = tuple(found["train"])  # sorted, as the files are
    splits: list[Any] = []
    for part in folders:
        if only := sorted(set(names) ^ set(found[part])):
            raise ValueError(
                f"{where}: train and {part} must hold the same classes; not in both: {only}"
            )
        paths = tuple(path for name in names for path in found[part][name])
        with ThreadPoolExecutor() as pool:
            digests = tuple(pool.map(check_image, paths))
        counts = [len(found[part][name]) for name in names]
        splits += [ImageFiles(paths, digests), np.repeat(np.arange(len(names)), counts)]
    return check_classes(where, Parts(names, *splits))


def read_class_folders(folder: Path) -> tuple[tuple[str, ...], ImageFiles, Labels]:
    """Class names, images of any size and labels of ``CLASS/*``, with one folder a class.

    Every image is decoded once as a check.
    """
    found = _class_files(folder.resolve().parent, folder.resolve().name)
    if not any(found.values()):
        raise ValueError(f"{readable(folder)} holds no images in folders of their classes")
    paths = tuple(path for files in found.values() for path in files)
    with ThreadPoolExecutor() as pool:
        digests = tuple(pool.map(check_image, paths))
    labels = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
    return tuple(found), ImageFiles(paths, digests), labels


def _class_files(root: Path, part: str) -> dict[str, list[Path]]:
    """The images of each class, by name; any other file in these folders is refused."""
    if not (root / part).is_dir():
        raise ValueError(
            f"{readable(root)} must be a folder with train/ and test/, and lacks {part}/"
        )
    folders = _visible(root / part)
    files = {readable(folder.name): _visible(folder) for folder in folders if folder.is_dir()}
    stray = [folder for folder in folders if not folder.is_dir()]
    for paths in files.values():
        stray += [p for p in paths if not p.is_file() or p.suffix.lower() not in IMAGE_ENDINGS]
    if stray:
        raise ValueError(
            f"{readable(stray[0])} is no image in a class's own folder ({len(stray)} such in "
            f"{readable(root / part)}); images end in {' '.join(IMAGE_ENDINGS)}"
        )
    return files


def _visible(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    return [p for p in paths if not p.name.startswith(".") and p.name not in IGNORED_FILES]


def check_image(path: Path) -> bytes:
    """SHA-256 of a file, after checking that it can be read as an image to its end.

    Raises:
        ValueError: If it can't be read.
    """
    data = path.read_bytes()
    decode_image(data, readable(path), small=True)
    return hashlib.sha256(data).digest()
