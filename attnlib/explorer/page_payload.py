"""What the page "Look inside" is given: two packed networks, pictures, and one recorded answer."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from attnlib.augmentation.pil_transforms import eval_transform, evaluation_resize
from attnlib.catalogue import TITLES
from attnlib.data.datasets import Split
from attnlib.data.open_image import PHOTOGRAPHS, open_image
from attnlib.explain.layers import lens_of_heads
from attnlib.explorer.packing import Packed, pack_network, quantise
from attnlib.explorer.rounding import find_rounding
from attnlib.models.hooks import attention_rollout, record_attention
from attnlib.models.vit import ViT
from attnlib.records.answers import find_images
from attnlib.records.find import Showcase
from attnlib.records.measurements import Row

Bytes = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]
PHOTOGRAPH_SIDE = 160  # pixels of a photograph's shorter side in the page at most, and
ENOUGH = 1.5  # as a share of the side of the networks' images
TEST_IMAGES = 8  # that the page offers beside the photographs
FEW_PICTURES = 5  # on the first page
RECORDED_BYTES = 700_000  # of attention; a larger answer is left to the reader's own machine
TINT, FADE = (255, 140, 0), 0.85  # colour where a map is strong, and how much of it at most
CREDITS = {  # of the photographs that come with packages, by their names there
    "cat": "photograph by Stéfan van der Walt, CC0, from scikit-image",
    "coffee": "photograph by Rachel Michetti, CC0, from scikit-image",
    "rocket": "photograph by SpaceX, public domain, from scikit-image",
    "china": "photograph by danielbuechele, CC BY 2.0, from scikit-learn",
    "flower": "photograph by vultilion, CC BY 2.0, from scikit-learn",
}


class Offered(NamedTuple):
    """A picture that the page offers."""

    name: str  # in the page's address
    title: str
    credit: str
    image: Image.Image
    content: bytes  # the same as a file
    kind: str  # of this file: png or jpeg


class Recording(NamedTuple):
    """What the page's networks answer to one picture, computed here."""

    pixels: Tensor  # (3, H, W), as the networks see it
    attention: Tensor  # (L, h, N, N)
    lens: Tensor  # (L + 1, heads, K)
    logits: Tensor  # (K,)
    teacher: Tensor  # (K,)


class Exhibit(NamedTuple):
    """All that the page shows."""

    showcase: Showcase
    student: ViT  # with the page's weights
    packed: dict[str, Packed]  # "student" and "teacher"
    pictures: list[Offered]
    recording: Recording  # of the first picture
    rounding: list[Row]  # what the page's weights do to accuracy; empty if it is not known


def open_exhibit(showcase: Showcase) -> Exhibit:
    """Pack the showcase's networks, collect pictures, and answer to the first one.

    Args:
        showcase: Two runs with weights.

    Raises:
        ValueError: If a network is of a kind that the page's script can't run.
    """
    student, teacher = showcase.student.load_model(), showcase.teacher.load_model()
    if not isinstance(student, ViT):
        raise ValueError(f"expected a ViT or a DeiT to look into; got {showcase.student.name}")
    packed = {}
    for role, run, model in (
        ("student", showcase.student, student),
        ("teacher", showcase.teacher, teacher),
    ):
        packed[role] = pack_network(model, run.record.dataset.classes, run.config["img_size"])
    pictures = find_pictures(showcase)
    rounded = quantise(student)
    assert isinstance(rounded, ViT)
    place = eval_transform(showcase.student.config["img_size"])
    recording = record(rounded, quantise(teacher), place(pictures[0].image))
    return Exhibit(showcase, rounded, packed, pictures, recording, find_rounding(showcase))


def find_pictures(showcase: Showcase) -> list[Offered]:
    """Test images that are at hand, and openly licensed photographs.

    Photographs come first where the networks know photographs, and last where they know digits.
    """
    split, _ = find_images(showcase.student)
    dataset = showcase.student.record.dataset
    tests = [] if split is None else _test_pictures(split, dataset.classes)
    side = min(PHOTOGRAPH_SIDE, int(ENOUGH * showcase.student.config["img_size"]))
    taken = [
        _photograph(name, open_image(name), credit, side)
        for name, credit in CREDITS.items()
        if name in PHOTOGRAPHS
    ]
    return tests + taken if dataset.name == "digits" else taken + tests


def _photograph(name: str, image: Image.Image, credit: str, side: int) -> Offered:
    image = image.convert("RGB")
    image.thumbnail((10_000, side) if image.width > image.height else (side, 10_000))
    stream = BytesIO()
    image.save(stream, "JPEG", quality=88)
    shown = Image.open(BytesIO(stream.getvalue())).convert("RGB")
    return Offered(name, name, credit, shown, stream.getvalue(), "jpeg")


def _test_pictures(split: Split, classes: Sequence[str]) -> list[Offered]:
    """The first test image of each class, at most ``TEST_IMAGES``."""
    firsts = [np.flatnonzero(split.labels == label)[:1] for label in range(len(classes))]
    places = np.sort(np.concatenate(firsts))[:TEST_IMAGES]
    chosen = split.subset(places)
    found = []
    for pixels, label, index in zip(chosen.images, chosen.labels, chosen.indices, strict=True):
        image = Image.fromarray(np.asarray(pixels)).convert("RGB")
        stream = BytesIO()
        image.save(stream, "PNG", optimize=True)
        title = f"{classes[label]}, test image {index}"
        found.append(Offered(f"test-{index}", title, "", image, stream.getvalue(), "png"))
    return found


def record(student: ViT, teacher: torch.nn.Module, pixels: Tensor) -> Recording:
    """Both networks' answers to one picture (3, H, W) in [0, 1]."""
    with torch.inference_mode(), record_attention(student) as maps:
        logits = student(pixels[None])[0]
    with torch.inference_mode():
        judged = teacher(pixels[None])[0]
    attention = torch.stack([layer[0] for layer in maps])
    lens = lens_of_heads(student, pixels[None])[0]
    return Recording(pixels, attention, lens, logits, judged)


def to_payload(exhibit: Exhibit, *, small: bool = False) -> dict[str, Any]:
    """All data of the page but the networks themselves, as JSON; arrays are base64, in C order.

    Args:
        exhibit: What is shown.
        small: For the first page: a few pictures, and of attention the class token's alone.
    """
    student = exhibit.packed["student"].header
    payload = {
        "classes": student["classes"],
        "size": student["img_size"],
        "resized": evaluation_resize(student["img_size"][0]),
        "vit": student["vit"],
        "digits": exhibit.showcase.student.record.dataset.name == "digits",
        "networks": {
            role: {
                "title": _short_title(exhibit.showcase, role),
                "bytes": len(packed.content),
            }
            for role, packed in exhibit.packed.items()
        },
        "pictures": [
            {
                "name": each.name,
                "title": each.title,
                "credit": each.credit,
                "file": f"data:image/{each.kind};base64,{base64.b64encode(each.content).decode()}",
            }
            for each in exhibit.pictures[: FEW_PICTURES if small else None]
        ],
    }
    if small:
        payload["recording"] = _small_recording(exhibit)
    elif exhibit.recording.attention.numel() <= RECORDED_BYTES:
        payload["recording"] = _recording_payload(exhibit.recording)
    return payload


def _recording_payload(recording: Recording) -> dict[str, Any]:
    """A recording with its attention in bytes, each row divided by its largest weight."""
    peak = recording.attention.amax(dim=-1)
    shares = (255 * recording.attention / peak[..., None]).round().byte()
    numbers = {"peak": _floats(peak), "lens": _floats(recording.lens)}
    return _answers(recording) | numbers | {"attention": _base64(shares.numpy())}


def _small_recording(exhibit: Exhibit) -> dict[str, Any]:
    """A recording with the class token's attention in each layer, as mean and as rollout."""
    attention = exhibit.recording.attention
    rolled = [
        attention_rollout(list(attention[:depth, None]))[0, 0]
        for depth in range(1, len(attention) + 1)
    ]
    rows = {"mean": attention.mean(dim=1)[:, 0], "rollout": torch.stack(rolled)}
    kept = {name: _floats(row) for name, row in rows.items()}
    return _answers(exhibit.recording) | {"rows": kept}


def _answers(recording: Recording) -> dict[str, Any]:
    """The picture as the networks see it, and what both answer."""
    pixels = (255 * recording.pixels).round().byte().permute(1, 2, 0)
    logits = {"logits": _floats(recording.logits), "teacher": _floats(recording.teacher)}
    return {"pixels": _base64(pixels.numpy())} | logits


def _floats(values: Tensor) -> str:
    return _base64(values.numpy().astype("<f4"))


def _short_title(showcase: Showcase, role: str) -> str:
    run = showcase.student if role == "student" else showcase.teacher
    return TITLES.get(run.config["model"], run.config["model"])


def static_maps(exhibit: Exhibit) -> dict[str, Planes]:
    """Maps of the recorded picture for the static figure, (rows, columns), each with maximum 1."""
    attention, (rows, columns) = exhibit.recording.attention, exhibit.student.grid_size
    prefix = exhibit.student.num_prefix_tokens
    depth = len(attention)
    chosen = {
        "layer 1": attention[0].mean(dim=0)[0],
        f"layer {depth}": attention[-1].mean(dim=0)[0],
        "rollout": attention_rollout(list(attention[:, None]))[0, 0],
    }
    planes = {name: row[prefix:].reshape(rows, columns).numpy() for name, row in chosen.items()}
    return {
        name: (plane / max(float(plane.max()), 1e-12)).astype(np.float32)
        for name, plane in planes.items()
    }


def describe_recording(exhibit: Exhibit) -> str:
    """The static figure's finding, in words."""
    recording, classes = exhibit.recording, exhibit.showcase.student.record.dataset.classes
    says = []
    for role, logits in (("student", recording.logits), ("teacher", recording.teacher)):
        share, label = logits.softmax(dim=0).max(dim=0)
        says.append(f"{_short_title(exhibit.showcase, role)} says {classes[label]} ({share:.0%})")
    prefix, tokens = exhibit.student.num_prefix_tokens, recording.attention.shape[-1]
    first, last = (
        float(recording.attention[layer].mean(dim=0)[0, prefix:].max()) * tokens
        for layer in (0, -1)
    )
    return (
        f"Of this picture {' and '.join(says)}. The patch that the class token attends to most "
        f"gets {first:.1f} times an equal share in layer 1 and {last:.1f} times in layer "
        f"{len(recording.attention)}."
    )


def describe_rounding(exhibit: Exhibit) -> str:
    """What the page's rounded weights cost, in words; empty if it is not known."""
    told = [
        f"{_short_title(exhibit.showcase, role)} gets {row['rounded']:.1%} of {row['images']:,} "
        f"test images right with the page's weights and {row['accuracy']:.1%} with its own"
        for role, run in zip(("student", "teacher"), exhibit.showcase, strict=True)
        for row in exhibit.rounding
        if row["run"] == run.name
    ]
    return f"{'; '.join(told)}." if told else ""


def picture_png(pixels: Bytes, *, grey: bool = False) -> bytes:
    """A picture (H, W, 3) as PNG; grey and a little darker, to lie under a map."""
    if grey:
        pixels = (0.75 * (pixels @ np.array([0.299, 0.587, 0.114]))).round().astype(np.uint8)
    return _png(Image.fromarray(pixels))


def map_png(plane: Planes) -> bytes:
    """A map with maximum 1 as PNG of one pixel a patch, in one colour: the stronger the denser."""
    cover = (255 * FADE * plane).round().astype(np.uint8)
    colour = np.broadcast_to(np.asarray(TINT, np.uint8), (*plane.shape, 3))
    return _png(Image.fromarray(np.dstack([colour, cover])))


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
