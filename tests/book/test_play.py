"""Figures to play with answer to mouse and keyboard, and stand still without a script."""

from pathlib import Path
from typing import Any

import pytest
from browsing import WIDE, resize, wait
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow
FIGURES = {
    "query": "transformer",
    "order": "transformer",
    "patches": "vit",
    "reach": "attention_in_vision",
}


def open_figure(browser: Any, html: Path, name: str) -> Any:
    resize(browser, WIDE)
    browser.get((html / f"{FIGURES[name]}.html").as_uri())
    return wait(lambda: browser.find_elements(By.CSS_SELECTOR, f'[data-play="{name}"]'))[0]


def said(figure: Any) -> str:
    text: str = figure.find_element(By.CSS_SELECTOR, ".play-said").text
    return text


def test_the_query_begins_where_the_chapters_example_does(browser: Any, html: Path):
    figure = open_figure(browser, html, "query")
    assert said(figure) == "Weights 0.75 and 0.25, result (3.00, 2.00)."


def test_the_query_follows_the_keyboard_and_the_mouse(browser: Any, html: Path):
    figure = open_figure(browser, html, "query")
    first, _ = figure.find_elements(By.CSS_SELECTOR, "input[type=range]")
    first.send_keys(Keys.HOME)
    assert wait(lambda: said(figure).startswith("Weights 0.17 and 0.83"))
    plane = figure.find_element(By.TAG_NAME, "svg")
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element(plane).click().perform()
    assert wait(lambda: said(figure) == "Weights 0.50 and 0.50, result (2.00, 4.00).")


def test_the_order_counts_only_with_positions(browser: Any, html: Path):
    figure = open_figure(browser, html, "order")
    shuffle = figure.find_element(By.TAG_NAME, "button")
    browser.execute_script("Math.random = (n => () => (n = (n * 7 + 3) % 11) / 11)(2)")
    shuffle.send_keys(Keys.ENTER)
    assert wait(lambda: said(figure).endswith("another answer."))
    figure.find_element(By.CSS_SELECTOR, "input[type=checkbox]").send_keys(Keys.SPACE)
    assert wait(lambda: said(figure).endswith("the same."))


def test_patches_count_tokens_and_work_as_the_chapter_does(browser: Any, html: Path):
    figure = open_figure(browser, html, "patches")
    assert said(figure).startswith("Patches of 16 pixels: 197 tokens")
    figure.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.ARROW_RIGHT)
    assert wait(lambda: said(figure).startswith("Patches of 28 pixels: 65 tokens"))


def test_convolutions_reach_what_the_chapters_equation_says_and_attention_all(
    browser: Any, html: Path
):
    figure = open_figure(browser, html, "reach")
    assert "r = 7: the marked output depends on 49 of 225" in said(figure)
    layers, _ = figure.find_elements(By.CSS_SELECTOR, "input[type=range]")
    layers.send_keys(Keys.ARROW_LEFT)
    assert wait(lambda: "r = 5: the marked output depends on 25 of 225" in said(figure))
    figure.find_element(By.CSS_SELECTOR, "input[type=checkbox]").send_keys(Keys.SPACE)
    assert wait(lambda: said(figure).endswith("depends on all 225 positions."))


@pytest.mark.parametrize("name", FIGURES)
def test_paper_has_the_still_drawing(browser: Any, html: Path, name: str):
    open_figure(browser, html, name)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = browser.execute_script(
            "const live = document.querySelector(`[data-play='${arguments[0]}']`);"
            "const figure = live.closest('figure');"
            "return ['.play-still', '.play-live'].map("
            "part => figure.querySelector(part).getClientRects().length > 0)",
            name,
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == [True, False]
