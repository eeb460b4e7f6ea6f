"""The way through the book: numbered chapters, an appendix aside, a search that finds them."""

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import wait
from bs4 import BeautifulSoup

from attnbook import identity, search
from attnbook.way import is_appendix

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def soup(html: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser")


def title(html: Path, page: str) -> str:
    heading = soup(html, page).select_one("article h1")
    assert heading is not None
    return heading.get_text().removesuffix("#").strip()


def results(browser: Any, html: Path, query: str) -> list[dict[str, str]]:
    """Address and excerpt of each result."""
    browser.get((html / "search.html").as_uri() + f"?q={query}")
    found = """return [...document.querySelectorAll('#search-results li')].map(item => ({
        page: decodeURI(item.querySelector('a').href.split('/html/').pop()),
        excerpt: item.querySelector('.context')?.textContent ?? ''}))"""
    wait(lambda: browser.execute_script(found))
    wait(lambda: any(one["excerpt"] for one in browser.execute_script(found)))
    listed: list[dict[str, str]] = browser.execute_script(found)
    return listed


def test_chapters_have_the_thesis_numbers_and_experiments_are_sections_of_the_eighth(html: Path):
    assert title(html, "transformer").startswith("2\N{EN SPACE}")
    assert title(html, "consistency").startswith("5.7\N{EN SPACE}")
    assert title(html, "results").startswith("8\N{EN SPACE}")
    assert re.match(r"8\.\d\N{EN SPACE}", title(html, "runs/errors"))
    assert not re.match(r"\d", title(html, "glossary"))


def test_headings_below_a_title_have_no_number(html: Path):
    assert not [h for h in soup(html, "vit").select("h2, h3") if h.select(".section-number")]


def test_tables_of_results_bear_the_numbers_that_they_have_in_the_thesis(html: Path):
    shown = [c.get_text() for c in soup(html, "results").select(".thesis-table .caption-number")]
    assert [re.findall(r"[\d.]+\d", number)[0] for number in shown] == ["8.1", "8.2", "8.3"]


def test_a_new_run_renumbers_nothing(html: Path):
    for page in (html / "runs" / "records").glob("*.html"):
        assert "caption-number" not in page.read_text(encoding="utf-8"), page.name


def test_the_appendix_has_no_next_and_no_previous_page(html: Path):
    assert is_appendix("runs/records/a") and not is_appendix("runs/reference")
    for path in (*(html / "runs" / "records").glob("*.html"), html / "runs" / "index.html"):
        assert "right-next" not in path.read_text(encoding="utf-8"), path.name
    assert "right-next" not in (html / "bibliography.html").read_text(encoding="utf-8")


def test_words_are_found_without_their_accents_and_quoted_from_a_disk(browser: Any, html: Path):
    found = results(browser, html, "paznja")
    assert found and any("paž" in one["excerpt"].lower() for one in found), found
    assert {one["page"] for one in results(browser, html, "pažnja")} == {
        one["page"] for one in found
    }


def test_no_excerpt_quotes_the_hashes_of_a_notebook(browser: Any, html: Path):
    found = results(browser, html, "kappa")
    assert any(one["page"].startswith("runs/between") for one in found), found
    assert not [
        one for one in found if re.search(r"Other files|SHA-256|match this code", one["excerpt"])
    ]


def test_chapters_stand_before_glossary_and_records(browser: Any, html: Path):
    pages = [one["page"] for one in results(browser, html, "attention")]
    assert pages and not pages[0].startswith(("glossary", "runs/records")), pages[:5]
    last_chapter = max(i for i, page in enumerate(pages) if not page.startswith("runs/records"))
    records = [i for i, page in enumerate(pages) if page.startswith("runs/records")]
    assert all(i > last_chapter for i in records), pages


def test_folding_keeps_what_has_no_accent():
    assert [search.fold(word) for word in ("pažnja", "Ćorić", "među", "x1")] == [
        "paznja", "Coric", "medu", "x1",
    ]  # fmt: skip


def test_every_page_has_a_description_a_card_and_one_address(html: Path):
    head = soup(html, "vit").head
    assert head is not None
    canonical = head.select_one('link[rel="canonical"]')
    assert canonical and canonical["href"] == "https://attnlib.github.io/attnlib/vit.html"
    for name in ("og:title", "og:description", "og:image"):
        (tag,) = head.select(f'meta[property="{name}"]')
        assert len(str(tag["content"])) > 3, name
    assert (html / identity.CARD).is_file() and list(html.glob("_static/mark.svg"))


def test_the_page_for_no_page_leads_home(html: Path):
    assert 'href="index.html"' in (html / "404.html").read_text(encoding="utf-8")


def test_the_address_follows_from_the_repositorys():
    assert identity.served_at("https://github.com/Some/book-2") == "https://some.github.io/book-2/"


def test_pencils_open_files_that_exist(html: Path):
    edit = re.compile(r'href="https://github\.com/[^"]+?/edit/main/([^"]+)"')
    for page in ("vit", "runs/train", "runs/data", "index"):
        (source,) = set(edit.findall((html / f"{page}.html").read_text(encoding="utf-8")))
        assert (ROOT / source).is_file(), source
    for page in ("runs/index", "runs/errata"):
        assert not edit.findall((html / f"{page}.html").read_text(encoding="utf-8")), page
