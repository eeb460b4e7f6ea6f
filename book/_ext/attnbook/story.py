"""The story first: on an executed page code folds away, and each figure says what was found.

The notebooks are left as they are. As a page is read, the input of each cell folds, set-up
goes, and so do the asserts, whose section says in words what they check. A figure that says what it
shows (``attnlib.plotting.Drawing``) puts that before its caption, into its alternative text, and,
of the first figures, to the top of the page. What a page teaches and what to remember of it stand
in boxes, as in the chapters.
"""

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from attnbook.outputs import MINUS
from attnlib import escaping

FOLDED = "hide-input"
HIDDEN = {"bootstrap": "remove-cell", "checks": "remove-input"}  # by the cell's own tag
SVG = "image/svg+xml"
TOLD = 3  # findings at the top of a page
LEARNED = re.compile(r"\*\*What you will learn\*\*\n\n((?:- .*\n?)+)")
REMEMBERED = re.compile(r"## Three things to remember\n\n((?:\d\. .*\n?)+)")


def fold(cell: dict[str, Any]) -> None:
    """Tag a code cell with how much of it the book shows."""
    tags = cell["metadata"].setdefault("tags", [])
    tags.append(next((how for tag, how in HIDDEN.items() if tag in tags), FOLDED))


def findings_of(cell: dict[str, Any]) -> list[str]:
    """What the figures of a cell say that they show."""
    outputs = [output.get("metadata", {}).get(SVG, {}) for output in cell["outputs"]]
    found = [output["finding"] for output in outputs if output.get("finding")]
    return [MINUS.sub("\N{MINUS SIGN}", finding) for finding in found]


def tell(cell: dict[str, Any]) -> None:
    """Put a cell's findings before its caption and into its alternative text."""
    options = cell["metadata"].get("mystnb", {})
    found = " ".join(findings_of(cell))
    if found and "caption" in options.get("figure", {}):
        options["figure"]["caption"] = f"{escaping.markdown(found)} {options['figure']['caption']}"
    if found and "alt" in options.get("image", {}):
        options["image"]["alt"] = f"{options['image']['alt']} {found}"


def open_with(text: str, found: list[str]) -> str:
    """A page's first cell with what its figures found, after its title and its badge."""
    if not found:
        return text
    told = "\n".join(f"- {escaping.markdown(finding)}" for finding in found[:TOLD])
    box = f":::{{admonition}} In short\n:class: in-short\n\n{told}\n:::"
    head, *rest = text.split("\n\n")
    badge = [rest.pop(0)] if rest and rest[0].startswith("[![") else []
    return "\n\n".join([head, *badge, box, *rest])


def boxed(text: str) -> str:
    """Markdown whose two lists, of what one learns and what one remembers, are boxes."""
    text = LEARNED.sub(r":::{admonition} What you will learn\n\n\1\n:::\n", text + "\n")
    return REMEMBERED.sub(
        r":::{admonition} Three things to remember\n:class: tip\n\n\1\n:::\n", text
    )


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Change a notebook's text before it is parsed."""
    if Path(app.env.doc2path(page)).suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = [finding for cell in codes for finding in findings_of(cell)]
    texts = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    for place, cell in enumerate(texts):
        text = boxed("".join(cell["source"]))
        cell["source"] = text if place else open_with(text, found)
    for cell in codes:
        tell(cell)
        fold(cell)
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the change."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
