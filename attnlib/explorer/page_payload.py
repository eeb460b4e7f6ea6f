"""Data of the book's attention explorer: a transformer's attention and a network's Grad-CAM."""

import base64
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.compare.reference_runs import COUNTED_PROFILES
from attnlib.data.datasets import Split
from attnlib.records.answers import find_images, read_answers
from attnlib.records.run import Run

Bytes = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]
EXACT_BYTES = 700_000  # of attention at 256 levels; above it, weights have 16 levels
TINT = (255, 140, 0)  # colour where a map is strong


class Exploration(NamedTuple):
    """A transformer and, if available, a convolutional network, on the same test images."""

    transformer: Run
    network: Run | None
    attention: dict[str, npt.NDArray[Any]]  # arrays of the transformer's ``explorer.npz``
    grad_cam: Bytes | None  # the network's maps (S, R, C)
    images: Bytes | None  # (S, H, W, 3) at the models' input size
    note: str  # where the images come from, or why they are missing


def find_exploration(runs: Iterable[Run]) -> Exploration | None:
    """Choose the runs to explore; None if no record has attention among all tokens.

    Runs whose images are available come first; then reference runs, on a GPU before on a CPU;
    then those with a ResNet-18, best their teacher; then distilled ones; then the newest.
    """
    recorded = {}
    for run in runs:
        if (run.path / "explorer.npz").exists():
            recorded[run.path] = run, run.arrays("explorer")
    pictures: dict[str, tuple[Split | None, str]] = {}  # cached by data set, which may be large
    found = []
    for run, arrays in recorded.values():
        if "attention" not in arrays:
            continue
        data, indices = run.record.dataset.sha256, arrays["indices"]
        if data not in pictures:
            pictures[data] = find_images(run)
        split, note = pictures[data]
        images = None if split is None else _seen(split, indices, run.config["img_size"])
        network, cam = _network_beside(run, indices, list(recorded.values())) or (None, None)
        found.append(Exploration(run, network, arrays, cam, images, note))
    return max(found, key=_rank, default=None)


def _rank(found: Exploration) -> tuple[object, ...]:
    config = found.transformer.config
    profiles = (*COUNTED_PROFILES, config["profile"])
    return (
        found.images is not None,
        -profiles.index(config["profile"]),
        found.network is not None,
        found.network is not None and found.network.name == found.transformer.record.teacher,
        config["distillation"] == "hard",
        found.transformer.record.finished,
    )


def _network_beside(
    run: Run,
    indices: npt.NDArray[Any],
    recorded: Sequence[tuple[Run, dict[str, npt.NDArray[Any]]]],
) -> tuple[Run, Bytes] | None:
    """The transformer's teacher, or else the newest ResNet-18 of the same profile and data.

    Returned with its Grad-CAM maps of the same images.
    """
    count = len(indices)
    fitting = [
        (other, arrays["grad_cam"][:count])
        for other, arrays in recorded
        if other.config["model"] == "resnet18"
        and other.config["profile"] == run.config["profile"]
        and other.record.dataset.sha256 == run.record.dataset.sha256
        and "grad_cam" in arrays
        and np.array_equal(arrays["indices"][:count], indices)
    ]
    teacher = run.record.teacher
    return max(
        fitting,
        key=lambda pair: (pair[0].name == teacher, pair[0].record.finished),
        default=None,
    )


def _seen(split: Split, indices: npt.NDArray[Any], img_size: int) -> Bytes:
    """Images by position in the source, at the models' input size: (S, H, W, 3)."""
    places = [int(np.flatnonzero(split.indices == index)[0]) for index in indices]
    pictures = split.subset(places).images
    place = eval_transform(img_size)
    tensors = [place(Image.fromarray(np.asarray(picture))) for picture in pictures]
    return np.stack([(255 * t).round().byte().permute(1, 2, 0).numpy() for t in tensors])


def to_payload(found: Exploration) -> dict[str, Any]:
    """All data for the page's script, as JSON; arrays are base64 of their bytes, in C order."""
    arrays, cam = found.attention, found.grad_cam
    attention = arrays["attention"]
    small = attention.nbytes <= EXACT_BYTES
    payload = {
        "transformer": found.transformer.title,
        "images": found.images is not None and list(found.images.shape[1:3]),
        "pixels": found.images is not None and _base64(found.images),
        "names": image_names(found),
        "shape": attention.shape,  # images, layers, heads, tokens, tokens
        "grid": arrays["grid"].tolist(),
        "bits": 8 if small else 4,
        "attention": _base64(attention if small else _in_halves(attention)),
        "peak": _base64(arrays["peak"].astype("<f4")),
        "rollout": _base64(arrays["rollout"]),
        "rollout_peak": _base64(arrays["rollout_peak"].astype("<f4")),
    }
    if found.network is not None and cam is not None:
        payload |= {"network": found.network.title, "cam": _base64(cam), "cam_grid": cam.shape[1:]}
    return payload


def image_names(found: Exploration) -> list[str]:
    """Each image in words: its number, its class, and the decisions of the two models."""
    classes = found.transformer.record.dataset.classes
    runs = [run for run in (found.transformer, found.network) if run is not None]
    answers = [read_answers(run) for run in runs]
    names = []
    for place, index in enumerate(found.attention["indices"]):  # the first test images
        says = [
            f"{run.title.split(',')[0]} says {classes[own.decisions[place]]}"
            for run, own in zip(runs, answers, strict=True)
        ]
        truth = classes[answers[0].labels[place]]
        names.append(f"test image {index}, class {truth}: {', '.join(says)}")
    return names


def static_maps(found: Exploration, place: int) -> dict[str, Planes]:
    """The maps of one image in the static figure, each (rows, columns) with maximum 1."""
    arrays, cam = found.attention, found.grad_cam
    rows, columns = map(int, arrays["grid"])
    prefix = arrays["attention"].shape[-1] - rows * columns
    weights = (
        arrays["attention"][place, -1].astype(np.float32) * arrays["peak"][place, -1][..., None]
    )
    asked = 0 if prefix else slice(None)
    last = weights.mean(axis=0)[asked].reshape(-1, prefix + rows * columns).mean(axis=0)
    rolled = arrays["rollout"][place].astype(np.float32)[asked]
    rolled = rolled.reshape(-1, prefix + rows * columns).mean(axis=0)
    maps = {
        "last layer": last[prefix:].reshape(rows, columns),
        "rollout": rolled[prefix:].reshape(rows, columns),
    }
    if cam is not None:
        maps["Grad-CAM"] = cam[place].astype(np.float32)
    return {name: plane / max(float(plane.max()), 1e-12) for name, plane in maps.items()}


def overlay_png(image: Bytes | None, plane: Planes | None, side: int = 64) -> bytes:
    """A grey image overlaid with a map in one colour, as PNG; either may be missing."""
    rows, columns = plane.shape if plane is not None else (1, 1)
    height, width = (n * -(-side // n) for n in (rows, columns))
    base = np.full((height, width, 3), 96, np.float32)
    if image is not None:
        shown = image.astype(np.float32)
        if plane is not None:  # only the map has colour
            shown = np.repeat(0.75 * (shown @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
        base = _nearest(shown, height, width)
    if plane is not None:
        share = 0.85 * _nearest(plane, height, width)[..., None]
        base = (1 - share) * base + share * np.asarray(TINT, np.float32)
    buffer = BytesIO()
    Image.fromarray(base.round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _nearest(array: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    rows = np.arange(height) * array.shape[0] // height
    columns = np.arange(width) * array.shape[1] // width
    return array[rows][:, columns]


def _in_halves(array: Bytes) -> Bytes:
    """Reduce bytes to 16 levels, two per byte, the first in the upper half."""
    levels = ((array.reshape(-1).astype(np.uint16) * 15 + 127) // 255).astype(np.uint8)
    levels = np.pad(levels, (0, len(levels) % 2))
    halves: Bytes = (levels[::2] << 4 | levels[1::2]).astype(np.uint8)
    return halves


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
