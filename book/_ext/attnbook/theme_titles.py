"""Escaping of page titles that the theme would write as HTML, above a printed page."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from attnlib import escaping


def escape_title(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Escape what the theme has put into the page's context."""
    del app, page, template, doctree
    if "pagetitle" in context:
        context["pagetitle"] = escaping.html(context["pagetitle"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after the theme, at its default priority of 500."""
    app.connect("html-page-context", escape_title, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
