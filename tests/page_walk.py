"""Every page of a built book, opened from the disk without a network, once in each theme."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browsing import (
    NARROW,
    WIDE,
    built_pages,
    console_faults,
    offline,
    outside_requests,
    resize,
    violations,
    wait,
)

PHONE, PAPER = (360, 740), (660, 1000)  # A4 between its margins
COLOURS = ["color-contrast", "link-in-text-block"]  # axe's rules that a theme can break alone
FIGURES = """
const seen = [...document.querySelectorAll('article img, article figure svg')]
    // not what gave way to a live figure, nor drawings whose words stand beside them
    .filter(seen => !seen.closest('.is-live > :is(.look-static, .play-still), [aria-hidden]'));
return seen.map(image => ({
    width: image.naturalWidth ?? image.getBoundingClientRect().width,
    height: image.naturalHeight ?? image.getBoundingClientRect().height,
    alt: image.getAttribute('alt') ?? image.getAttribute('aria-label') ?? '',
}))"""
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
class Visit:
    """What was seen on one page, in both themes together unless it says otherwise."""

    console: list[str]
    outside: list[str]  # requests, although they were blocked
    broken: list[str]
    violations: list[str]
    figures: list[dict[str, Any]]  # in light
    width_on_phone: int  # pixels, on a screen of NARROW
    small_text: list[tuple[str, float]]  # letters of drawings below 6 pixels, on a PHONE
    paper: dict[str, Any]  # what is printed from the dark


def in_theme(browser: Any, path: Path, theme: str) -> None:
    """Open a page from the disk in a theme, from another page of the disk."""
    browser.execute_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    browser.get(path.as_uri())
    wait(lambda: browser.execute_script("return document.readyState") == "complete")
    wait(lambda: browser.execute_script("return document.fonts.status") == "loaded")


def visit(browser: Any, path: Path) -> Visit:
    """Look at a page in light, wide and narrow, and in the dark, on a screen and on paper."""
    resize(browser, WIDE)
    in_theme(browser, path, "light")
    time.sleep(0.2)  # scripts that start after loading, and what fades in
    figures, broken = browser.execute_script(FIGURES), browser.execute_script(BROKEN)
    found = [f"light: {each}" for each in violations(browser)]
    resize(browser, NARROW)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    resize(browser, PHONE)
    small = browser.execute_script(SMALL_TEXT, 6)
    resize(browser, WIDE)
    in_theme(browser, path, "dark")
    time.sleep(0.2)
    broken += browser.execute_script(BROKEN)
    found += [f"dark: {each}" for each in violations(browser, COLOURS)]
    resize(browser, PAPER)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = browser.execute_script(ON_PAPER)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    console, outside = console_faults(browser), outside_requests(browser)
    return Visit(console, outside, broken, found, figures, width, small, paper)


def walk(browser: Any, html: Path) -> dict[str, Visit]:
    """Visit every page of the book in ``html``, by its place there."""
    browser.set_page_load_timeout(300)  # a busy machine takes its time, and axe-core reads it all
    browser.set_script_timeout(300)
    browser.get((html / "intro.html").as_uri())
    console_faults(browser), outside_requests(browser)  # drops what earlier tests provoked
    with offline(browser):
        seen = {p.relative_to(html).as_posix(): visit(browser, p) for p in built_pages(html)}
    browser.execute_script("localStorage.clear()")
    resize(browser, WIDE)
    return seen
