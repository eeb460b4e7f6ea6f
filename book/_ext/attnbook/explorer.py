"""``{attention-explorer}``: a numbered interactive figure of attention.

    ```{attention-explorer}
    :name: fig-explorer
    The caption.
    ```

Everything is in the page: arrays of the run records as base64, and the script. Underneath
is a static figure, for print, other formats and browsers without JavaScript.
"""

import base64
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from attnbook.findings import read_runs
from attnlib import escaping
from attnlib.explorer.page_payload import (
    Exploration,
    find_exploration,
    image_names,
    overlay_png,
    static_maps,
    to_payload,
)

SCRIPT = Path(__file__).with_name("explorer.js")
SHOWN, CELL, HEAD = 4, 88, 30  # images in the static figure; pixels of a cell and of the heading
STILL = "<p>A still picture; the interactive one needs JavaScript.</p>"
NOTHING = (
    "<p>No run record in this book holds attention among all tokens yet; the next run that is "
    "trained will.</p>"
)


class explorer(nodes.General, nodes.Element):  # noqa: N801
    """The interactive part; ``payload`` is the script's data, as JSON."""


class AttentionExplorer(SphinxDirective):
    """The figure; its content is the caption."""

    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the figure from the records of ``runs`` and ``results``."""
        root = Path(self.env.srcdir).parent
        for file in sorted(root.glob("r*s/*/explorer.npz")):
            self.env.note_dependency(str(file))
        found = find_exploration(read_runs(root, "results", "runs"))
        figure = nodes.figure("", classes=["attention-explorer"])
        static = NOTHING if found is None else static_figure(found) + STILL
        static = f'<div class="explorer-static">{static}</div>'
        figure += nodes.raw("", static, format="html")
        words = " ".join(self.content)
        if found is not None:
            figure += explorer(payload=to_payload(found))
            words = f"{words} {provenance(found)}"
        caption, _ = self.parse_inline(words, lineno=self.lineno)
        figure += nodes.caption("", "", *caption)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


def provenance(found: Exploration) -> str:
    """Which runs are shown, with links to their pages."""
    links = [
        f"[{escaping.markdown(run.title)}](#run-{run.name})" for run in found[:2] if run is not None
    ]
    return f"Shown: {' and '.join(links)}. {escaping.markdown(found.note)}"


def static_figure(found: Exploration) -> str:
    """The first images with their maps, as an SVG in the page's colours."""
    maps = [
        static_maps(found, place) for place in range(min(SHOWN, len(found.attention["indices"])))
    ]
    headings = ["image", *maps[0]]
    width, height = CELL * len(headings), HEAD + CELL * len(maps)
    parts = [
        f'<text x="{(column + 0.5) * CELL}" y="{HEAD - 10}">{escaping.html(heading)}</text>'
        for column, heading in enumerate(headings)
    ]
    for row, planes in enumerate(maps):
        image = None if found.images is None else found.images[row]
        for column, plane in enumerate([None, *planes.values()]):
            png = base64.b64encode(overlay_png(image, plane)).decode()
            parts.append(
                f'<image x="{column * CELL + 2}" y="{HEAD + row * CELL + 2}" width="{CELL - 4}" '
                f'height="{CELL - 4}" href="data:image/png;base64,{png}"/>'
            )
    last = " and ".join(headings[1:-1]) if found.network else " and ".join(headings[1:])
    alt = (
        f"{len(maps)} test images in rows. Beside each, in orange over the grey image: where the "
        f"class token attends, in the {last}"
        + (f"; and Grad-CAM of {found.network.title}." if found.network else ".")
        + f" The images are: {'; '.join(image_names(found)[: len(maps)])}."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escaping.html(alt)}" fill="currentColor" font-size="14" '
        f'text-anchor="middle" style="image-rendering: pixelated">{"".join(parts)}</svg>'
    )


def write_html(translator: HTML5Translator, node: explorer) -> None:
    """Write data and script if scripts can run; one-file HTML and EPUB have the static figure."""
    if translator.builder.name in ("html", "dirhtml"):
        payload, script = escaping.script(node["payload"]), SCRIPT.read_text(encoding="utf-8")
        translator.body.append(f'<script type="application/json">{payload}</script>')
        translator.body.append(f"<script>{script}</script>")
    raise nodes.SkipNode


def skip(translator: nodes.NodeVisitor, node: nodes.Node) -> None:
    """Write nothing in other formats."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and its node."""
    other = {name: (skip, None) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(explorer, html=(write_html, None), **other)
    app.add_directive("attention-explorer", AttentionExplorer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
