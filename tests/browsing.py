"""Chromium for the tests of the book, and what they ask of it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fetch_axe
import pytest

AXE = """
const [coloursAlone, excluded, done] = arguments;
const run = async (context, choice) => {
    const options = {resultTypes: ['violations'], preload: false};  // no style sheet by a request
    const {violations} = await axe.run(context, {...options, ...choice});
    return violations.flatMap(rule => rule.nodes.map(
        node => `${rule.id}: ${node.target} ${node.html.slice(0, 120)}`));
};
const grounds = new Map([[null, '']]);
const ground = element => {  // what text in the element stands on
    if (!grounds.has(element)) {
        const {backgroundColor, backgroundImage, opacity} = getComputedStyle(element);
        const own = `${backgroundColor} ${backgroundImage} ${opacity}, `;
        const seen = own === 'rgba(0, 0, 0, 0) none 1, ' ? '' : own;
        grounds.set(element, seen + ground(element.parentElement));
    }
    return grounds.get(element);
};
const looks = new Map();  // of text, each with its first element: axe takes its time over colours
for (const element of document.body.querySelectorAll('*')) {
    const says = [...element.childNodes].some(
        node => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!says || !element.checkVisibility() || excluded.some(([part]) => element.closest(part)))
        continue;
    const {color, fontSize, fontWeight} = getComputedStyle(element);
    const around = getComputedStyle(element.parentElement).color;
    const kind = [element.localName, element.className, fontSize, fontWeight];
    const look = [...kind, color, around, ground(element)].join();
    if (!looks.has(look)) looks.set(look, element);
}
const colours = ['color-contrast', 'link-in-text-block'];  // that a theme can break alone
const others = Object.fromEntries(colours.map(rule => [rule, {enabled: false}]));
(async () => {
    const first = {include: [...looks.values()]};
    const found = await run(first, {runOnly: {type: 'rule', values: colours}});
    if (!coloursAlone) found.push(...await run({exclude: excluded}, {rules: others}));
    done(found);
})()"""
SURROUNDINGS = [[".bd-sidebar"], [".bd-header"], ["footer"]]  # of the article, alike on all pages
WIDE, NARROW = (1400, 1000), (390, 844)


def open_browser(profile: Path) -> Iterator[Any]:
    """Headless Chromium with its console and its network in the logs."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("NO BROWSER, so nobody looked at the book: apt install chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-dev-shm-usage",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(300)  # a busy machine takes its time, and axe-core reads it all
    chrome.set_script_timeout(300)
    chrome.get("about:blank")
    chrome.get_log("performance")  # drops what the browser's own first page asked for
    yield chrome
    chrome.quit()


def built_pages(html: Path) -> list[Path]:
    """The book's pages, without the theme's own templates."""
    return sorted(p for p in html.rglob("*.html") if "_static" not in p.relative_to(html).parts)


def resize(browser: Any, size: tuple[int, int]) -> None:
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of ``condition``, or its last false one."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


@contextmanager
def offline(browser: Any) -> Iterator[None]:
    """Without a network; what is asked of it is listed all the same."""
    browser.execute_cdp_cmd("Network.enable", {})
    blocked = {"urls": ["http://*", "https://*", "ws://*", "wss://*"]}
    browser.execute_cdp_cmd("Network.setBlockedURLs", blocked)
    yield
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def requested(browser: Any) -> list[str]:
    """Requests since the last call, as URLs."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def outside_requests(browser: Any) -> list[str]:
    """Requests since the last call to anything but the disk."""
    return [u for u in requested(browser) if urlsplit(u).scheme in {"http", "https", "ws", "wss"}]


def console_faults(browser: Any) -> list[str]:
    return [e["message"] for e in browser.get_log("browser") if e["level"] in {"SEVERE", "WARNING"}]


def violations(
    browser: Any, *, colours_alone: bool = False, article_alone: bool = False
) -> list[str]:
    """What axe-core finds wrong; in colours, one text of each look stands for all."""
    assert fetch_axe.SCRIPT.exists(), "axe-core is missing: `make test` fetches it first"
    browser.execute_script(fetch_axe.SCRIPT.read_text(encoding="utf-8"))
    excluded = SURROUNDINGS if article_alone else []
    return list(browser.execute_async_script(AXE, colours_alone, excluded))
