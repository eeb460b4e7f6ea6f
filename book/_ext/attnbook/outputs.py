"""Outputs of executed notebooks as parts of the book: drawings in its colours, tables of its kind.

A drawing is put into the page as SVG, so that its text is the page's and its colours follow the
theme. A table of pandas becomes one like all others, without the index of a plain list, and with
the caption and the number that its cell's ``mystnb.figure`` asks for.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from attnlib import escaping, plotting

# The colours that figures are drawn in, and those of the page (custom.css).
COLOURS = {
    plotting.INK: "var(--pst-color-text-base, currentColor)",
    "#ffffff": "var(--pst-color-background, #ffffff)",  # the paper inside hollow marks
    **{c: f"var(--attn-series-{n}, {c})" for n, c in enumerate(plotting.COLOURS, start=1)},
}
LEAKS = re.compile(r"\s*<(metadata|style)\b.*?</\1>", re.DOTALL)
REFERENCES = re.compile(r'(\bid="|href="#|url\(#)')
SIZE = re.compile(r'(<svg\b[^>]*?) (?:width|height)="[\d.]+pt"')
FONTS = re.compile(r"font(?:-family)?: [^;\"]*")
MINUS = re.compile(r"(?<![\w.\]])-(?=[\d.])")
INTERVAL = re.compile(r"\S+ (?:\[[^\]]*\]|\([\d., to%]+\)|± \S+)|[\d.%]+ to [\d.%]+")
FONT_SIZE = re.compile(r"(\d+(?:\.\d+)?)px")


def in_page_colours(svg: str, alt: str) -> str:
    """An SVG of Matplotlib, to be put into a page."""
    svg = LEAKS.sub("", svg[svg.index("<svg") :])
    svg = SIZE.sub(r"\1", SIZE.sub(r"\1", svg))
    svg = REFERENCES.sub(rf"\g<1>d{hashlib.sha256(svg.encode()).hexdigest()[:8]}-", svg)
    svg = FONTS.sub(lambda font: _size_alone(font[0]), svg)
    for drawn, shown in COLOURS.items():
        svg = svg.replace(drawn, shown)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaping.html(alt)}"', 1)


def _size_alone(font: str) -> str:
    """The size of a font; its family is the page's."""
    size = FONT_SIZE.search(font)
    return f"font-size: {size[1]}px" if size else "font-family: inherit"


def header_of(table: Tag) -> list[str]:
    """One name for each column: headings above headings are joined, the index's name is its own."""
    rows = [
        [cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])
         for _ in range(int(str(cell.get("colspan", 1))))]
        for row in table.select("thead tr")
    ]  # fmt: skip
    if len(rows) > 1 and rows[-1][0] and not any(rows[-1][1:]):
        names = rows.pop()
        rows[-1][0] = names[0]
    return [": ".join(dict.fromkeys(filter(None, column))) for column in zip(*rows, strict=True)]


def is_counting(header: list[str], rows: list[list[Tag]]) -> bool:
    """Whether the first column only counts the rows."""
    first = [row[0].get_text(strip=True) for row in rows]
    return not header[0] and first == [str(n) for n in range(len(rows))]


def to_table(html: str) -> nodes.table | None:
    """The first table of an output as one of docutils'; None if it is none of pandas'."""
    found = BeautifulSoup(html, "html.parser").select_one("table.dataframe")
    header = header_of(found) if found else []
    if found is None or not header:
        return None
    body = found.select("tbody tr")
    rows = [row.find_all(["th", "td"]) for row in body]
    start = int(is_counting(header, rows))
    group = nodes.tgroup("", cols=len(header) - start)
    stub = int(bool(rows) and rows[0][start].name == "th")
    for n in range(len(header) - start):
        group += nodes.colspec("", colwidth=1, **({"stub": 1} if stub and n == 0 else {}))
    group += nodes.thead("", _row([nodes.Text(name) for name in header[start:]], ""))
    lines = nodes.tbody()
    for line, cells in zip(body, rows, strict=True):
        lines += _row([_content(cell) for cell in cells[start:]], str(line.get("id", "")))
    group += lines
    told = found.caption.get_text(" ", strip=True) if found.caption else ""
    title = [nodes.title("", told)] if told else []
    return nodes.table("", *title, group, classes=["notebook-table"])


def _content(cell: Tag) -> nodes.Node:
    """The content of a cell: text, or HTML if it has any."""
    if cell.find(True):
        return nodes.raw("", cell.decode_contents(), format="html")
    return nodes.Text(unbroken(cell.get_text(strip=True)))


def unbroken(text: str) -> str:
    """A cell's text, with minus signs and with each interval on one line; nothing for NaN."""
    text = MINUS.sub("\N{MINUS SIGN}", "" if text == "NaN" else text)
    return INTERVAL.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _row(cells: list[nodes.Node], name: str) -> nodes.row:
    row = nodes.row(ids=[name] if name else [])
    row += [nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells]
    return row


class NotebookOutputs(SphinxTransform):
    """Replace the drawings and the tables of one executed page."""

    default_priority = 205  # before tables and figures get their numbers

    def apply(self) -> None:
        """Process the page."""
        if Path(self.env.doc2path(self.env.docname)).suffix != ".ipynb":
            return
        for bundle in list(self.bundles()):
            forms = {child["mime_type"]: child for child in bundle.children}
            if "image/svg+xml" in forms:
                self.draw(forms["image/svg+xml"])
            elif "text/html" in forms and (table := to_table(forms["text/html"].astext())):
                self.tabulate(bundle, table)

    def bundles(self) -> Iterator[nodes.container]:
        """The outputs that are in several forms."""
        for node in self.document.findall(nodes.container):
            if node.get("nb_element") == "mime_bundle":
                yield node

    def draw(self, form: Any) -> None:
        """Replace the link to an SVG by the SVG."""
        for image in list(form.findall(nodes.image)):
            path = Path(f"{self.env.srcdir}{image['uri']}")  # it is relative to the sources
            svg = in_page_colours(path.read_text(encoding="utf-8"), image.get("alt", ""))
            image.replace_self(nodes.raw("", svg, format="html"))

    def tabulate(self, bundle: nodes.container, table: nodes.table) -> None:
        """Put the table in the output's place; a caption around it becomes the table's."""
        figure = bundle.parent
        if isinstance(figure, nodes.figure):
            caption = next(iter(figure.findall(nodes.caption)), None)
            if caption is not None:
                table[:-1] = []
                table.insert(0, nodes.title(caption.rawsource, "", *caption.children))
            table["ids"], table["names"] = figure["ids"], figure["names"]
            for name in figure["names"]:
                self.document.nameids[name] = figure["ids"][0]
            for known in figure["ids"]:
                self.document.ids[known] = table
            figure.replace_self(table)
        else:
            bundle.replace_self(table)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(NotebookOutputs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
