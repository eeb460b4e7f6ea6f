"""The way through the book: next and previous lead through chapters, not through the appendix."""

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

APPENDIX = ("runs/index", "runs/records/", "runs/measurements")


def is_appendix(page: str) -> bool:
    """Whether a page is of the appendix: a run, a measurement, or the list of either."""
    return page.startswith(APPENDIX)


def pages_in_order(env: BuildEnvironment) -> Iterator[str]:
    """All pages in the order of the table of contents."""
    seen: set[str] = set()

    def below(page: str) -> Iterator[str]:
        seen.add(page)
        yield page
        for child in env.toctree_includes.get(page, []):
            if child not in seen:
                yield from below(child)

    return below(env.config.root_doc)


def step_over(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Drop links to the next and previous page that lead into, through or out of the appendix."""
    del template, doctree
    _, before, after = getattr(app.builder, "relations", {}).get(page, (None, None, None))
    for name, neighbour in (("prev", before), ("next", after)):
        if is_appendix(page) or (neighbour and is_appendix(neighbour)):
            context[name] = None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the change."""
    app.connect("html-page-context", step_over)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
