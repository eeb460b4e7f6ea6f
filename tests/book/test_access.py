"""The built book is for everyone: from a USB stick, by ear, on a phone, on paper, over a slow line.

``page_walk`` opens every page from the disk with the network blocked, in light and in dark, and
axe-core looks at it. ``ATTNLIB_BOOK_HTML`` names the book, as in ``test_book.py``.
"""

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browsing import NARROW, WIDE, built_pages, offline, requested, resize, violations, wait
from bs4 import BeautifulSoup
from page_walk import Visit, in_theme

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unconnected(browser: Any, html: Path) -> Iterator[Any]:
    """The browser without a network."""
    resize(browser, WIDE)
    with offline(browser):
        browser.get((html / "intro.html").as_uri())
        yield browser
        browser.execute_script("localStorage.clear()")
    resize(browser, WIDE)


def test_axe_finds_no_violation_on_any_page_in_light_or_dark(visits: dict[str, Visit]):
    assert len(visits) >= 12
    found = {page: visit.violations for page, visit in visits.items() if visit.violations}
    assert found == {}


@pytest.mark.parametrize(
    ("place", "spoil", "rule", "colours_alone"),
    [
        ("article", "innerHTML += '<img src=data:,>'", "image-alt", False),
        ("article p", "style.color = '#555'", "color-contrast", True),
        ("article section section:last-of-type p", "style.color = '#555'", "color-contrast", True),
        ("article p", "style.color = '#555'", "color-contrast", False),
        ("html", "removeAttribute('lang')", "html-has-lang", False),
    ],
)
def test_axe_would_find_a_violation(
    unconnected: Any, html: Path, place: str, spoil: str, rule: str, colours_alone: bool
):
    in_theme(unconnected, html / "intro.html", "dark")
    unconnected.execute_script(f"document.querySelector('{place}').{spoil}")
    found = violations(unconnected, colours_alone=colours_alone, article_alone=True)
    assert any(each.startswith(rule) for each in found)


def test_pages_are_whole_without_a_network(visits: dict[str, Visit]):
    assert {page: visit.broken for page, visit in visits.items() if visit.broken} == {}


def test_search_answers_without_a_network_and_leads_to_its_page(unconnected: Any, html: Path):
    from selenium.webdriver.common.by import By

    unconnected.get((html / "intro.html").as_uri())
    unconnected.execute_script("document.querySelector('#pst-search-dialog').showModal()")
    unconnected.find_element(By.CSS_SELECTOR, "#pst-search-dialog input[name=q]").send_keys(
        "papermill\n"
    )
    assert wait(lambda: "search.html" in unconnected.current_url)

    def targets() -> set[Path]:
        links = unconnected.find_elements(By.CSS_SELECTOR, "#search-results li a")
        return {Path(unquote(urlsplit(a.get_attribute("href")).path)) for a in links}

    assert wait(lambda: html / "reproduce.html" in targets()), targets()
    assert all(target.is_file() for target in targets())


def test_styles_name_nothing_outside(html: Path):
    outside = re.compile(
        r"""@import\s+(?:url\()?["']?(?:https?:)?//[^;]*|url\(\s*["']?(?:https?:)?//[^)]*\)"""
    )
    for path in html.rglob("*.css"):
        assert outside.findall(path.read_text(encoding="utf-8")) == [], path.name
    for path in built_pages(html):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"""url\(\s*["']?(?:https?:)?//[^)]*\)""", text) == [], path.name


def test_first_page_weighs_less_than_500_kb(browser: Any, html: Path):
    resize(browser, WIDE)
    browser.get("about:blank")
    requested(browser)
    browser.get((html / "index.html").as_uri())
    time.sleep(0.5)
    urls = {url.partition("?")[0].partition("#")[0] for url in requested(browser)}
    files = [Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")]
    sizes = {path.name: path.stat().st_size for path in files}
    assert {"index.html", "custom.css"} <= set(sizes)
    assert sum(sizes.values()) < 500_000, sorted(sizes.items(), key=lambda item: -item[1])


def test_look_inside_fits_one_screen_at_every_step(browser: Any, html: Path):
    heights = {}
    resize(browser, (1400, 1000))
    for step in range(7):
        browser.get("about:blank")
        browser.get(f"{(html / 'explorer.html').as_uri()}#step={step}")
        assert wait(lambda: browser.find_elements("css selector", ".look-lens td"), 60)
        heights[step] = browser.execute_script(
            "return document.querySelector('.look-live').getBoundingClientRect().height"
        )
    resize(browser, WIDE)
    assert {step: height for step, height in heights.items() if not 300 < height <= 1000} == {}


def test_headings_make_an_outline(html: Path):
    for path in built_pages(html):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        article = soup.select_one("article") or soup
        levels = [int(tag.name[1]) for tag in article.find_all(re.compile(r"^h[1-6]$"))]
        assert levels and levels[0] == 1 and levels.count(1) == 1, (path.name, levels)
        steps = itertools.pairwise(levels)
        assert all(after <= before + 1 for before, after in steps), (path.name, levels)


def test_drawings_can_be_read_on_a_phone(visits: dict[str, Visit]):
    small = {page: visit.small_text[:5] for page, visit in visits.items() if visit.small_text}
    assert small == {}


def test_printed_pages_hold_the_text_and_whole_figures_alone(visits: dict[str, Visit]):
    figures, wrong = 0, {}
    for page, seen in {page: v.paper for page, v in visits.items() if v.paper}.items():
        figures += seen["figures"]
        if seen["machinery"] or seen["cut"] or seen["untitled"]:
            wrong[page] = (seen["machinery"], seen["cut"], seen["untitled"])
        assert seen["background"] == "rgb(255, 255, 255)", page
        assert sum(map(int, re.findall(r"\d+", seen["text"])[:3])) < 300, (page, seen["text"])
    assert figures and wrong == {}


def test_no_page_writes_an_error_to_the_console(visits: dict[str, Visit]):
    assert len(visits) >= 6
    assert {page: visit.console for page, visit in visits.items() if visit.console} == {}


def test_no_page_asks_anything_of_the_network(visits: dict[str, Visit]):
    assert {page: visit.outside for page, visit in visits.items() if visit.outside} == {}


def test_every_figure_is_there_and_is_described(visits: dict[str, Visit]):
    figures = [(page, figure) for page, visit in visits.items() for figure in visit.figures]
    assert figures
    for page, figure in figures:
        assert figure["width"] > 0 and figure["height"] > 0, (page, figure)
        assert len(figure["alt"].split()) >= 3, (page, figure)
        assert not re.search(r"\.(png|svg|jpe?g)\b|_images/", figure["alt"]), (page, figure)


def test_no_page_scrolls_sideways_on_a_phone(visits: dict[str, Visit]):
    wide = {page: visit.width_on_phone for page, visit in visits.items()}
    assert {page: width for page, width in wide.items() if width > NARROW[0]} == {}
