"""Published decisions, stimuli and votes: the source and expected hash of each file.

Files are downloaded once, separately and with checks, or found in ``ATTNLIB_DATA``. Without
a network the first one fails within five seconds and is named. ``human.sha256`` has all
hashes in the format of sha256sum, with paths as in the cache.
"""

import functools
import hashlib
import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlib.data.downloads import cache_dir, fetch
from attnlib.human.decisions import Decisions, check_paired, read_decisions

CUE_CONFLICT_FOLDER = "human/cue-conflict"
STIMULI_TAR = "human/cue-conflict-stimuli.tar"
VOTES = "cifar10h/cifar10h-counts.npy"
TULI = "shikhartuli/cnn_txf_bias", "36e95d8"
TULI_FOLDER = "error-consistency/raw-data_new/texture-shape_cue-conflict"
MODEL_VS_HUMAN = "bethgelab/model-vs-human", "79ed7cd"
CIFAR10H = "jcpeterson/cifar-10h", "597cbc5f07266c9405b830ee4a53463539124c4f"
CONNECTIONS = 8  # images at a time


class Origin(NamedTuple):
    """Who ran a published network, and by which protocol."""

    title: str
    protocol: str
    source: str


GEIRHOS = "RGB, mean", "Geirhos et al. 2020"
TULI_RUN = "BGR, sum", "Tuli et al. 2021"
ORIGINS = {  # names in the column subj
    "resnet50": Origin("ResNet-50", *GEIRHOS),
    "resnet50_ft": Origin("ResNet-50 (ft)", *TULI_RUN),  # BiT-M-R50x1, which is another network
    "ViT-B_32": Origin("ViT-B/32", *TULI_RUN),
    "ViT-B_32_ft": Origin("ViT-B/32 (ft)", *TULI_RUN),
    "ViT-B_16": Origin("ViT-B/16", *TULI_RUN),
    "ViT-L_16": Origin("ViT-L/16", *TULI_RUN),
    "resnet18": Origin("ResNet-18", *GEIRHOS),
    "alexnet": Origin("AlexNet", *GEIRHOS),
}


@functools.cache
def known_hashes() -> dict[str, str]:
    """SHA-256 of every published file by its path in the cache."""
    text = resources.files("attnlib.human").joinpath("files.sha256").read_text(encoding="utf-8")
    lines = [line.split("  ", 1) for line in text.splitlines()]
    return {path: digest for digest, path in lines}


def published_urls(path: str) -> list[str]:
    """URLs of a cached file, at pinned commits."""
    name = path.rpartition("/")[2]
    if path == VOTES:
        return _github(*CIFAR10H, f"data/{name}")
    if name.endswith(".png"):
        return _github(*TULI, f"big_transfer/stimuli/{path.removeprefix('human/')}")
    urls = _github(*TULI, f"{TULI_FOLDER}/{name}")
    if "_subject-" in name:  # identical files
        short = name.removeprefix("texture-shape_")
        urls += _github(*MODEL_VS_HUMAN, f"raw-data/cue-conflict/{short}")
    return urls


def _github(repository: str, commit: str, path: str) -> list[str]:
    return [
        f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
        f"https://cdn.jsdelivr.net/gh/{repository}@{commit}/{path}",
    ]


def fetch_published(path: str, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """A published file in the cache, downloaded first if necessary.

    Args:
        path: Its path in the cache, one of ``known_hashes()``.
        progress: As in ``downloads.fetch``.

    Raises:
        DownloadError: If it is neither cached nor downloadable.
    """
    folder, _, name = path.rpartition("/")
    return fetch(
        name,
        published_urls(path),
        sha256=known_hashes()[path],
        folder=folder,
        progress=progress,
    )


def load_published() -> list[Decisions]:
    """Ten people and eight networks on the 1,280 cue-conflict images, people first.

    Raises:
        DownloadError: If a file is neither cached nor downloadable.
        ValueError: If a file is malformed or the files' images differ.
    """
    paths = [path for path in known_hashes() if path.endswith(".csv")]
    systems = [read_decisions(fetch_published(path, _quiet)) for path in paths]
    systems.sort(key=lambda system: (not system.is_person, system.system.lower()))
    check_paired(systems)
    return systems


def load_folder(folder: Path) -> list[Decisions]:
    """All decision files (``*.csv``) in a user's folder, people first.

    Raises:
        ValueError: If there is none, one is malformed, two are of one system, or images differ.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise ValueError(f"{folder} holds no decisions: *.csv files of the published format")
    systems = [read_decisions(path) for path in paths]
    systems.sort(key=lambda system: (not system.is_person, system.system.lower()))
    names = [system.system for system in systems]
    if len(set(names)) < len(names):
        raise ValueError(f"{folder}: two files of one system among {', '.join(names)}")
    check_paired(systems)
    return systems


def load_stimuli(note: Callable[[str], object] | None = None) -> dict[str, bytes]:
    """The 1,280 cue-conflict images, as files, by their ids.

    Read from ``human/cue-conflict-stimuli.tar`` in the cache if it exists, else from the
    files beside it; missing ones are downloaded (137 MB in all), eight at a time.

    Args:
        note: Called with a line of text before a download begins.

    Raises:
        ValueError: If an image in the archive is missing or wrong.
        DownloadError: If an image is neither cached nor downloadable.
    """
    paths = [path for path in known_hashes() if path.endswith(".png")]
    archive = cache_dir() / STIMULI_TAR
    if archive.is_file():
        return _read_archive(archive, paths)
    missing = sum(not (cache_dir() / path).is_file() for path in paths)
    if missing and note:
        note(f"downloading {missing} images, once, to {cache_dir() / CUE_CONFLICT_FOLDER}")
    first = fetch_published(paths[0], _quiet)  # alone: without a network, no other is tried
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        rest = pool.map(lambda path: fetch_published(path, _quiet), paths[1:])
        return {file.name: file.read_bytes() for file in (first, *rest)}


def _read_archive(archive: Path, paths: list[str]) -> dict[str, bytes]:
    images = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None:
                images[f"human/{member.name}"] = stream.read()
    for path in paths:
        digest = hashlib.sha256(images.get(path, b"")).hexdigest()
        if digest != known_hashes()[path]:
            state = f"has SHA-256 {digest}" if path in images else "is missing"
            raise ValueError(
                f"{archive}: {path.removeprefix('human/')} {state}; expected "
                f"{known_hashes()[path]}. Remove the archive: the images are then downloaded"
            )
    return {path.rpartition("/")[2]: images[path] for path in paths}


def load_votes() -> NDArray[np.int64]:
    """CIFAR-10H: people's votes on the 10,000 test images of CIFAR-10 (10000, 10).

    Peterson et al. (2019), arXiv:1908.07086; rows and columns are in the official order.

    Raises:
        DownloadError: If the file is neither cached nor downloadable.
    """
    content = fetch_published(VOTES, _quiet).read_bytes()
    return np.load(io.BytesIO(content), allow_pickle=False).astype(np.int64)


def _quiet(done: int, total: int | None) -> None:
    """Report no progress, for many small files."""
