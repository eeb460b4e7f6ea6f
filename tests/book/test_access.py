"""The built book is for everyone: from a USB stick, by ear, on a phone, on paper, over a slow line.

Every page is opened from the disk with the network blocked, in light and in dark, and axe-core
looks at it. ``ATTNLIB_BOOK_HTML`` names the book, as in ``test_book.py``.
"""

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browsing import WIDE, built_pages, outside_requests, requested, resize, violations, wait
from bs4 import BeautifulSoup

pytestmark = pytest.mark.slow
PHONE = (360, 740)
THEMES = ("light", "dark")
BROKEN = """
const broken = [];
for (const image of document.images)
    if (image.loading !== 'lazy' && !image.naturalWidth) broken.push(`image ${image.src}`);
for (const font of document.fonts)
    if (font.status === 'error') broken.push(`font ${font.family}`);
for (const formula of document.querySelectorAll('math')) {
    const {width, height} = formula.getBoundingClientRect();
    if (formula.checkVisibility() && (!width || !height))
        broken.push(`formula ${formula.outerHTML}`);
}
for (const sheet of document.styleSheets)
    if (sheet.href && !sheet.ownerNode.sheet) broken.push(`style ${sheet.href}`);
return broken"""
SMALL_TEXT = """
return [...document.querySelectorAll('article svg text')].filter(text => text.textContent.trim())
    .map(text => [text.textContent.trim(), parseFloat(getComputedStyle(text).fontSize)
        * text.getScreenCTM().a]).filter(([_, size]) => size && size < arguments[0])"""
ON_PAPER = """
const shown = selector => [...document.querySelectorAll(selector)]
    .filter(e => e.getClientRects().length).map(e => e.outerHTML.slice(0, 100));
const paper = document.documentElement.clientWidth;
const lines = document.querySelector('article p, article li, #search-results') ?? document.body;
return {
    machinery: shown('.bd-sidebar, .bd-header-article, .prev-next-area, .copybtn, .headerlink, ' +
        '.toggle-button, .table-tools, dialog, [popover]'),
    untitled: Boolean(document.querySelector('article h1')) && !shown('article h1').length,
    cut: [...document.querySelectorAll('article img, article svg')]
        .filter(figure => figure.getBoundingClientRect().right > paper + 1)
        .map(figure => figure.outerHTML.slice(0, 100)),
    figures: shown('article img, article figure svg').length,
    background: getComputedStyle(document.body).backgroundColor,
    text: getComputedStyle(lines).color,
}"""


@dataclass
class Look:
    """What was found on one page in one theme."""

    violations: list[str]
    broken: list[str]
    outside: list[str]


def in_theme(browser: Any, path: Path, theme: str) -> None:
    """Open a page from the disk in a theme."""
    browser.execute_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    browser.get(path.as_uri())
    wait(lambda: browser.execute_script("return document.readyState") == "complete")
    wait(lambda: browser.execute_script("return document.fonts.status") == "loaded")


@pytest.fixture(scope="module")
def offline(browser: Any, html: Path) -> Iterator[Any]:
    """The browser without a network."""
    resize(browser, WIDE)
    browser.set_page_load_timeout(300)  # a busy machine takes its time, and axe-core reads it all
    browser.set_script_timeout(300)
    browser.execute_cdp_cmd("Network.enable", {})
    blocked = {"urls": ["http://*", "https://*", "ws://*", "wss://*"]}
    browser.execute_cdp_cmd("Network.setBlockedURLs", blocked)
    browser.get((html / "intro.html").as_uri())
    yield browser
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    browser.execute_script("localStorage.clear()")
    resize(browser, WIDE)


@pytest.fixture(scope="module")
def looks(offline: Any, html: Path) -> dict[str, Look]:
    """Every page in light and in dark, as axe-core and the browser see it."""
    outside_requests(offline)
    seen = {}
    for path in built_pages(html):
        for theme in THEMES:
            in_theme(offline, path, theme)
            time.sleep(0.2)  # what fades in
            broken = offline.execute_script(BROKEN)
            name = f"{path.relative_to(html).as_posix()}, {theme}"
            seen[name] = Look(violations(offline), broken, outside_requests(offline))
    return seen


def test_axe_finds_no_violation_on_any_page_in_light_or_dark(looks: dict[str, Look]):
    assert len(looks) >= 12
    assert {page: look.violations for page, look in looks.items() if look.violations} == {}


def test_axe_would_find_a_violation(offline: Any, html: Path):
    in_theme(offline, html / "intro.html", "light")
    offline.execute_script("document.querySelector('article').innerHTML += '<img src=data:,>'")
    assert any(found.startswith("image-alt") for found in violations(offline))


def test_pages_are_whole_without_a_network(looks: dict[str, Look]):
    assert {page: look.broken for page, look in looks.items() if look.broken} == {}
    assert {page: look.outside for page, look in looks.items() if look.outside} == {}


def test_search_answers_without_a_network_and_leads_to_its_page(offline: Any, html: Path):
    from selenium.webdriver.common.by import By

    offline.get((html / "intro.html").as_uri())
    offline.execute_script("document.querySelector('#pst-search-dialog').showModal()")
    offline.find_element(By.CSS_SELECTOR, "#pst-search-dialog input[name=q]").send_keys(
        "papermill\n"
    )
    assert wait(lambda: "search.html" in offline.current_url)

    def targets() -> set[Path]:
        links = offline.find_elements(By.CSS_SELECTOR, "#search-results li a")
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


def test_headings_make_an_outline(html: Path):
    for path in built_pages(html):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        article = soup.select_one("article") or soup
        levels = [int(tag.name[1]) for tag in article.find_all(re.compile(r"^h[1-6]$"))]
        assert levels and levels[0] == 1 and levels.count(1) == 1, (path.name, levels)
        steps = itertools.pairwise(levels)
        assert all(after <= before + 1 for before, after in steps), (path.name, levels)


def test_drawings_can_be_read_on_a_phone(offline: Any, html: Path):
    resize(offline, PHONE)
    small = {}
    for path in built_pages(html):
        if "<svg" not in path.read_text(encoding="utf-8"):
            continue
        in_theme(offline, path, "light")
        if texts := offline.execute_script(SMALL_TEXT, 6):
            small[path.name] = texts[:5]
    resize(offline, WIDE)
    assert small == {}


def test_printed_pages_hold_the_text_and_whole_figures_alone(offline: Any, html: Path):
    resize(offline, (660, 1000))  # A4 between its margins
    offline.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    figures, wrong = 0, {}
    for path in built_pages(html):
        in_theme(offline, path, "dark")
        seen = offline.execute_script(ON_PAPER)
        figures += seen["figures"]
        if seen["machinery"] or seen["cut"] or seen["untitled"]:
            wrong[path.name] = (seen["machinery"], seen["cut"], seen["untitled"])
        assert seen["background"] == "rgb(255, 255, 255)", path.name
        assert sum(map(int, re.findall(r"\d+", seen["text"])[:3])) < 300, (path.name, seen["text"])
    offline.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    resize(offline, WIDE)
    assert figures and wrong == {}
