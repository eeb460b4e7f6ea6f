"""The widgets answer at once, show what they say, and stay away where nobody could move them."""

import html
import io
import time
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from attnlib.explain.attribution import Trace, trace
from attnlib.explain.figures import overlay
from attnlib.explorer import widgets
from attnlib.explorer.showcase import Subject
from attnlib.explorer.widgets import SIDE, build_explorer, draw, explore, is_live
from attnlib.models.vit import DeiT

IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def deit() -> DeiT:
    torch.manual_seed(0)
    return DeiT(5).eval()  # the thesis's size: 12 layers, 198 tokens


@pytest.fixture(scope="module")
def traced(deit: DeiT) -> Trace:
    return trace(deit, IMAGES)


def controls(widget: Any) -> tuple[Any, ...]:
    picture, box = widget.children
    return picture, *box.children


def shown(picture: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.value)))


def test_a_change_is_answered_within_a_tenth_of_a_second(traced: Trace) -> None:
    widget = build_explorer(traced, IMAGES, ["a", "b"], ["one", "two"])
    _, image, kind, layer, head, _ = controls(widget)
    steps = [(kind, name) for name in traced.kinds] + [(kind, "head"), (layer, 3), (head, 2)]
    seconds = []
    for control, value in [*steps, (image, 1), (kind, "rollout"), (layer, 12)]:
        started = time.process_time()
        control.value = value
        seconds.append(time.process_time() - started)
    assert max(seconds) < 0.1, seconds


def test_the_picture_is_the_map_that_the_widgets_name(traced: Trace) -> None:
    widget = build_explorer(traced, IMAGES, ["a", "b"], ["one", "two"])
    picture, image, kind, layer, head, label = controls(widget)
    assert (layer.max, head.max, kind.value) == (12, 3, "mean")
    image.value, kind.value, layer.value, head.value = 1, "head", 5, 3
    expected = draw(IMAGES[1], traced.plane("head", 4, 2)[1])
    assert picture.value == expected and label.value == "two"
    assert shown(picture).shape == (SIDE, SIDE, 3)
    assert not head.disabled
    kind.value = "mean"
    assert head.disabled and picture.value != expected


def test_overlay_is_brightest_where_the_map_is_largest() -> None:
    plane = torch.zeros(8, 8)
    plane[2, 5] = 1
    pixels = overlay(torch.full((3, 8, 8), 0.5), plane)
    assert np.unravel_index(pixels.sum(axis=-1).argmax(), (8, 8)) == (2, 5)
    assert pixels.min() >= 0 and pixels.max() <= 1
    flat = overlay(torch.zeros(3, 8, 8), torch.ones(8, 8))
    assert np.isfinite(flat).all() and np.ptp(flat, axis=(0, 1)).max() < 1e-9


def test_nothing_is_shown_where_nobody_could_move_it(
    deit: DeiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Subject(deit, "DeiT", 224, tuple("abcde"))
    monkeypatch.delenv("ATTNLIB_EXPLORER", raising=False)
    monkeypatch.setattr(widgets, "trace", None)  # nor is anything computed
    assert not is_live()
    assert explore(seen, IMAGES, ["a", "b"]) is None


def test_a_live_notebook_is_known_by_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        kernel = object()
        user_ns: dict[str, object] = {}  # noqa: RUF012

    monkeypatch.setattr("IPython.get_ipython", Shell)
    monkeypatch.delenv("ATTNLIB_EXPLORER", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not is_live(), "papermill's and nbconvert's kernels have no session"
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/attention.ipynb")
    assert is_live()
    monkeypatch.setenv("ATTNLIB_EXPLORER", "0")
    assert not is_live()


def test_in_a_live_notebook_the_widgets_stand_on_the_models_own_pass(
    deit: DeiT, monkeypatch: pytest.MonkeyPatch, traced: Trace
) -> None:
    monkeypatch.setenv("ATTNLIB_EXPLORER", "1")
    seen = Subject(deit, "DeiT", 224, tuple("abcde"))
    widget = explore(seen, IMAGES, ["a", "b"])
    picture, *_, label = controls(widget)
    assert picture.value == draw(IMAGES[0], traced.plane("mean")[0])
    assert label.value == seen.decisions(IMAGES)[0]


def test_names_that_others_chose_are_shown_literally(traced: Trace) -> None:
    """A Label sets $...$ as a formula, and HTML takes <b> for bold; an option of a list neither."""
    names = ["US$ 10 & $20_x", "<b>cat</b> \\(x\\)"]
    widget = build_explorer(traced, IMAGES, names, names)
    _, image, *_, label = controls(widget)
    assert [option for option, _ in image.options] == names
    assert type(label) is ipywidgets.HTML  # neither Label nor HTMLMath: both look for formulas
    for place, name in enumerate(names):
        image.value = place
        assert html.unescape(label.value) == name and "<" not in label.value
