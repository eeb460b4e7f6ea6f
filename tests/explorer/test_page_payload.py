"""What the page "Look inside" is given: the networks' own answers, pictures, and plain words."""

import base64
import io
import json
import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import attnlib as al
from attnlib.data.open_image import PHOTOGRAPHS
from attnlib.explorer.page_payload import (
    CREDITS,
    Exhibit,
    describe_recording,
    describe_rounding,
    map_png,
    open_exhibit,
    picture_png,
    static_maps,
    to_payload,
)
from attnlib.explorer.rounding import measure_rounding
from attnlib.models.hooks import attention_rollout, record_attention
from attnlib.records.find import Showcase
from attnlib.records.run import Run


def showcase_of(run: Run) -> Showcase:
    """A run as its own student, with a convolutional network of fresh weights as its teacher."""
    torch.manual_seed(0)
    teacher = al.create_model("efficientnet_lite0", 10, 32).eval()
    config = run.config | {"model": "efficientnet_lite0"}
    taught = SimpleNamespace(
        name="teacher", title="EfficientNet", record=run.record, config=config, path=run.path,
        load_model=lambda: teacher,
    )  # fmt: skip
    return Showcase(run, cast(Run, taught))


@pytest.fixture(scope="module")
def exhibit(tiny_run: Run) -> Exhibit:
    return open_exhibit(showcase_of(tiny_run))


def decoded(payload: dict[str, Any], key: str, kind: str = "u1") -> np.ndarray:
    return np.frombuffer(base64.b64decode(payload[key]), kind)


def test_recorded_answer_is_the_networks_own(exhibit: Exhibit) -> None:
    payload = json.loads(json.dumps(to_payload(exhibit)))["recording"]
    image = exhibit.recording.pixels[None]
    with torch.inference_mode(), record_attention(exhibit.student) as maps:
        logits = exhibit.student(image)[0]
    whole = torch.stack([layer[0] for layer in maps]).numpy()
    shares = decoded(payload, "attention").reshape(whole.shape) / 255
    peak = decoded(payload, "peak", "<f4").reshape(whole.shape[:-1])
    assert np.abs(shares * peak[..., None] - whole).max() < 0.003
    assert np.allclose(decoded(payload, "logits", "<f4"), logits.numpy(), atol=1e-5)
    lens = decoded(payload, "lens", "<f4").reshape(len(whole) + 1, -1, 10)
    assert np.allclose(lens[-1].mean(axis=0), logits.numpy(), atol=1e-5)


def test_first_picture_is_a_test_image_of_digits_and_photographs_have_their_credit(
    exhibit: Exhibit,
) -> None:
    payload = to_payload(exhibit)
    assert payload["digits"] and payload["pictures"][0]["name"].startswith("test-")
    assert all(each["credit"] for each in payload["pictures"] if "test image" not in each["title"])
    first = payload["pictures"][0]["file"].partition(",")[2]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(first))).convert("RGB"))
    digits = al.load_dataset("digits").test
    index = int(payload["pictures"][0]["name"].removeprefix("test-"))
    assert np.array_equal(image, digits.images[int(np.flatnonzero(digits.indices == index)[0])])


def test_every_photograph_that_comes_with_attnlib_has_a_credit_with_its_licence() -> None:
    assert set(PHOTOGRAPHS) <= set(CREDITS)
    assert all(re.search(r"CC|public domain", credit) for credit in CREDITS.values())


def test_static_figure_shows_the_class_tokens_maps_and_says_what_was_found(
    exhibit: Exhibit,
) -> None:
    maps = static_maps(exhibit)
    assert list(maps) == ["layer 1", "layer 12", "rollout"]
    assert all(plane.shape == (2, 2) and plane.max() == 1 for plane in maps.values())
    row = exhibit.recording.attention[-1].mean(dim=0)[0, exhibit.student.num_prefix_tokens :]
    assert np.allclose(maps["layer 12"].reshape(-1), row / row.max(), atol=1e-5)
    share = exhibit.recording.logits.softmax(dim=0).max()
    assert f"({share:.0%})" in describe_recording(exhibit)
    strongest = float(row.max()) * exhibit.recording.attention.shape[-1]
    assert f"and {strongest:.1f} times in layer 12" in describe_recording(exhibit)


def test_rounding_costs_less_than_half_a_point_and_the_page_says_so(
    exhibit: Exhibit, tiny_run: Run
) -> None:
    row = measure_rounding(tiny_run, al.load_dataset("digits").test)
    assert abs(row["rounded"] - row["accuracy"]) <= 0.005 and row["agreement"] > 0.97
    assert row["accuracy"] == pytest.approx(tiny_run.record.metrics.test_accuracy.value, abs=0.2)
    assert exhibit.rounding[0] == row
    assert f"gets {row['rounded']:.1%} of {row['images']} test images" in describe_rounding(exhibit)
    assert describe_rounding(exhibit._replace(rounding=[])) == ""


def test_a_map_is_orange_and_covers_the_grey_picture_where_it_is_strong() -> None:
    plane = np.array([[1, 0], [0.5, 0]], np.float32)
    shown = np.asarray(Image.open(io.BytesIO(map_png(plane)))).astype(int)
    assert shown.shape == (2, 2, 4)
    assert shown[0, 0, 3] > 1.9 * shown[1, 0, 3] > 0 and not shown[:, 1, 3].any()
    assert (shown[..., 0] - shown[..., 2] > 150).all()
    image = np.full((4, 4, 3), (200, 100, 0), np.uint8)
    grey = np.asarray(Image.open(io.BytesIO(picture_png(image, grey=True))))
    assert grey.shape == (4, 4) and 0 < grey[0, 0] < 119  # of the same lightness, and darker
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture_png(image)))), image)


def test_first_page_has_of_the_recording_what_its_view_shows(exhibit: Exhibit) -> None:
    whole, small = to_payload(exhibit), to_payload(exhibit, small=True)
    maps = exhibit.recording.attention
    mean = decoded(small["recording"]["rows"], "mean", "<f4").reshape(len(maps), -1)
    assert np.allclose(mean, maps.mean(dim=1)[:, 0].numpy())
    rolled = decoded(small["recording"]["rows"], "rollout", "<f4").reshape(len(maps), -1)
    assert np.allclose(rolled[-1], attention_rollout(list(maps[:, None]))[0, 0].numpy())
    assert np.allclose(rolled[0][1:] * 2, mean[0][1:])  # one layer, halved by the residual path
    assert small["pictures"] == whole["pictures"][: len(small["pictures"])]
    assert "attention" not in small["recording"]


def test_only_a_transformer_can_be_looked_into(tiny_run: Run) -> None:
    showcase = showcase_of(tiny_run)
    with pytest.raises(ValueError, match="a ViT or a DeiT to look into"):
        open_exhibit(Showcase(showcase.teacher, showcase.teacher))
