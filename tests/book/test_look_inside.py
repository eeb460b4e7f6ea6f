"""The page "Look inside" in a browser: what it says is what PyTorch computes, for everyone."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from browsing import (
    NARROW,
    console_faults,
    outside_requests,
    requested,
    resize,
    violations,
    wait,
)
from docutils import nodes
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace
from torch import nn

import attnlib as al
from attnbook import look_inside, views
from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.explain.layers import lens_of_heads
from attnlib.explorer.packing import quantise
from attnlib.explorer.page_payload import Exhibit, open_exhibit, to_payload
from attnlib.models.hooks import attention_rollout, record_attention
from attnlib.models.vit import ViT
from attnlib.records.find import Showcase
from attnlib.records.run import Run

BOOK = Path(__file__).resolve().parents[2] / "book"
SIZE, PATCH = 64, 16
SIDE, PREFIX = SIZE // PATCH, 2
PATCHES, TOKENS = SIDE**2, SIDE**2 + PREFIX
SMALL_TARGETS = """return [...document.querySelectorAll(
        '.look-live :is(button, input, [role=gridcell])')].filter(e => e.checkVisibility())
    .map(e => [e, (e.closest('label') ?? e).getBoundingClientRect()])
    .filter(([e, box]) => box.width && (box.height < 23.5 || box.width < 23.5))
    .filter(([e]) => !e.matches('.look-hidden'))
    .map(([e, box]) => `${e.outerHTML.slice(0, 80)} ${box.width} ${box.height}`)"""
pytestmark = pytest.mark.slow


class Opened(NamedTuple):
    """A page, and the networks in it as PyTorch has them."""

    path: Path
    exhibit: Exhibit
    student: ViT
    teacher: nn.Module


def fake_run(run: Run, model: nn.Module, name: str) -> Run:
    """A run with another network."""
    config = run.config | {"model": name, "img_size": SIZE}
    fields = {"config": config, "record": run.record, "path": run.path, "name": name}
    return cast(Run, SimpleNamespace(**fields, title=name, load_model=lambda: model))


@pytest.fixture(scope="module")
def opened(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A page with the figure alone, and uneven fresh networks in it."""
    torch.manual_seed(0)
    student = al.create_model("deit_t", 10, SIZE, patch_size=PATCH).eval()
    teacher = al.create_model("efficientnet_lite0", 10, SIZE).eval()
    for name, parameter in student.named_parameters():
        if parameter.ndim == 2 and name.endswith("weight"):
            parameter.data *= 10 if "head" in name else 4
    cast(Any, teacher).classifier.weight.data *= 1e3
    runs = Showcase(
        fake_run(tiny_run, student, "deit_t"), fake_run(tiny_run, teacher, "efficientnet_lite0")
    )
    folder = tmp_path_factory.mktemp("look")
    exhibit = open_exhibit(runs)._replace(rounding=[])
    look_inside.write_networks(folder / "weights", exhibit.packed)
    where = {"place": "weights/", "page": "page.html"}
    payload = to_payload(exhibit) | where
    style = (BOOK / "_static" / "look_inside.css").read_text(encoding="utf-8")
    small = to_payload(exhibit, small=True) | where
    for name, kind, live in (
        ("page", "look-inside", look_inside.live_part(payload)),
        ("first", "look-inside look-small", look_inside.live_part(small, look_inside.SMALL)),
    ):
        (folder / f"{name}.html").write_text(
            "<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
            '<meta name="viewport" content="width=device-width">'
            f"<style>:root {{ --pst-color-accent: #a0a; --attn-series-1: #06c }} {style}</style>"
            f"<main><h1>Look</h1><figure class='{kind}' style='margin: 0'><div class=look-static>"
            f"{look_inside.static_figure(exhibit)}{look_inside.STILL}</div>{live}</figure></main>",
            encoding="utf-8",
        )
    network = quantise(teacher).eval()
    return Opened(folder / "page.html", exhibit, exhibit.student, network)


@pytest.fixture
def page(browser: Any, opened: Opened) -> Any:
    """The page as it is first painted."""
    resize(browser, (1400, 1000))
    browser.get("about:blank")
    browser.get(opened.path.as_uri())
    return browser


@pytest.fixture
def live(page: Any) -> Any:
    """The page with its networks at work, free of the guided steps."""
    click(page, "Run the networks")
    assert wait(lambda: "Both networks run" in page.find_element(By.TAG_NAME, "body").text, 120)
    click(page, "Explore freely")
    return page


def click(browser: Any, words: str) -> None:
    button = browser.find_element(By.XPATH, f"//button[contains(., '{words}')]")
    browser.execute_script("arguments[0].click()", button)


def choose(browser: Any, words: str, panel: str = "") -> None:
    """Tick the radio button or box whose label has these words."""
    place = f"//*[@data-panel='{panel}']" if panel else ""
    label = browser.find_element(
        By.XPATH, f"{place}//label[contains(normalize-space(.), '{words}')]"
    )
    browser.execute_script("arguments[0].querySelector('input').click()", label)


def box(browser: Any, words: str) -> Any:
    """The box that is ticked for something."""
    return browser.find_element(By.XPATH, f"//label[contains(., '{words}')]/input")


def slide(browser: Any, name: str, value: int) -> None:
    script = """arguments[0].value = arguments[1];
        arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"""
    slider = browser.find_element(By.CSS_SELECTOR, f"input[aria-label='{name}']")
    browser.execute_script(script, slider, value)


def text(browser: Any, panel: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, f"[data-panel={panel}]").text)


def says(browser: Any, panel: str, words: str) -> bool:
    """Whether a panel says so within a minute; a percentage may be one more or less."""
    pattern = about(words)
    return bool(wait(lambda: re.search(pattern, text(browser, panel)), 60))


def about(words: str) -> str:
    """A pattern of these words, in which a percentage may be one more or less."""

    def near(share: re.Match[str]) -> str:
        number = int(share[1])
        return f"(?:{'|'.join(map(str, (number - 1, number, number + 1)))}|<1)%"

    return re.sub(r"(\d+)%", near, re.escape(words).replace("<1%", "1%"))


def attention(opened: Opened, pixels: torch.Tensor) -> torch.Tensor:
    """(L, h, N, N)."""
    with torch.inference_mode(), record_attention(opened.student) as maps:
        opened.student(pixels[None])
    return torch.stack([layer[0] for layer in maps])


def strongest(row: torch.Tensor) -> str:
    place = int(row[PREFIX:].argmax())
    return (
        f"attends most to the patch in row {place // SIDE + 1}, column {place % SIDE + 1}, with "
        f"{percent(float(row[PREFIX + place]))} of its attention"
    )


def percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{int(100 * share + 0.5)}%"


def answer(opened: Opened, pixels: torch.Tensor) -> str:
    """What the page should say of both networks' answers."""
    with torch.inference_mode():
        both = [model(pixels[None])[0].softmax(dim=0) for model in (opened.student, opened.teacher)]
    (a, i), (b, j) = [(float(shares.max()), int(shares.argmax())) for shares in both]
    classes = opened.exhibit.showcase.student.record.dataset.classes
    return (
        f"DeiT-T says {classes[i]}, {percent(a)}; its teacher, EfficientNet-Lite0, says "
        f"{classes[j]}, {percent(b)}."
    )


def erased(pixels: torch.Tensor, patches: list[int]) -> torch.Tensor:
    """Patches in the mean colour."""
    out, mean = pixels.clone(), pixels.mean(dim=(1, 2))[:, None, None]
    for patch in patches:
        top, left = patch // SIDE * PATCH, patch % SIDE * PATCH
        out[:, top : top + PATCH, left : left + PATCH] = mean
    return out


def test_first_paint_shows_the_recorded_answer_and_loads_no_weights(page: Any, opened: Opened):
    requested(page)
    page.get(opened.path.as_uri() + "?again")
    recording = opened.exhibit.recording
    mean = attention(opened, recording.pixels)[-1].mean(dim=0)
    assert says(page, "said", f"Layer 12, mean of heads: the class token {strongest(mean[0])}")
    assert says(page, "bars", answer(opened, recording.pixels))
    assert not [url for url in requested(page) if "weights/" in url]
    assert console_faults(page) == []


def test_networks_in_the_page_answer_any_picture_as_pytorch_does(live: Any, opened: Opened):
    chosen = opened.exhibit.pictures[-1]
    choose_picture(live, chosen.name)
    pixels = eval_transform(SIZE)(chosen.image)
    assert says(live, "bars", answer(opened, pixels))
    maps = attention(opened, pixels)
    slide(live, "Layer", 3)
    choose(live, "head 2", "maps")
    assert says(live, "said", f"Layer 3, head 2: the class token {strongest(maps[2, 1, 0])}")
    choose(live, "rollout", "maps")
    rolled = attention_rollout(list(maps[:3, None]))[0, 0]
    assert says(live, "said", f"Rollout through layer 3: the class token {strongest(rolled)}")
    assert console_faults(live) == [] and outside_requests(live) == []


def choose_picture(browser: Any, name: str) -> None:
    radio = browser.find_element(By.CSS_SELECTOR, f".look-pictures input[value='{name}']")
    browser.execute_script("arguments[0].click()", radio)


def test_logit_lens_and_one_weight_are_pytorchs(live: Any, opened: Opened):
    pixels = opened.exhibit.recording.pixels
    lens = lens_of_heads(opened.student, pixels[None])[0].softmax(dim=-1)
    rows = live.find_elements(By.CSS_SELECTOR, ".look-lens tbody tr")
    for head, row in enumerate(rows):
        cells = [" ".join(cell.text.split()) for cell in row.find_elements(By.TAG_NAME, "td")]
        expected = [f"{int(at.argmax())} {percent(float(at.max()))}" for at in lens[:, head]]
        assert re.fullmatch(about("; ".join(expected)), "; ".join(cells))
    weights = attention(opened, pixels)[-1, 0]
    assert says(live, "weight", "e to that power")
    said = text(live, "weight")
    place = re.search(r"asks the patch in row (\d), column (\d)", said)
    assert place is not None
    key = PREFIX + (int(place[1]) - 1) * SIDE + int(place[2]) - 1
    shown = re.search(r"weight ([\d.]+)", said)
    assert shown is not None and float(shown[1]) == pytest.approx(float(weights[0, key]), abs=1e-3)


def test_a_patch_erased_by_key_changes_both_answers_to_pytorchs(live: Any, opened: Opened):
    choose(live, "erases", "picture")
    cell = live.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[0]
    live.execute_script("arguments[0].focus()", cell)
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SPACE):
        live.switch_to.active_element.send_keys(key)
    less = erased(opened.exhibit.recording.pixels, [SIDE + 1])
    assert says(live, "bars", f"With 1 of {PATCHES} patches erased, {answer(opened, less)}")
    focused = live.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("row 2, column 2")
    assert "erased" in focused.get_attribute("aria-label")
    focused.send_keys(Keys.SPACE)
    assert says(live, "bars", answer(opened, opened.exhibit.recording.pixels))
    assert "erased" not in text(live, "bars")


def erased_cells(browser: Any) -> list[int]:
    return list(
        browser.execute_script(
            """return [...document.querySelectorAll('[role=gridcell]')]
            .flatMap((cell, patch) => cell.matches('.is-erased') ? [patch] : [])"""
        )
    )


def test_a_quick_stroke_erases_all_on_its_way_and_the_other_button_nothing(live: Any):
    choose(live, "erases", "picture")
    cells = live.find_elements(By.CSS_SELECTOR, "[role=gridcell]")
    mouse = ActionChains(live, duration=0)
    mouse.move_to_element(cells[0]).click_and_hold()
    mouse.move_to_element(cells[3]).move_to_element(cells[15]).release().perform()
    assert erased_cells(live) == [0, 1, 2, 3, 7, 11, 15]
    ActionChains(live).context_click(cells[5]).perform()
    assert erased_cells(live) == [0, 1, 2, 3, 7, 11, 15]
    cells[5].click()
    ActionChains(live).send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.SPACE).perform()
    assert erased_cells(live) == [1, 2, 3, 5, 7, 11, 15]
    stops = live.find_elements(By.CSS_SELECTOR, "[role=gridcell][tabindex='0']")
    assert [each.get_attribute("aria-label") for each in stops] == ["row 1, column 1"]


def swipe(browser: Any, *places: tuple[float, float]) -> None:
    """A finger over the picture, through places as shares of its sides."""
    box = browser.execute_script(
        """const grid = document.querySelector('.look-grid');
        grid.scrollIntoView({block: 'center', behavior: 'instant'});
        return grid.getBoundingClientRect()"""
    )
    points = [
        {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places
    ]
    for kind, point in zip(["touchStart", *["touchMove"] * len(points)], points, strict=False):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_that_scrolls_over_the_first_pages_picture_erases_nothing(first: Any):
    resize(first, NARROW)
    touch = {"enabled": True, "maxTouchPoints": 1}
    first.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
    try:
        swipe(first, *[(0.4, 0.9 - 0.1 * step) for step in range(8)])
        assert erased_cells(first) == []
        assert not [url for url in requested(first) if "weights/" in url]
        swipe(first, (0.1, 0.4), (0.4, 0.4), (0.6, 0.42), (0.9, 0.4))
        assert wait(lambda: erased_cells(first) == [4, 5, 6, 7])
        swipe(first, (0.9, 0.9))
        assert wait(lambda: erased_cells(first) == [4, 5, 6, 7, 15])
    finally:
        first.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_page_erases_the_brightest_patches_of_the_map_that_is_shown(live: Any, opened: Opened):
    pixels = opened.exhibit.recording.pixels
    slide(live, "Layer", 2)
    choose(live, "head 3", "maps")
    row = attention(opened, pixels)[1, 2, 0, PREFIX:]
    slide(live, "Patches erased", 5)
    brightest = row.argsort(descending=True)[:5].tolist()
    expected = answer(opened, erased(pixels, brightest))
    assert says(live, "bars", f"With 5 of {PATCHES} patches erased, {expected}")
    choose(live, "the darkest", "experiment")
    darkest = row.argsort()[:5].tolist()
    assert says(live, "bars", answer(opened, erased(pixels, darkest)))
    shown = live.execute_script("return location.hash")
    assert sorted(p + 1 for p in darkest) == sorted(
        map(int, shown.partition("erased=")[2].split("."))
    )


def test_curve_follows_both_networks_to_the_empty_picture(live: Any, opened: Opened):
    pixels = opened.exhibit.recording.pixels
    click(live, "Draw the whole curve")
    assert says(live, "experiment", "mean probability over the curve")
    plot = live.find_element(By.CSS_SELECTOR, "svg.look-plot[role=img]")
    points = re.findall(r"(\d+): (<?\d+%), (<?\d+%)", plot.get_attribute("aria-label"))
    assert [int(number) for number, *_ in points] == list(range(PATCHES + 1))
    row = attention(opened, pixels)[-1].mean(dim=0)[0, PREFIX:]
    order = row.argsort(descending=True).tolist()
    for number in (0, 4, PATCHES):
        for model, shown in zip((opened.student, opened.teacher), points[number][1:], strict=True):
            with torch.inference_mode():
                first = int(model(pixels[None]).argmax())
                less = erased(pixels, order[:number])
                share = model(less[None])[0].softmax(dim=0)[first]
            assert re.fullmatch(about(percent(float(share))), shown)


def test_a_view_is_linked_by_its_address(browser: Any, opened: Opened):
    chosen = opened.exhibit.pictures[1]
    browser.get("about:blank")
    browser.get(f"{opened.path.as_uri()}#image={chosen.name}&layer=3&token=6&map=2&erased=1.16")
    maps = attention(opened, erased(eval_transform(SIZE)(chosen.image), [0, 15]))
    row = maps[2, 1, PREFIX + 5]
    expected = f"Layer 3, head 2: the patch in row 2, column 2 {strongest(row)}"
    assert says(browser, "said", expected)
    choose(browser, "distillation", "picture")
    shown = browser.execute_script("return location.hash")
    assert "token=distillation" in shown and f"image={chosen.name}" in shown
    browser.get("about:blank")
    browser.get(f"{opened.path.as_uri()}#image=none&layer=99&token=x&map=7&erased=0.900")
    assert says(browser, "said", "Layer 12, mean of heads: the class token")


def open_view(browser: Any, opened: Opened, address: str) -> None:
    browser.get("about:blank")
    browser.get(f"{opened.path.as_uri()}#{address}")


def test_the_address_of_a_step_sets_the_page_as_its_button_does(browser: Any, opened: Opened):
    resize(browser, (1400, 1000))
    open_view(browser, opened, "step=2")
    assert says(browser, "said", "Layer 1, mean of heads: the class token")
    open_view(browser, opened, "step=6")
    assert says(browser, "said", "Rollout through layer 12: the class token")
    open_view(browser, opened, "step=6&layer=4&map=3")
    assert says(browser, "said", "Layer 4, head 3: the class token")
    click(browser, "Explore freely")
    click(browser, "Start the six steps")
    browser.refresh()
    assert box(browser, "show the picture alone").is_selected()


def test_a_worked_pair_is_in_the_address(live: Any, opened: Opened):
    choose(live, "head 2", "maps")
    choose(live, "mean", "maps")
    choose(live, "pairs", "picture")
    live.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[6].click()
    told = "Layer 12, head 2: the class token asks the patch in row 2, column 3."
    assert says(live, "weight", told)
    live.refresh()
    assert says(live, "weight", told)


@pytest.mark.parametrize("token", ["toString", "constructor", "17", "0", ""])
def test_a_token_that_is_none_is_left_out_of_the_address(browser: Any, opened: Opened, token: str):
    open_view(browser, opened, f"token={token}")
    assert says(browser, "said", "Layer 12, mean of heads: the class token")


def test_a_curve_may_be_asked_for_before_the_networks_have_come(browser: Any, opened: Opened):
    open_view(browser, opened, f"image={opened.exhibit.pictures[1].name}&map=2")
    click(browser, "Draw the whole curve")
    assert says(browser, "experiment", "Stop")
    assert says(browser, "experiment", "mean probability over the curve")
    assert "Draw the whole curve" in text(browser, "experiment")
    assert console_faults(browser) == []


def test_networks_that_could_not_be_loaded_are_loaded_on_the_second_try(page: Any):
    page.execute_script(
        """const append = HTMLHeadElement.prototype.append;
        window.mend = () => { HTMLHeadElement.prototype.append = append; };
        HTMLHeadElement.prototype.append = function(script) {
            if (script.src.includes('teacher-')) setTimeout(script.onerror ?? (
                () => script.dispatchEvent(new Event('error'))));
            else append.call(this, script);
        };"""
    )
    click(page, "Run the networks")
    loading = page.find_element(By.CLASS_NAME, "look-loading")
    assert wait(lambda: re.search("could not be loaded: .*teacher-0", loading.text), 60)
    page.execute_script("mend()")
    click(page, "Run the networks")
    assert wait(lambda: "Both networks run" in loading.text, 60)
    assert console_faults(page) == []


def test_six_steps_ask_one_question_each_and_then_let_go(page: Any):
    guide = page.find_element(By.CLASS_NAME, "look-guide")
    asked = []
    for step in range(1, 7):
        assert f"{step} of 6" in guide.text and guide.text.count("?") >= 1
        asked.append(guide.text.splitlines()[0])
        click(page, "Finish" if step == 6 else "Next")
    assert len(set(asked)) == 6 and "Explore freely" in guide.text
    click(page, "Start the six steps")
    click(page, "Next")
    assert says(page, "said", "Layer 1, mean of heads: the class token")


def test_pictures_are_placed_as_in_evaluation(browser: Any, tmp_path: Path):
    """Upright, on white, of any size; the script's pixels are those of PyTorch's transform."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (90, 130, 3), dtype=np.uint8))
    clear = Image.new("RGBA", (80, 80), (200, 0, 0, 0))
    turned = Image.fromarray(
        np.kron(rng.integers(0, 255, (4, 6, 3)), np.ones((20, 20, 1))).astype("u1")
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    files = {}
    for name, image, options in (
        ("noise.png", noise, {}),
        ("clear.png", clear, {}),
        ("small.png", noise.resize((20, 31)), {}),
        ("turned.png", turned, {"exif": exif}),
    ):
        stream = io.BytesIO()
        image.save(stream, "PNG", **options)
        files[name] = list(stream.getvalue())
    scripts = look_inside.read_scripts(("drawing", "pictures"))
    vit = {"grid": [4, 4], "depth": 1, "heads": 1, "patch": 16, "prefix": ["cls_token"]}
    networks = {role: {"title": role} for role in ("student", "teacher")}
    size = {"size": [SIZE, SIZE], "resized": 73}
    numbers = size | {"classes": ["a"], "networks": networks, "vit": vit}
    path = tmp_path / "pictures.html"
    path.write_text(
        "<!doctype html><meta charset=utf-8><div class=look-inside><script type=application/json>"
        f"{json.dumps(numbers)}</script><script>{scripts}</script></div>"
    )
    browser.get(path.as_uri())
    script = """const [bytes, done] = arguments;
        readPicture(new Blob([new Uint8Array(bytes)])).then(
            picture => done(Array.from(placePicture(picture).pixels)), e => done(e.message))"""
    white = Image.new("RGB", clear.size, "white")
    for name, expected in (
        ("noise.png", noise),
        ("clear.png", white),
        ("small.png", noise.resize((20, 31))),
        ("turned.png", turned.transpose(Image.Transpose.ROTATE_270)),
    ):
        pixels = browser.execute_async_script(script, files[name])
        shown = np.array(pixels).reshape(SIZE, SIZE, 3)
        wanted = eval_transform(SIZE)(expected).permute(1, 2, 0).numpy()
        assert np.abs(shown - wanted).max() <= 2.5 / 255, name
    told = browser.execute_async_script(script, list(b"%PDF-1.4 no picture"))
    assert told.startswith("That is no picture that this browser can open.")


def test_a_file_that_is_no_picture_gets_one_sentence(live: Any, opened: Opened, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("words")
    live.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / "notes.txt"))
    alert = live.find_element(By.CSS_SELECTOR, "[role=alert]")
    assert wait(lambda: alert.text.startswith("That is no picture"))
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 100, 3), dtype="u1"))
    picture.save(tmp_path / "own.png")
    live.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / "own.png"))
    assert says(live, "bars", answer(opened, eval_transform(SIZE)(picture)))
    assert alert.text == ""


def test_a_picture_of_ones_own_may_be_thin_and_no_offered_one_stays_chosen(
    live: Any, opened: Opened, tmp_path: Path
):
    thin = Image.fromarray(np.random.default_rng(2).integers(0, 255, (8, 900, 3), dtype="u1"))
    thin.save(tmp_path / "thin.png")
    live.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / "thin.png"))
    assert says(live, "bars", answer(opened, eval_transform(SIZE)(thin)))
    assert not live.find_elements(By.CSS_SELECTOR, ".look-pictures input:checked")
    assert console_faults(live) == []


def test_a_strip_of_any_length_is_answered_in_seconds(live: Any, opened: Opened, tmp_path: Path):
    strip = Image.fromarray(np.random.default_rng(4).integers(0, 255, (20_000, 2, 3), dtype="u1"))
    strip.resize((1, 60_000)).save(tmp_path / "longer.png")
    strip.crop((0, 0, 2, 9000)).save(tmp_path / "long.png")
    chooser = live.find_element(By.CSS_SELECTOR, "input[type=file]")
    before = text(live, "bars")
    chooser.send_keys(str(tmp_path / "longer.png"))
    assert wait(lambda: text(live, "bars") != before, 10)
    chooser.send_keys(str(tmp_path / "long.png"))
    assert says(live, "bars", answer(opened, eval_transform(SIZE)(strip.crop((0, 0, 2, 9000)))))
    assert console_faults(live) == []


def test_a_picture_dropped_anywhere_in_the_page_is_taken(live: Any, opened: Opened, tmp_path: Path):
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype="u1"))
    picture.save(tmp_path / "dropped.png")
    heading = live.find_element(By.TAG_NAME, "h1").rect
    place = {"x": heading["x"] + 9, "y": heading["y"] + 9}
    files = {"items": [], "files": [str(tmp_path / "dropped.png")], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        event = {"type": step, "data": files} | place
        live.execute_cdp_cmd("Input.dispatchDragEvent", event)
    assert says(live, "bars", answer(opened, eval_transform(SIZE)(picture)))


def test_a_drawing_made_with_keys_alone_is_answered(live: Any):
    before = text(live, "bars")
    click(live, "Draw")
    sheet = live.find_element(By.CSS_SELECTOR, "dialog canvas")
    live.execute_script("arguments[0].focus()", sheet)
    for key in (Keys.SPACE, *[Keys.ARROW_DOWN] * 5, *[Keys.ARROW_RIGHT] * 4):
        live.switch_to.active_element.send_keys(key)
    click(live, "Use it")
    assert wait(lambda: text(live, "bars") != before, 60)
    assert not live.find_elements(By.CSS_SELECTOR, "dialog")


def test_targets_are_large_enough_and_nothing_overflows_a_phone(live: Any):
    assert live.execute_script(SMALL_TARGETS) == []
    for width in (NARROW[0], 360):
        resize(live, (width, 844))
        assert live.execute_script("return document.documentElement.scrollWidth") <= width
        assert live.execute_script(SMALL_TARGETS) == []


def test_static_figure_gives_way_and_comes_back_in_print(page: Any, opened: Opened):
    still = page.find_element(By.CLASS_NAME, "look-static")
    assert not still.is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert still.is_displayed() and "needs JavaScript" in still.text
        assert not page.find_element(By.CLASS_NAME, "look-live").is_displayed()
        drawing = still.find_element(By.TAG_NAME, "svg").get_attribute("aria-label")
        assert "times an equal share in layer 1" in drawing
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture
def first(browser: Any, opened: Opened) -> Any:
    """The small view of the first page as it is first painted."""
    resize(browser, (1400, 1000))
    browser.get("about:blank")
    requested(browser)
    browser.get(opened.path.with_name("first.html").as_uri())
    return browser


def first_says(browser: Any, words: str) -> bool:
    """Whether the small view says so within a minute."""
    figure = browser.find_element(By.CLASS_NAME, "look-small")
    return bool(wait(lambda: re.search(about(words), figure.text), 60))


def test_first_page_looks_through_the_layers_of_a_recording_without_weights(
    first: Any, opened: Opened
):
    pixels = opened.exhibit.recording.pixels
    maps = attention(opened, pixels)
    assert first_says(first, answer(opened, pixels))
    last = strongest(maps[-1].mean(dim=0)[0])
    assert first_says(first, f"Layer 12, mean of heads: the class token {last}")
    slide(first, "Layer", 3)
    assert first_says(
        first, f"Layer 3, mean of heads: the class token {strongest(maps[2].mean(0)[0])}"
    )
    choose(first, "rollout")
    rolled = attention_rollout(list(maps[:3, None]))[0, 0]
    assert first_says(first, f"Rollout through layer 3: the class token {strongest(rolled)}")
    assert not [url for url in requested(first) if "weights/" in url]
    assert "A recorded answer is shown." in first.find_element(By.CLASS_NAME, "look-loading").text
    assert console_faults(first) == []


def test_first_page_runs_both_networks_once_a_patch_is_erased(first: Any, opened: Opened):
    pixels = opened.exhibit.recording.pixels
    cell = first.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[0]
    first.execute_script("arguments[0].focus()", cell)
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SPACE):
        first.switch_to.active_element.send_keys(key)
    less = erased(pixels, [SIDE + 1])
    assert first_says(first, f"With 1 of {PATCHES} patches erased, {answer(opened, less)}")
    focused = first.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("row 2, column 2")
    assert "erased" in focused.get_attribute("aria-label")
    maps = attention(opened, less)
    slide(first, "Layer", 2)
    assert first_says(
        first, f"Layer 2, mean of heads: the class token {strongest(maps[1].mean(0)[0])}"
    )
    loaded = [url for url in requested(first) if "weights/" in url]
    assert len(loaded) == len(set(loaded)) == len(list((opened.path.parent / "weights").iterdir()))
    click(first, "Put all back")
    assert first_says(first, answer(opened, pixels))
    assert console_faults(first) == [] and outside_requests(first) == []


def test_until_networks_have_answered_the_page_claims_nothing_of_erased_patches(
    first: Any, opened: Opened
):
    first.execute_script("HTMLHeadElement.prototype.append = () => {}")  # no script ever loads
    first.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[0].click()
    told = first.find_element(By.CLASS_NAME, "look-told")
    assert wait(lambda: "erased" in first.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[0]
                .get_attribute("aria-label"))  # fmt: skip
    assert re.fullmatch(about(answer(opened, opened.exhibit.recording.pixels)), told.text)


def test_first_page_leads_to_the_same_view_of_the_whole_page(first: Any, opened: Opened):
    chosen = opened.exhibit.pictures[2]
    choose_picture(first, chosen.name)
    slide(first, "Layer", 3)
    first.find_elements(By.CSS_SELECTOR, "[role=gridcell]")[PATCHES - 1].click()
    less = erased(eval_transform(SIZE)(chosen.image), [PATCHES - 1])
    assert first_says(first, f"With 1 of {PATCHES} patches erased, {answer(opened, less)}")
    said = first.find_element(By.CLASS_NAME, "look-said").text
    first.find_element(By.LINK_TEXT, "Look inside at this view").click()
    assert says(first, "bars", answer(opened, less))
    assert says(first, "said", said)


def test_first_page_is_for_everyone(first: Any, opened: Opened):
    assert violations(first) == []
    for width in (1400, NARROW[0], 360):
        resize(first, (width, 844))
        assert first.execute_script("return document.documentElement.scrollWidth") <= width
        assert first.execute_script(SMALL_TARGETS) == []
    still = first.find_element(By.CLASS_NAME, "look-static")
    assert not still.is_displayed()
    first.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert still.is_displayed()
        assert not first.find_element(By.CLASS_NAME, "look-live").is_displayed()
    finally:
        first.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_chapters_link_to_a_view_names_keys_that_the_page_knows():
    inliner = SimpleNamespace(
        reporter=SimpleNamespace(error=lambda told, line: nodes.system_message(told)),
        problematic=lambda *_: nodes.problematic(),
    )
    (made,), problems = views.role(
        "view", "", "layer one <layer=1&map=mean>", 1, cast(Any, inliner)
    )
    assert (made.astext(), made["view"], problems) == ("layer one", "layer=1&map=mean", [])
    for wrong in ("no address", "words <lair=1>"):
        _, problems = views.role("view", "", wrong, 1, cast(Any, inliner))
        assert len(problems) == 1
    read = look_inside.read_scripts(("page",))
    assert all(f'"{key}"' in read for key in views.KEYS)
    notebook = (BOOK.parent / "notebooks" / "attention.ipynb").read_text(encoding="utf-8")
    linked = re.findall(r"\(\.\./explorer#([^)]*)\)", notebook)
    assert linked and all(views.is_view(each) for each in linked)
    for chapter in ("transformer", "vit", "deit"):
        assert "{view}`" in (BOOK / f"{chapter}.md").read_text(encoding="utf-8")


def test_a_notebooks_link_to_a_view_is_one_in_the_page_and_an_unknown_key_is_a_fault(
    tmp_path: Path,
):
    (tmp_path / "runs").mkdir()
    (tmp_path / "index.md").write_text("# Index\n", encoding="utf-8")
    (tmp_path / "explorer.md").write_text("# Look inside\n", encoding="utf-8")
    (tmp_path / "runs" / "maps.md").write_text(
        "# Maps\n\n[heads](../explorer#layer=1&map=1), [lairs](../explorer#lair=1)\n",
        encoding="utf-8",
    )
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser', 'attnbook.views']\n")
    with docutils_namespace(), (tmp_path / "warnings.txt").open("w") as stream:
        places = [tmp_path, tmp_path, tmp_path / "out", tmp_path / "trees"]
        Sphinx(*map(str, places), "html", status=None, warning=stream).build()  # type: ignore[arg-type]
    page = (tmp_path / "out" / "runs" / "maps.html").read_text(encoding="utf-8")
    address = re.escape("../explorer.html#layer=1&amp;map=1")
    assert re.search(f'href="{address}"><span[^>]*>heads</span></a>', page), "not its markup"
    warned = (tmp_path / "warnings.txt").read_text()
    assert "got 'lair=1'" in warned and "layer=1" not in warned
