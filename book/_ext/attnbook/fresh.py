"""A mark on each executed page: whether its outputs match the current code, data and records.

If a page's stamp (``book/_tools/stamp.py``) no longer matches, it names what has changed. That is a
warning and fails the strict build; `make book` executes such a notebook again.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from attnbook import stamps
from attnlib import escaping

logger = logging.getLogger(__name__)
FRESH, STALE = "Outputs match this code", "Stale: not what this code would show"


def rows_of(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """What was executed, when, on what and from what, one fact per row."""
    known, papermill = notebook["metadata"][stamps.KEY], notebook["metadata"].get("papermill", {})
    package = {p: h for p, h in known["inputs"].items() if p.startswith("attnlib/")}
    records = {p: h for p, h in known["inputs"].items() if p.endswith("record.json")}
    others = {p: h for p, h in known["inputs"].items() if p not in package | records}
    data = known["data of records"] or known["data"]
    given = ", ".join(f"{name} = {value}" for name, value in known["parameters"].items())
    rows = [
        ("Executed", f"{str(papermill.get('end_time', ''))[:16].replace('T', ' ')} UTC"),
        ("Device", known["device"]),
        ("Parameters", given or "the notebook's defaults"),
        ("Cells", f"{known['source']}, {known['cells']}"),
        ("Source of attnlib", f"{len(package)} files, {stamps.digest_json(package)}"),
        ("Data", "; ".join(f"{name}, {value}" for name, value in data.items())),
    ]
    if records:
        rows.append(("Run records", f"{len(records)}, {stamps.digest_json(records)}"))
    if others:
        rows.append(("Other files", f"{len(others)}, {stamps.digest_json(others)}"))
    return rows


def mark(notebook: dict[str, Any], changed: list[str]) -> str:
    """The mark in HTML, with details that unfold."""
    rows = rows_of(notebook) if stamps.KEY in notebook["metadata"] else []
    rows = [("Changed since", ", ".join(changed))] * bool(changed) + rows
    shown = [(escaping.html(term), escaping.html(fact)) for term, fact in rows]
    body = "".join(f"<dt>{term}</dt><dd>{fact}</dd>" for term, fact in shown)
    kind, words = ("stale", STALE) if changed else ("fresh", FRESH)
    return (
        f'<details class="freshness {kind}"><summary>{words}</summary><dl>{body}</dl>'
        "<p>The hashes are the first 16 digits of SHA-256.</p></details>"
    )


class MarkFreshness(SphinxTransform):
    """Put the mark under the title of an executed notebook."""

    default_priority = 870

    def apply(self) -> None:
        """Process one page."""
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            return
        notebook = json.loads(path.read_text(encoding="utf-8"))
        root = Path(self.env.srcdir).parent
        changed = stamps.changes(notebook, root)
        if changed:
            message = "stale: outputs do not follow from what is here; changed: %s. make book"
            logger.warning(message, ", ".join(changed), location=self.env.docname, type="fresh")
        title = next(self.document.findall(nodes.title), None)
        if title is not None:
            html = nodes.raw("", mark(notebook, changed), format="html")
            title.parent.insert(title.parent.index(title) + 1, html)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(MarkFreshness)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
