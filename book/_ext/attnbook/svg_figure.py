"""``{svg-figure} FILE``: a numbered, captioned figure with inline SVG.

An SVG in the page takes the page's colours (``currentColor``, CSS variables), so it follows light,
dark and print. An ``<img>`` can't.
"""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from attnlib import escaping


class SvgFigure(SphinxDirective):
    """A figure; its content is the caption, and ``:alt:`` its alternative text."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required, "name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the figure."""
        alt = " ".join(self.options.get("alt", "").split())
        if len(alt.split()) < 5:
            raise self.error(f"{self.arguments[0]}: alt text of five words at least, got {alt!r}")
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        svg = Path(path).read_text(encoding="utf-8")
        svg = svg[svg.index("<svg") :]  # without the XML declaration
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{escaping.html(alt)}"', 1)
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        figure = nodes.figure("", nodes.raw("", svg, format="html"), classes=["svg-figure"])
        figure += nodes.caption("", "", *caption)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("svg-figure", SvgFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
