"""Networks as observers: deciding between sixteen categories by a named protocol.

A network outputs 1000 ImageNet classes, 207 of which belong to one of sixteen categories. How
classes are pooled and how the image is prepared differ between published runs: the protocol.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.data.open_image import decode_image
from attnlib.data.readers import IMAGE_ENDINGS, check_image
from attnlib.human.decisions import CATEGORIES, Decisions, make_decisions, read_cues
from attnlib.models.modes import evaluating
from attnlib.models.pretrained import IMAGENET_CLASSES

IMAGENET_INDICES = {  # of Geirhos et al.'s model-vs-human, first and last of each range
    "airplane": ((404, 404),),
    "bear": ((294, 297),),
    "bicycle": ((444, 444), (671, 671)),
    "bird": ((8, 8), (10, 16), (18, 20), (22, 24), (80, 83), (87, 96), (98, 100), (127, 133),
             (135, 145)),
    "boat": ((472, 472), (554, 554), (625, 625), (814, 814), (914, 914)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 899), (901, 901), (907, 907)),
    "car": ((436, 436), (511, 511), (817, 817)),
    "cat": ((281, 286),),
    "chair": ((423, 423), (559, 559), (765, 765), (857, 857)),
    "clock": ((409, 409), (530, 530), (892, 892)),
    "dog": ((152, 191), (193, 203), (205, 226), (228, 241), (243, 250), (252, 257), (259, 259),
            (261, 263), (265, 268)),
    "elephant": ((385, 386),),
    "keyboard": ((508, 508), (878, 878)),
    "knife": ((499, 499),),
    "oven": ((766, 766),),
    "truck": ((555, 555), (569, 569), (656, 656), (675, 675), (717, 717), (734, 734), (864, 864),
              (867, 867)),
}  # fmt: skip
CHANNEL_ORDERS = ("rgb", "bgr")
POOLING = ("mean", "sum")
PREPARATIONS = ("asis", "crop", "jpeg")
JPEG_QUALITY = 75  # of 100, with chroma at half the resolution: Pillow's defaults
BATCH = 8  # images: twice as fast on a CPU as 64, which reallocates memory for each layer


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated: ``rgb-mean``, ``bgr-sum-jpeg``, ...

    Attributes:
        channels: ``rgb``; or ``bgr``, as OpenCV reads a file and Tuli et al. passed it on.
        pooling: A category's probability is the ``mean`` over its classes (Geirhos et al.) or the
            ``sum`` (Tuli et al.), which favours dog, with 109 classes, over knife, with 1.
        preparation: ``asis``: the image resized to the network's side if it differs;
            ``crop``: resized by 8/7, centre cropped; ``jpeg``: as is, through a JPEG file.
    """

    channels: str = "rgb"
    pooling: str = "mean"
    preparation: str = "asis"

    def __str__(self) -> str:
        words = [self.channels, self.pooling, self.preparation]
        return "-".join(words[:2] if self.preparation == "asis" else words)


def read_protocol(text: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: If there is none; names the valid ones.
    """
    words = text.split("-")
    valid = (CHANNEL_ORDERS, POOLING, PREPARATIONS)
    whole = [*words, "asis"][:3] if len(words) < 3 else words
    if len(whole) != 3 or any(w not in v for w, v in zip(whole, valid, strict=True)):
        raise ValueError(
            f"protocol: unknown value {text!r}. Valid: rgb-mean, rgb-sum, bgr-mean, bgr-sum, each "
            f"also with -crop or -jpeg."
        )
    return Protocol(*whole)


@dataclass(frozen=True, eq=False)
class Stimuli:
    """Image files by their ids; ``name`` identifies the set."""

    name: str
    files: Mapping[str, bytes]


def read_stimuli(folder: Path) -> Stimuli:
    """A user's own stimuli: images in a folder or its subfolders, named by cues.

    Raises:
        ValueError: If there is no image, one is damaged, or a name has no category or occurs twice.
    """
    if not folder.is_dir():
        raise ValueError(f"data_path: expected a folder of images; got {folder}")
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith("."):
            try:
                read_cues(path.name)
            except ValueError as error:
                raise ValueError(f"{path.parent}: {error}") from error
            check_image(path)
            if path.name in files:
                raise ValueError(f"{folder}: two images are named {path.name!r}")
            files[path.name] = path.read_bytes()
    if not files:
        raise ValueError(f"{folder} holds no image; images end in {' '.join(IMAGE_ENDINGS)}")
    content = hashlib.sha256()
    for name, data in sorted(files.items()):
        content.update(f"{name}\0".encode() + hashlib.sha256(data).digest())
    return Stimuli(f"{folder.resolve().name}-{content.hexdigest()[:8]}", files)


def prepare_image(content: bytes, protocol: Protocol, img_size: int) -> Tensor:
    """Prepare one image file for a network of ``img_size`` pixels: (3, H, W) in [0, 1]."""
    image = decode_image(content, "a stimulus")
    if protocol.preparation == "jpeg":
        coded = io.BytesIO()
        image.save(coded, format="JPEG", quality=JPEG_QUALITY)
        image = Image.open(coded).convert("RGB")
    if protocol.preparation == "crop":
        pixels = eval_transform(img_size)(image)
    else:
        if image.size != (img_size, img_size):
            image = image.resize((img_size, img_size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return pixels.flip(0) if protocol.channels == "bgr" else pixels


def category_scores(logits: NDArray[np.float32], pooling: str) -> NDArray[np.float64]:
    """Probability of each category, pooled over its ImageNet classes: (n, 1000) -> (n, 16).

    Raises:
        ValueError: If there are not 1000 logits, or ``pooling`` is unknown.
    """
    if logits.ndim != 2 or logits.shape[1] != IMAGENET_CLASSES:
        raise ValueError(f"logits: expected (n, {IMAGENET_CLASSES}); got {logits.shape}")
    if pooling not in POOLING:
        raise ValueError(f"pooling: unknown value {pooling!r}. Valid: {', '.join(POOLING)}")
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    pool = np.mean if pooling == "mean" else np.sum
    columns = [pool(probabilities[:, class_indices(name)], axis=1) for name in CATEGORIES]
    return np.stack(columns, axis=1)


def class_indices(category: str) -> list[int]:
    """The ImageNet classes of a category; 207 of the 1000 belong to one of sixteen."""
    return [i for first, last in IMAGENET_INDICES[category] for i in range(first, last + 1)]


def decide(
    model: nn.Module,
    name: str,
    stimuli: Stimuli,
    protocols: Sequence[Protocol],
    on_progress: Callable[[str], object] | None = None,
) -> list[Decisions]:
    """A network's decisions by each protocol; protocols that differ only in pooling share a pass.

    Args:
        model: Floats in [0, 1] (B, 3, H, W) to ImageNet logits (B, 1000), run on its current
            device.
        name: Name of the system, to which the protocol is appended.
        stimuli: The images.
        protocols: The protocols to use.
        on_progress: Called with a line of text before each pass.
    """
    images = sorted(stimuli.files)
    size = int(getattr(model, "img_size", 224))
    found: dict[Protocol, Decisions] = {}
    for view in dict.fromkeys(replace(protocol, pooling=POOLING[0]) for protocol in protocols):
        if on_progress:
            on_progress(f"{name}: {len(images)} images, {view.channels}, {view.preparation}")
        logits = _answer(model, [stimuli.files[image] for image in images], view, size)
        for pooling in POOLING:
            protocol = replace(view, pooling=pooling)
            chosen = category_scores(logits, pooling).argmax(axis=1)
            answers = [CATEGORIES[place] for place in chosen]
            found[protocol] = make_decisions(f"{name}-{protocol}", images, answers)
    return [found[protocol] for protocol in protocols]


def _answer(
    model: nn.Module, files: Sequence[bytes], view: Protocol, img_size: int
) -> NDArray[np.float32]:
    """Logits (n, K), in evaluation mode; the model is left unchanged."""
    device = next(model.parameters()).device
    logits = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(files), BATCH):
            batch = [prepare_image(f, view, img_size) for f in files[start : start + BATCH]]
            logits.append(model(torch.stack(batch).to(device)).float().cpu().numpy())
    return np.concatenate(logits)
