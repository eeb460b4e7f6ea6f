"""What the attention explorer is given: the record's own numbers, small, in a fixed order."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import attnlib as al
from attnlib.explorer.page_payload import (
    Exploration,
    find_exploration,
    image_names,
    overlay_png,
    static_maps,
    to_payload,
)


@pytest.fixture(scope="module")
def found(tiny_run: al.Run) -> Exploration:
    """The tiny DeiT alone."""
    exploration = find_exploration([tiny_run])
    assert exploration is not None
    return exploration


def decoded(payload: dict, key: str, kind: str = "u1") -> np.ndarray:
    return np.frombuffer(base64.b64decode(payload[key]), kind)


def test_payload_holds_the_records_own_weights_in_its_order(found: Exploration) -> None:
    payload = json.loads(json.dumps(to_payload(found)))
    arrays = found.transformer.arrays("explorer")
    images, layers, heads, tokens, _ = payload["shape"]
    shares = decoded(payload, "attention").reshape(payload["shape"]) / 255
    weights = shares * decoded(payload, "peak", "<f4").reshape(images, layers, heads, tokens, 1)
    assert np.allclose(weights.sum(axis=-1), 1, atol=0.02)
    assert decoded(payload, "attention").tobytes() == arrays["attention"].tobytes()
    assert payload["grid"] == [2, 2] and tokens == 5
    assert len(payload["names"]) == images and payload["names"][0].startswith("test image 0, class")


def test_images_are_those_that_the_model_saw(found: Exploration) -> None:
    assert found.images is not None and found.images.shape[1:] == (32, 32, 3)
    assert len(decoded(to_payload(found), "pixels")) == found.images.size
    digits = al.load_dataset("digits").test.images[:1]
    assert abs(float(found.images[0].mean()) - float(digits.mean())) < 2


def test_without_images_the_maps_remain_and_the_note_says_so(found: Exploration) -> None:
    blind = found._replace(images=None, note="The images are not shown.")
    assert to_payload(blind)["pixels"] is False
    assert overlay_png(None, static_maps(blind, 0)["rollout"]).startswith(b"\x89PNG")


def test_large_attention_is_sent_in_sixteen_levels(
    found: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decoded(to_payload(found), "attention").astype(int)
    monkeypatch.setattr("attnlib.explorer.page_payload.EXACT_BYTES", 10)
    payload = to_payload(found)
    packed = decoded(payload, "attention")
    halves = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[: whole.size]
    assert payload["bits"] == 4
    assert np.abs(halves * 17 - whole).max() <= 9


def test_static_maps_reach_one_and_are_the_class_tokens(found: Exploration) -> None:
    maps = static_maps(found, 0)
    assert list(maps) == ["last layer", "rollout"]
    assert all(plane.shape == (2, 2) and plane.max() == 1 for plane in maps.values())
    arrays = found.transformer.arrays("explorer")
    row = (arrays["attention"][0, -1, :, 0] * arrays["peak"][0, -1, :, :1].astype(float)).mean(0)
    assert np.allclose(maps["last layer"].reshape(-1), row[1:] / row[1:].max(), atol=1e-3)


def test_strong_places_are_orange_and_weak_ones_grey() -> None:
    from io import BytesIO

    from PIL import Image

    image = np.full((4, 4, 3), 200, np.uint8)
    png = overlay_png(image, np.array([[1, 0], [0, 0]], np.float32), side=4)
    shown = np.asarray(Image.open(BytesIO(png))).astype(int)
    assert shown[0, 0, 0] - shown[0, 0, 2] > 150
    assert np.ptp(shown[3, 3]) == 0


def test_records_without_attention_are_passed_over(tiny_run: al.Run, tmp_path: Path) -> None:
    assert find_exploration([]) is None
    assert find_exploration([replace(tiny_run, path=tmp_path)]) is None


def test_names_say_what_the_models_take_the_image_for(found: Exploration) -> None:
    arrays = found.transformer.arrays("predictions")
    said = arrays["logits"][1].argmax()
    assert image_names(found)[1] == f"test image 1, class {arrays['labels'][1]}: DeiT-T says {said}"
