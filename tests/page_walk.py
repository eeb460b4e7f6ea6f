"""Every page of a built book, opened from the disk without a network, in light and in the dark.

Pages of runs are of one form, and so are those of measurements: all are opened, and axe-core, the
dark and paper are for the first of each.
"""

import time
from dataclasses import dataclass, field
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
    """What was seen on one page, in all its looks together unless it says otherwise."""

    figures: list[dict[str, Any]]  # in light
    broken: list[str]
    width_on_phone: int  # pixels, on a screen of NARROW
    small_text: list[tuple[str, float]]  # letters of drawings below 6 pixels, on a PHONE
    violations: list[str] = field(default_factory=list)
    paper: dict[str, Any] | None = None  # what is printed from the dark
    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)  # requests, although they were blocked


def in_theme(browser: Any, path: Path, theme: str) -> None:
    """Open a page from the disk in a theme, from another page of the disk."""
    browser.execute_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    browser.get(path.as_uri())
    wait(lambda: browser.execute_script("return document.readyState") == "complete")
    wait(lambda: browser.execute_script("return document.fonts.status") == "loaded")


def in_light(browser: Any, path: Path) -> Visit:
    """Look at a page in light, wide and narrow."""
    resize(browser, WIDE)
    in_theme(browser, path, "light")
    time.sleep(0.2)  # scripts that start after loading, and what fades in
    figures, broken = browser.execute_script(FIGURES), browser.execute_script(BROKEN)
    resize(browser, NARROW)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    resize(browser, PHONE)
    small = browser.execute_script(SMALL_TEXT, 6)
    resize(browser, WIDE)
    return Visit(figures, broken, width, small)


def look_closely(browser: Any, path: Path, seen: Visit) -> None:
    """What axe-core finds on the page, which is open in light; then the page in the dark."""
    alone = path.name != "intro.html"  # which stands for what surrounds every article
    found = violations(browser, article_alone=alone)
    seen.violations += [f"light: {each}" for each in found]
    in_theme(browser, path, "dark")
    time.sleep(0.2)
    seen.broken += browser.execute_script(BROKEN)
    found = violations(browser, colours_alone=True, article_alone=alone)
    seen.violations += [f"dark: {each}" for each in found]
    resize(browser, PAPER)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen.paper = browser.execute_script(ON_PAPER)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def walk(browser: Any, html: Path) -> dict[str, Visit]:
    """Visit every page of the book in ``html``, by its place there."""
    browser.get((html / "intro.html").as_uri())
    console_faults(browser), outside_requests(browser)  # drops what earlier tests provoked
    visits: dict[str, Visit] = {}
    folders = [html / "runs" / name for name in ("records", "measurements")]
    alike = {path for folder in folders for path in sorted(folder.glob("*.html"))[1:]}
    with offline(browser):
        for path in built_pages(html):
            visit = in_light(browser, path)
            if path not in alike:
                look_closely(browser, path, visit)
            visit.console = console_faults(browser)
            visit.outside = outside_requests(browser)
            visits[path.relative_to(html).as_posix()] = visit
    browser.execute_script("localStorage.clear()")
    resize(browser, WIDE)
    return visits
