"""The linked confusion matrix: its counts, which images get a picture, and how it answers."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browsing import NARROW, console_faults, resize, wait
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from attnlib.compare import confusion_page, paired_tests
from attnlib.compare.comparison import Comparison
from attnlib.data.datasets import Split

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"


def compare(n: int = 400, classes: int = 4) -> Comparison:
    """Two invented runs, the second worse than the first."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    logits = {}
    for name, share in (("good", 0.9), ("bad", 0.7)):
        decisions = np.where(rng.random(n) < share, labels, rng.integers(0, classes, n))
        logits[name] = np.eye(classes, dtype=np.float32)[decisions]
    names = tuple(f"class {place}" for place in range(classes))
    return Comparison(dict.fromkeys(logits), logits, labels, names, {})


def pictures(n: int = 400) -> Split:
    images = np.random.default_rng(1).integers(0, 255, (n, 8, 8, 3)).astype(np.uint8)
    return Split(images, np.zeros(n, np.int64), np.arange(n))


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r"<script type=\"application/json\">(.*?)</script>", html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_plain_table_holds_the_counts() -> None:
    some = compare()
    html = confusion_page.linked_confusion(some, None, "good", "bad")
    cells = [int(cell) for cell in re.findall(r"<td>(\d+)</td>", html)]
    assert cells == paired_tests.count_confusions(some, "good").reshape(-1).tolist()
    sizes = paired_tests.error_sets(some.correct("good"), some.correct("bad"))
    assert f"right about {len(sizes.only_a):,} images" in html and "McNemar" in html


def test_data_are_the_decisions_of_both() -> None:
    some = compare()
    data = data_of(confusion_page.linked_confusion(some, None, "good", "bad"))
    first, second = (np.frombuffer(base64.b64decode(d), np.uint8) for d in data["decisions"])
    assert first.tolist() == some.decisions("good").tolist()
    assert second.tolist() == some.decisions("bad").tolist()
    assert "sheet" not in data  # without images: their numbers


def test_every_kind_of_error_gets_pictures_before_one_gets_all() -> None:
    some = compare(4000)
    labels, a, b = some.labels, some.decisions("good"), some.decisions("bad")
    kinds = len({k for k in zip(labels, a, b, strict=True) if not k[0] == k[1] == k[2]})
    chosen = confusion_page.choose_pictures(some, "good", "bad", kinds)
    shown = {(labels[i], a[i], b[i]) for i in chosen}
    assert len(shown) == kinds == len(chosen)


def test_pictures_are_capped_and_the_sheet_is_small() -> None:
    some = compare(10_000, classes=10)
    html = confusion_page.linked_confusion(some, pictures(10_000), "good", "bad")
    assert len(data_of(html)["places"]) == confusion_page.PICTURES
    assert len(html) < 1_500_000


def test_many_classes_have_no_table() -> None:
    html = confusion_page.linked_confusion(compare(classes=50), None, "good", "bad")
    assert "<table" not in html and "50 classes" in html


def test_p_value_too_small_to_write_is_bounded_in_words_that_an_epub_can_hold() -> None:
    html = confusion_page.linked_confusion(compare(10_000), None, "good", "bad")
    assert "p-value: < 0.001" in "".join(ElementTree.fromstring(html).itertext())  # XML, too


def test_names_cannot_break_out_of_the_page() -> None:
    some = compare()
    names = ("</script><b>", *some.class_names[1:])
    some = Comparison(some.runs, some.logits, some.labels, names, {})
    html = confusion_page.linked_confusion(some, None, "good", "bad")
    assert "<b>" not in html.replace(json.dumps("<b>"), "").split("<script")[0]
    assert html.count("</script>") == 1


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    """The browser on a page with the matrix of two invented runs."""
    return open_page(browser, tmp_path, compare())


def open_page(browser: Any, folder: Path, shown: Comparison) -> Any:
    html = confusion_page.linked_confusion(shown, pictures(), "good", "bad", "Invented images.")
    style = (STATIC / "confusion.css").read_text(encoding="utf-8")
    script = (STATIC / "confusion.js").read_text(encoding="utf-8")
    page = folder / "page.html"
    page.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
        '<meta name="viewport" content="width=device-width">'
        f"<style>{style}</style><article>{html}</article><script>{script}</script></html>",
        encoding="utf-8",
    )
    resize(browser, (800, 900))
    browser.get(page.as_uri())
    return browser


def matrix(browser: Any) -> np.ndarray:
    cells = browser.find_elements(By.CSS_SELECTOR, ".linked-confusion td")
    return np.array([int(cell.text) for cell in cells]).reshape(4, 4)


def choose(browser: Any, label: str) -> None:
    browser.find_element(By.XPATH, f"//label[contains(., '{label}')]").click()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["<!--<script>", "</script><script>window.pwned = 1</script>"])
def test_class_called_like_a_script_is_a_class(browser: Any, tmp_path: Path, name: str) -> None:
    some = compare()
    some = Comparison(some.runs, some.logits, some.labels, (name, *some.class_names[1:]), {})
    opened = open_page(browser, tmp_path, some)
    assert matrix(opened).sum() == len(some.labels)
    opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")[1].click()
    text = opened.find_element(By.CLASS_NAME, "confusion-opened").text
    assert f"images of the true class {name} that good takes for class 1." in text
    assert opened.execute_script("return window.pwned ?? null") is None
    assert console_faults(opened) == []


@pytest.mark.slow
def test_cell_opens_its_images_by_mouse(opened: Any) -> None:
    some = compare()
    cell = opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")[1]
    cell.click()
    own = np.flatnonzero((some.labels == 0) & (some.decisions("good") == 1))
    tiles = opened.find_elements(By.CSS_SELECTOR, ".confusion-opened [role=img]")
    told = [tile.get_attribute("aria-label") for tile in tiles]
    assert [int(re.findall(r"\d+", each)[0]) for each in told] == own.tolist()
    assert all("good says class 1" in each for each in told)
    assert "data:image/jpeg" in tiles[0].value_of_css_property("background-image")
    words = f"{len(own)} images of the true class class 0 that good takes for class 1."
    text = opened.find_element(By.CLASS_NAME, "confusion-opened").text
    assert words in text and "what good says | what bad says" in text
    assert console_faults(opened) == []


@pytest.mark.slow
def test_first_right_second_wrong_counts_what_the_second_takes_them_for(opened: Any) -> None:
    some = compare()
    choose(opened, "only good is right")
    places = paired_tests.error_sets(some.correct("good"), some.correct("bad")).only_a
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (some.labels[places], some.decisions("bad")[places]), 1)
    assert (matrix(opened) == expected).all()
    choose(opened, "both are wrong")
    both = paired_tests.error_sets(some.correct("good"), some.correct("bad")).both_wrong
    assert matrix(opened).sum() == len(both) and matrix(opened).trace() == 0


@pytest.mark.slow
def test_runs_go_by_their_names(opened: Any) -> None:
    labels = [label.text for label in opened.find_elements(By.CSS_SELECTOR, ".confusion label")]
    assert [label.split(" (")[0] for label in labels] == [
        "all images", "only good is right", "only bad is right", "both are wrong", "good", "bad"
    ]  # fmt: skip
    text = opened.find_element(By.TAG_NAME, "article").text.lower()
    assert "first" not in text.replace("the first two counts", "") and "second" not in text
    choose(opened, "only good is right")
    opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")[1].click()
    text = opened.find_element(By.CLASS_NAME, "confusion-opened").text
    assert text.startswith("Where only good is right: ") and "that bad takes for class 1" in text


@pytest.mark.slow
def test_another_choice_keeps_the_open_cell_and_counts_its_images_anew(opened: Any) -> None:
    some = compare()
    opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")[1].click()
    choose(opened, "both are wrong")
    both = paired_tests.error_sets(some.correct("good"), some.correct("bad")).both_wrong
    count = sum(some.labels[i] == 0 and some.decisions("good")[i] == 1 for i in both)
    (cell,) = opened.find_elements(By.CSS_SELECTOR, "td[aria-selected=true]")
    assert int(cell.text) == count
    text = opened.find_element(By.CLASS_NAME, "confusion-opened").text
    assert text.startswith(f"Where both are wrong: {count} image")


@pytest.mark.slow
def test_a_network_that_was_chosen_stays_chosen_when_other_images_are_counted(opened: Any) -> None:
    radios = opened.find_elements(By.CSS_SELECTOR, ".confusion fieldset:last-of-type input")
    radios[1].click()
    radios[0].click()
    choose(opened, "only good is right")
    assert radios[0].is_selected() and not radios[1].is_selected()


@pytest.mark.slow
def test_rows_and_columns_say_what_they_are(opened: Any) -> None:
    for label in ("true class", "decision"):
        heading = opened.find_element(By.XPATH, f"//thead//th[.='{label}']")
        assert heading.is_displayed()
        assert heading.value_of_css_property("writing-mode") == "horizontal-tb"


@pytest.mark.slow
def test_arrow_keys_walk_and_enter_opens(opened: Any) -> None:
    cells = opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")
    assert [cell.get_attribute("tabindex") for cell in cells] == ["0"] + ["-1"] * 15
    opened.execute_script("arguments[0].focus()", cells[0])
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER):
        opened.switch_to.active_element.send_keys(key)
    assert opened.switch_to.active_element == cells[9]
    assert cells[9].get_attribute("aria-selected") == "true"
    assert "true class class 2" in opened.find_element(By.CLASS_NAME, "confusion-opened").text


@pytest.mark.slow
def test_matrix_fits_a_phone(opened: Any) -> None:
    resize(opened, NARROW)
    cell = opened.find_elements(By.CSS_SELECTOR, ".linked-confusion td")[0]
    cell.click()
    assert wait(lambda: opened.find_elements(By.CSS_SELECTOR, ".confusion-opened li"))
    assert opened.execute_script("return document.documentElement.scrollWidth") <= NARROW[0]
