"""Corrections of Sphinx's EPUB, so that epubcheck finds no errors.

Its pages are XML, but the HTML of notebooks and directives is copied unchanged, with
scripts that no reader runs; and the list of files does not say which contain MathML.
"""

import posixpath
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

DROPPED = re.compile(
    r"<(style|script|noscript|form|dialog)\b(?:[^>]*/>|.*?</\1>)"
    r'|<link [^>]*href="[^"]*(?:mystnb\.\w+|print|math)\.css[^"]*"[^>]*/>',
    re.DOTALL,
)
SHEETS = ("print.css",)  # epubcheck doesn't support @page with page numbers
VOID = re.compile(r"<(br|hr|img|input|col|wbr)\b((?:[^>\"]|\"[^\"]*\")*?)\s*/?>")
FOLDED = re.compile(r"(<summary\b.*?</summary>)", re.DOTALL)
PROPERTIES = {"mathml": "<math", "svg": "<svg"}


def tidy_page(page: str) -> str:
    """A page as XML that is valid in an EPUB."""
    page = DROPPED.sub("", page)
    page = VOID.sub(r"<\1\2/>", page)
    page = page.replace("&nbsp;", "\u00a0").replace("&copy;", "\u00a9")
    page = re.sub(r' (?:halign|border|valign)="[^"]*"', "", page)
    page = re.sub(r"<svg\b(?![^>]*xmlns=)", '<svg xmlns="http://www.w3.org/2000/svg"', page)
    page = re.sub(r'(<a [^>]*href="(?!https?:)[^"#]+)\.html(["#])', r"\1.xhtml\2", page)
    # a summary contains text, not paragraphs
    return FOLDED.sub(lambda m: re.sub(r"<(/?)p\b", r"<\1span", m[1]), page)


def fault(page: str) -> str | None:
    """Why a page is not XML; None if it is."""
    try:
        ElementTree.fromstring(page)
    except ElementTree.ParseError as error:
        return str(error)
    return None


def sheets_of(name: str, page: str) -> set[str]:
    """The style sheets that a page links, by path in the EPUB."""
    found = re.findall(r'<link [^>]*href="([^":]+\.css)[^"]*"', page)
    return {posixpath.normpath(posixpath.join(posixpath.dirname(name), sheet)) for sheet in found}


def tidy_list(listed: str, pages: dict[str, str]) -> str:
    """The list of files, with the properties of each page."""
    listed = re.sub(r"\s*<meta property=\"[^\"]*\"></meta>", "", listed)
    for sheet in SHEETS:
        listed = re.sub(rf'\s*<item [^>]*href="_static/{re.escape(sheet)}"[^>]*/>', "", listed)
    for name, page in pages.items():
        held = " ".join(key for key, mark in PROPERTIES.items() if mark in page)
        item = re.compile(rf'(<item (?![^>]*properties=)[^>]*href="{re.escape(name)}"[^>]*?) ?/>')
        if held:
            listed = item.sub(rf'\1 properties="{held}"/>', listed)
    return listed


def tidy(book: Path) -> None:
    """Rewrite an EPUB in place.

    Raises:
        ValueError: If a page is still not XML, or links a missing style sheet.
    """
    with zipfile.ZipFile(book) as old:
        content = {entry.filename: old.read(entry) for entry in old.infolist()}
    pages = {n: tidy_page(c.decode()) for n, c in content.items() if n.endswith(".xhtml")}
    faults = {name: wrong for name, page in pages.items() if (wrong := fault(page))}
    if faults:
        raise ValueError(f"pages of the EPUB that are no XML: {faults}")
    lacking = {sheet for name, page in pages.items() for sheet in sheets_of(name, page)} - {
        *content
    }
    if lacking:
        raise ValueError(f"style sheets that the EPUB lacks: {', '.join(sorted(lacking))}")
    content |= {name: page.encode() for name, page in pages.items()}
    content["content.opf"] = tidy_list(content["content.opf"].decode(), pages).encode()
    with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("mimetype", content.pop("mimetype"), zipfile.ZIP_STORED)  # must come first
        for name, data in content.items():
            if not name.endswith(SHEETS):
                new.writestr(name, data)
