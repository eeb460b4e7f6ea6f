"""The search: letters without accents, chapters before glossary and records, excerpts offline.

A reader without a Croatian keyboard looks for "paznja". Records and measurements hold every word
often, and a glossary's entries are in Sphinx's index, which it ranks above everything. From a disk
no page can be fetched to quote from it, so the texts of all pages stand in one script, which only
the search page loads, and only there. ``search.js`` is the part in the browser.
"""

import json
import re
import unicodedata
from html import unescape
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search.en import SearchEnglish

LONGEST = 60_000  # letters of a page's text
TEXTS = "search_texts.js"
MAIN = re.compile(r"<article\b.*</article>", re.DOTALL)
UNREAD = re.compile(
    r"<(script|style|svg|math|noscript)\b.*?</\1>|<a class=\"headerlink\".*?</a>"
    r"|<details class=\"freshness.*?</details>|<[^>]*>",
    re.DOTALL,
)


def fold(word: str) -> str:
    """A word without accents: pažnja -> paznja."""
    letters = unicodedata.normalize("NFD", word.translate({0x111: "d", 0x110: "D"}))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


class Folding(SearchEnglish):
    """English, of letters without accents."""

    def stem(self, word: str) -> str:
        """The stem of the folded word."""
        return super().stem(fold(word))


def text_of(html: str) -> str:
    """What the article of a page says."""
    article = MAIN.search(html)
    text = UNREAD.sub(" ", article[0] if article else "")
    return " ".join(unescape(text).split())[:LONGEST]


def write_texts(app: Sphinx, fault: Exception | None) -> None:
    """Write the texts of all pages, by address, for a browser that opens them from a disk."""
    if fault or app.builder.name != "html":
        return
    out = Path(app.outdir)
    texts = {
        page: text_of((out / f"{page}.html").read_text(encoding="utf-8"))
        for page in sorted(app.env.found_docs)
        if (out / f"{page}.html").is_file()
    }
    content = f"window.SEARCH_TEXTS = {json.dumps(texts, ensure_ascii=False)};\n"
    (out / "_static" / TEXTS).write_text(content, encoding="utf-8")


def use_script(app: Sphinx, config: Config) -> None:
    """Let Sphinx put our script before its own."""
    del app
    config.html_search_scorer = str(Path(__file__).with_name("search.js"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the language, the script and the texts."""
    app.add_search_language(Folding)
    app.connect("config-inited", use_script)
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
