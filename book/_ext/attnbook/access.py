"""Accessibility repairs of the HTML that the tool chain writes.

Each fixes a finding of axe-core; ``tests/test_access.py`` runs it on every page.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REPAIRS = (
    # pandas writes empty header cells above an index and beside its name, which head nothing
    (re.compile(r'<th((?: (?!scope)[\w-]+="[^"]*")*)(?: scope="\w+")?>\s*</th>'), r"<td\1></td>"),
    # docutils' role for a bibliography entry is deprecated, and its list has no items
    (re.compile(r' role="doc-biblioentry"'), ""),
    # MyST-NB's label of a folded cell hides the visible text
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    (re.compile(r'<div role="list" (class="citation-list")'), r"<div \1"),
)

# the theme's HTML around the body
AROUND = (
    (
        '<div id="pst-primary-sidebar" class="',
        '<div id="pst-primary-sidebar" role="complementary" aria-label="The book" class="',
    ),
    (
        '<summary><span class="toctree-toggle" role="presentation">',
        '<summary aria-label="Pages below"><span class="toctree-toggle" aria-hidden="true">',
    ),
    (  # its label is less than its text: Search Ctrl+K
        'search-button-field search-button__button pst-js-only" title="Search" aria-label="Search"',
        'search-button-field search-button__button pst-js-only" title="Search"',
    ),
)


def repair(html: str) -> str:
    """The body of a page with the repairs made."""
    for pattern, replacement in REPAIRS:
        html = pattern.sub(replacement, html)
    return html


def repair_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Repair a page just before its template is rendered."""
    del app, page, template, doctree
    if "body" in context:
        context["body"] = repair(context["body"])


def repair_around(app: Sphinx, fault: Exception | None) -> None:
    """Repair the HTML around the body, once all pages are written."""
    if fault or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        html = repaired = path.read_text(encoding="utf-8")
        for old, new in AROUND:
            repaired = repaired.replace(old, new)
        if repaired != html:
            path.write_text(repaired, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the repairs."""
    app.connect("html-page-context", repair_page)
    app.connect("build-finished", repair_around)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
