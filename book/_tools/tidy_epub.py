"""What Sphinx leaves undone in an EPUB, so that epubcheck finds no fault in it.

Its pages are XML, but the HTML that notebooks and directives wrote is passed on as it stands, with
scripts that no reading device runs; and the list of files does not say which hold mathematics.
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
SHEETS = ("print.css",)  # @page with page numbers is beyond epubcheck
VOID = re.compile(r"<(br|hr|img|input|col|wbr)\b((?:[^>\"]|\"[^\"]*\")*?)\s*/?>")
FOLDED = re.compile(r"(<summary\b.*?</summary>)", re.DOTALL)
PROPERTIES = {"mathml": "<math", "svg": "<svg"}


def tidy_page(page: str) -> str:
    """A page as XML that an EPUB may hold."""
    page = DROPPED.sub("", page)
    page = VOID.sub(r"<\1\2/>", page)
    page = page.replace("&nbsp;", "\u00a0").replace("&copy;", "\u00a9")
    page = re.sub(r' (?:halign|border|valign)="[^"]*"', "", page)
    page = re.sub(r"<svg\b(?![^>]*xmlns=)", '<svg xmlns="http://www.w3.org/2000/svg"', page)
    page = re.sub(r'(<a [^>]*href="(?!https?:)[^"#]+)\.html(["#])', r"\1.xhtml\2", page)
    # a summary holds words, not paragraphs
    return FOLDED.sub(lambda m: re.sub(r"<(/?)p\b", r"<\1span", m[1]), page)


def fault(page: str) -> str | None:
    """What keeps a page from being XML."""
    try:
        ElementTree.fromstring(page)
    except ElementTree.ParseError as error:
        return str(error)
    return None


def sheets_of(name: str, page: str) -> set[str]:
    """The style sheets that a page links, by their place in the EPUB."""
    found = re.findall(r'<link [^>]*href="([^":]+\.css)[^"]*"', page)
    return {posixpath.normpath(posixpath.join(posixpath.dirname(name), sheet)) for sheet in found}


def tidy_list(listed: str, pages: dict[str, str]) -> str:
    """The list of files, saying what each page holds."""
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
        ValueError: If a page is not XML even then, or links a style sheet that is not there.
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
        new.writestr("mimetype", content.pop("mimetype"), zipfile.ZIP_STORED)  # first, as it must
        for name, data in content.items():
            if not name.endswith(SHEETS):
                new.writestr(name, data)
