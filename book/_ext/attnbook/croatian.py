"""``{hr}`pažnja```: words in Croatian, marked as such for screen readers and hyphenation."""

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx


class Croatian(nodes.inline):
    """Croatian words in an English page."""


def role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *args: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The words in italics."""
    return [Croatian(rawtext, "", nodes.emphasis("", text))], []


def open_span(writer: nodes.GenericNodeVisitor, node: Croatian) -> None:
    """Open a span with the language."""
    writer.body.append('<span lang="hr">')


def close_span(writer: nodes.GenericNodeVisitor, node: Croatian) -> None:
    """End the span."""
    writer.body.append("</span>")


def unmarked(writer: nodes.GenericNodeVisitor, node: Croatian) -> None:
    """Leave the words unchanged in formats other than HTML."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role."""
    app.add_node(
        Croatian,
        html=(open_span, close_span),
        **{kind: (unmarked, unmarked) for kind in ("latex", "text", "man", "texinfo")},
    )
    app.add_role("hr", role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
