"""The book builds strictly, reads well in a browser, and asks nothing of the network.

``ATTNLIB_BOOK_HTML`` names a built book to look at, as `make test` does with the real one; without
it the tests build a small one from invented records.
"""

import os
import re
import time
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browsing import built_pages, console_faults, wait
from bs4 import BeautifulSoup
from pybtex.database import parse_file

from attnbook.mathml import to_mathml
from attnbook.way import is_appendix

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_no_page_shows_a_notebook_that_failed(html: Path):
    marks = ("papermill-error-cell", "An Exception was encountered", "output traceback")
    pages = {path.name: path.read_text(encoding="utf-8") for path in built_pages(html)}
    assert [name for name, text in pages.items() if any(mark in text for mark in marks)] == []


def test_no_markup_is_left_as_text(html: Path):
    left = re.compile(r"```|~~~|:::|\{[a-z:-]+\}`|(?<!\S):(?:name|label|width|alt):")
    found = {}
    for path in built_pages(html):
        page = path.read_text(encoding="utf-8")
        text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
        if marks := left.findall(text):
            found[path.name] = marks
    assert found == {}


def test_pages_with_data_stay_under_two_megabytes(html: Path):
    sizes = {page: (html / page).stat().st_size for page in ("explorer.html", "runs/errors.html")}
    assert {page: size for page, size in sizes.items() if size > 2_000_000} == {}


def test_next_and_previous_lead_through_every_chapter_and_back(html: Path):
    def linked(page: Path, selector: str) -> list[Path]:
        links = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select(selector)
        return [(page.parent / unquote(str(a["href"]).partition("#")[0])).resolve() for a in links]

    def follow(page: Path, button: str) -> list[Path]:
        order = [page]
        while found := linked(order[-1], f"a.{button}"):
            assert found[0] not in order, order
            order += found
        return order

    first = (html / "index.html").resolve()
    listed = {first, *linked(first, "nav.bd-docs-nav a.reference.internal[href*=html]")}
    pages = {path: path.relative_to(html).with_suffix("").as_posix() for path in listed}
    forward = follow(first, "right-next")
    assert set(forward) == {path for path, name in pages.items() if not is_appendix(name)}
    assert follow(forward[-1], "left-prev") == forward[::-1]


def test_search_finds_a_page_without_a_server(browser: Any, html: Path):
    from selenium.webdriver.common.by import By

    browser.get((html / "search.html").as_uri() + "?q=convolution")
    found = wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li a"))
    assert found
    target = Path(unquote(urlsplit(found[0].get_attribute("href")).path))
    assert target.is_file() and target.suffix == ".html"
    time.sleep(0.5)
    assert console_faults(browser) == []


def test_links_between_pages_lead_somewhere(html: Path):
    broken = []
    for path in built_pages(html):
        for link in re.findall(r'(?:href|src)="([^"#?]+)', path.read_text(encoding="utf-8")):
            if not urlsplit(link).scheme and not (path.parent / unquote(link)).exists():
                broken.append((path.name, link))
    assert broken == []


def test_links_into_a_page_meet_the_place_they_name(html: Path):
    texts = {path.resolve(): path.read_text(encoding="utf-8") for path in built_pages(html)}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    broken = []
    for path, text in texts.items():
        for link in re.findall(r'<a\b[^>]*?\bhref="([^"]*#[^"]+)"', text):
            page, place = unquote(unescape(link)).split("#", 1)
            target = (path.parent / page).resolve() if page else path
            if page.endswith("explorer.html") and "=" in place:
                continue  # a view of that page, which test_look_inside opens
            if not urlsplit(link).scheme and place not in places.get(target, {place}):
                broken.append((path.name, link))
    assert broken == []


def test_html_names_no_script_style_or_font_of_another_server(html: Path):
    tags = re.compile(
        r"<(?:script|link(?! rel=\"canonical\")|img|iframe|source)\b[^>]*?"
        r"(?:src|href)=\"(?:https?:)?//[^>]*>"
    )
    scripts = re.compile(r"<script\b[^>]*>[^<]*https?://[^<]*</script>")
    for path in built_pages(html):
        text = path.read_text(encoding="utf-8")
        assert tags.findall(text) + scripts.findall(text) == [], path.name


def test_colab_buttons_open_source_notebooks_that_exist(html: Path):
    notebooks = ROOT if os.environ.get("ATTNLIB_BOOK_HTML") else html.parents[1]
    links = {
        path.relative_to(html).as_posix(): re.findall(
            r"https://colab[^\"]+?/blob/main/([^\"#]+)", path.read_text(encoding="utf-8")
        )
        for path in built_pages(html)
    }
    assert set(links["runs/train.html"]) == {"notebooks/train.ipynb"}
    assert links["intro.html"] == links["reproduce.html"] == []
    assert all((notebooks / target).is_file() for targets in links.values() for target in targets)


def test_thesis_references_are_all_shown_under_the_thesis_numbers(html: Path):
    source = ROOT / "book" / "references.bib"
    entries = parse_file(source).entries
    numbers = {key: int(e.fields["thesis"]) for key, e in entries.items() if "thesis" in e.fields}
    assert sorted(numbers.values()) == list(range(1, 31))
    comments = re.findall(
        r"^% thesis \[(\d+)\]\n@\w+\{(\w+),", source.read_text("utf-8"), re.MULTILINE
    )
    assert {key: int(number) for number, key in comments} == numbers
    page = (html / "bibliography.html").read_text(encoding="utf-8")
    page = re.sub(r"<[^>]+>", "", page)
    shown = dict(re.findall(r"^\[(\d+)\]\n(.+)", page, re.MULTILINE))
    for key, number in numbers.items():
        entry = entries[key]
        author = str(entry.persons["author"][0].rich_last_names[-1])
        words = re.findall(r"[A-Za-z]{4,}", entry.fields["title"])
        assert all(word.lower() in shown[str(number)].lower() for word in words), (key, shown)
        assert author.strip("{}").lower() in shown[str(number)].lower(), (key, shown[str(number)])


def test_formula_that_cannot_be_shown_is_refused():
    aligned = to_mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "block")
    assert aligned.count("<mtr>") == 2
    for wrong in (r"\sofmax x", r"a & b", r"\frac{1}", "{a"):
        with pytest.raises(ValueError, match="formula"):
            to_mathml(wrong, "inline")
