"""The attention explorer in a browser: what it says is what the arrays hold, at once."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import NARROW, console_faults, resize
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from attnbook import explorer

BOOK = Path(__file__).resolve().parents[2] / "book"

LAYERS, HEADS, PREFIX, SIDE = 12, 3, 2, 14  # a DeiT-T of 224 pixels
TOKENS = PREFIX + SIDE**2
pytestmark = pytest.mark.slow


def base(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Invented attention of two images, in bytes."""
    rng = np.random.default_rng(0)
    shape = (2, LAYERS, HEADS, TOKENS, TOKENS)
    attention = rng.integers(0, 250, shape).astype(np.uint8)
    rollout = rng.integers(0, 250, (2, TOKENS, TOKENS)).astype(np.uint8)
    attention[..., 0], rollout[..., 5] = 255, 255
    return {
        "attention": attention,
        "peak": rng.random(shape[:-1]).astype("<f4"),
        "rollout": rollout,
        "rollout_peak": rng.random((2, TOKENS)).astype("<f4"),
        "pixels": rng.integers(0, 255, (2, 64, 64, 3)).astype(np.uint8),
        "cam": rng.integers(0, 255, (2, 7, 7)).astype(np.uint8),
    }


@pytest.fixture(scope="module")
def page(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the explorer alone."""
    payload = {name: base(array) for name, array in arrays.items()} | {
        "transformer": "DeiT-T",
        "network": "ResNet-18",
        "images": [64, 64],
        "names": ["test image 0, class cat", "test image 1, class dog"],
        "shape": [2, LAYERS, HEADS, TOKENS, TOKENS],
        "grid": [SIDE, SIDE],
        "bits": 8,
        "cam_grid": [7, 7],
    }
    style = (BOOK / "_static" / "explorer.css").read_text(encoding="utf-8")
    script = (BOOK / "_ext" / "attnbook" / "explorer.js").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
        '<meta name="viewport" content="width=device-width">'
        f"<style>:root {{ --pst-color-accent: #a0a }} {style}</style>"
        "<figure class=attention-explorer id=fig>"
        f"<div class=explorer-static>still{explorer.STILL}</div>"
        f'<script type="application/json">{json.dumps(payload)}</script>'
        f"<script>{script}</script></figure></html>",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    resize(browser, (900, 1200))
    browser.get(page.as_uri())
    return browser


def said(browser: Any) -> str:
    return browser.find_element(By.CSS_SELECTOR, "[role=status]").text


def strongest(row: np.ndarray) -> str:
    """What the explorer should say of a row of weights."""
    place = int(row[PREFIX:].argmax())
    return (
        f"row {place // SIDE + 1}, column {place % SIDE + 1}, with {row[PREFIX + place]:.3f} of "
        f"its attention, {row[PREFIX + place] * TOKENS:.1f} times"
    )


def weights(arrays: dict[str, np.ndarray], image: int, layer: int, asked: int) -> np.ndarray:
    """Rows of all heads (h, N)."""
    at = image, layer, slice(None), asked
    return arrays["attention"][at] / 255 * arrays["peak"][at][..., None]


def pick(browser: Any, name: str) -> None:
    label = browser.find_element(By.XPATH, f"//label[normalize-space(.)='{name}']")
    label.click()


def test_class_token_in_the_last_layer_comes_first(opened: Any, arrays: dict[str, np.ndarray]):
    mean = weights(arrays, 0, LAYERS - 1, 0).mean(axis=0)
    assert said(opened).startswith("Layer 12, mean of heads: the class token attends most to")
    assert strongest(mean) in said(opened)
    assert console_faults(opened) == []


def test_arrow_keys_step_over_patches(opened: Any, arrays: dict[str, np.ndarray]):
    first = opened.find_element(By.CSS_SELECTOR, "[role=gridcell][tabindex='0']")
    opened.execute_script("arguments[0].focus()", first)
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
        opened.switch_to.active_element.send_keys(key)
    focused = opened.switch_to.active_element
    assert focused.get_attribute("aria-label") == "row 2, column 3"
    assert focused.value_of_css_property("outline-style") != "none"
    row = weights(arrays, 0, LAYERS - 1, PREFIX + SIDE + 2).mean(axis=0)
    assert "the patch in row 2, column 3 attends" in said(opened) and strongest(row) in said(opened)
    focused.send_keys(Keys.CONTROL, Keys.END)
    assert "row 14, column 14 attends" in said(opened)


def test_choosing_who_attends_leaves_the_focus_in_its_group(opened: Any):
    radios = opened.find_elements(By.CSS_SELECTOR, ".explorer-settings fieldset input")[:3]
    opened.execute_script("arguments[0].focus()", radios[0])
    for radio, asks in zip(
        [*radios[1:], radios[0]],
        ("distillation token", "the patch in row 1, column 1", "class token"),
        strict=True,
    ):
        opened.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
        assert opened.switch_to.active_element == radio and radio.is_selected()
        assert f"{asks} attends" in said(opened)


def test_new_image_is_announced_with_what_the_models_say(opened: Any):
    named = opened.find_element(By.CLASS_NAME, "explorer-named")
    assert named.get_attribute("aria-live") == "polite" and "class cat" in named.text
    opened.find_elements(By.CSS_SELECTOR, ".explorer-images input")[1].send_keys(Keys.SPACE)
    assert "class dog" in named.text


def test_idle_answer_after_load_changes_nothing_that_is_shown(browser: Any, page: Path):
    catch = {"source": "window.requestIdleCallback = warm => { window.warm = warm; }"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", catch)
    try:
        browser.get(page.as_uri())
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    point(browser, 3, 4, "pointermove")
    script = """const live = document.querySelector('.explorer-live');
        const canvases = [...live.querySelectorAll('canvas')];
        const shown = () => [live.innerHTML, ...canvases.map(canvas => canvas.toDataURL())].join();
        const told = new MutationObserver(() => {});
        told.observe(document.querySelector('[role=status]'), {childList: true, subtree: true});
        const before = shown();
        window.warm();
        return [shown() === before, told.takeRecords().length]"""
    assert browser.execute_script(script) == [True, 0]  # and nothing is announced again
    assert "row 3, column 4 attends" in said(browser)


def test_layer_head_rollout_and_image_are_the_arrays_own(
    opened: Any, arrays: dict[str, np.ndarray]
):
    slider = opened.find_element(By.CSS_SELECTOR, "input[type=range]")
    slider.send_keys(Keys.ARROW_LEFT)
    pick(opened, "2")
    assert strongest(weights(arrays, 0, LAYERS - 2, 0)[1]) in said(opened)
    pick(opened, "the distillation token")
    assert strongest(weights(arrays, 0, LAYERS - 2, 1)[1]) in said(opened)
    pick(opened, "rollout")
    rolled = arrays["rollout"] / 255 * arrays["rollout_peak"][..., None]
    assert strongest(rolled[0, 1]) in said(opened) and slider.get_attribute("disabled")
    opened.find_elements(By.CSS_SELECTOR, ".explorer-images input")[1].send_keys(Keys.SPACE)
    assert strongest(rolled[1, 1]) in said(opened)


def point(browser: Any, row: int, column: int, kind: str, type_: str = "mouse") -> None:
    """A pointer's event in the middle of a patch."""
    script = """const [row, column, kind, type, side] = arguments;
        const grid = document.querySelector('[role=grid]'), box = grid.getBoundingClientRect();
        const at = {clientX: box.left + (column - .5) / side * box.width, bubbles: true,
                    clientY: box.top + (row - .5) / side * box.height, pointerType: type};
        grid.dispatchEvent(new PointerEvent(kind, at));"""
    browser.execute_script(script, row, column, kind, type_, SIDE)


def test_mouse_looks_and_a_click_or_a_finger_keeps(opened: Any):
    point(opened, 3, 4, "pointermove")
    assert "row 3, column 4 attends" in said(opened)
    point(opened, 3, 4, "pointerleave")
    assert "the class token attends" in said(opened)
    point(opened, 5, 6, "click")
    point(opened, 1, 1, "pointerleave")
    assert "row 5, column 6 attends" in said(opened)
    point(opened, 9, 2, "pointermove", "touch")
    point(opened, 1, 1, "pointerleave")
    assert "row 9, column 2 attends" in said(opened)


def test_answers_within_a_frame_of_16_ms(opened: Any):
    """In the page's own processor time: what else the machine does is not the page's fault."""
    script = """const grid = document.querySelector('[role=grid]');
        const box = grid.getBoundingClientRect();
        for (let step = 0; step < 60; step++) {
            const at = {clientX: box.left + (step % 14 + .5) / 14 * box.width,
                        clientY: box.top + (step % 11 + .5) / 14 * box.height, bubbles: true};
            grid.dispatchEvent(new PointerEvent('pointermove', at));
            document.body.getBoundingClientRect(); // style and layout are part of the answer
        }"""

    def spent() -> float:
        metrics = opened.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    opened.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    try:
        before = spent()
        opened.execute_script(script)
        milliseconds = 1000 * (spent() - before) / 60
    finally:
        opened.execute_cdp_cmd("Performance.disable", {})
    assert 0.05 < milliseconds < 16


def test_strongest_place_is_the_most_orange(opened: Any):
    script = """const canvas = document.querySelector('.explorer-picture canvas');
        const {width, height} = canvas, side = 14;
        const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        const colour = Array(side * side).fill(0);
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
            const o = 4 * (y * width + x);
            const [row, column] = [y * side / height, x * side / width].map(Math.floor);
            colour[row * side + column] += data[o] - data[o + 2];
        }
        return colour.indexOf(Math.max(...colour))"""
    most = opened.find_element(By.ID, "fig").get_attribute("data-most")
    assert opened.execute_script(script) == int(most)


def test_static_figure_gives_way_and_comes_back_in_print(opened: Any):
    still = opened.find_element(By.CLASS_NAME, "explorer-static")
    assert not still.is_displayed()
    words = "A still picture; the interactive one needs JavaScript."
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert still.is_displayed() and words in still.text
        assert not opened.find_element(By.CLASS_NAME, "explorer-live").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_fits_a_phone(opened: Any):
    for width in (NARROW[0], 360):
        resize(opened, (width, 844))
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
