"""``{look-inside}``: a numbered figure in which the reader's browser runs the showcase networks.

    ```{look-inside}
    :name: fig-look-inside
    The caption.
    ```

The page holds the scripts, pictures and one recorded answer. The networks' weights are beside it,
in scripts that are loaded when the reader first touches the figure: a page on a disk may load a
script, but nothing else. Underneath is a static figure, for print, other formats and browsers
without JavaScript.
"""

import base64
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from attnbook.typed_numbers import COMPUTED
from attnlib import escaping
from attnlib.explorer.page_payload import (
    Exhibit,
    describe_recording,
    describe_rounding,
    open_exhibit,
    overlay_png,
    static_maps,
    to_payload,
)
from attnlib.records.find import find_showcase

FOLDER = Path(__file__).parent
WORKER = ("matmul", "network", "worker")  # scripts of the worker, and those of the page
PAGE = ("drawing", "pictures", "networks", "panels", "experiment", "guide", "page")
CELL, HEAD = 120, 26  # pixels of a cell and of the heading in the static figure
CHUNK = 900_000  # bytes of weights in one script, three quarters of its characters
WEIGHTS = "look-inside"  # folder of these scripts in _static
STILL = "<p>A still picture; the live one needs JavaScript.</p>"
NOTHING = (
    "<p>No distilled transformer with its weights is at hand, so there is nothing to look into "
    "yet. <code>make book</code> trains one.</p>"
)


class look_inside(nodes.General, nodes.Element):  # noqa: N801
    """The live part; ``payload`` is the script's data, ``weights`` the networks' numbers."""


class LookInside(SphinxDirective):
    """The figure; its content is the caption."""

    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the figure from the showcase runs of ``results`` or ``runs``."""
        root = Path(self.env.srcdir).parent
        for file in sorted(root.glob("r*s/*/model.safetensors")):
            self.env.note_dependency(str(file))
        showcase = find_showcase(root / "results", root / "runs")
        figure = nodes.figure("", classes=["look-inside"])
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        try:
            exhibit = open_exhibit(showcase) if showcase else None
            nothing = NOTHING
        except ValueError as fault:  # a network whose layers the script does not know
            exhibit, nothing = (
                None,
                f"<p>These networks can't run in a page: {escaping.html(fault)}.</p>",
            )
        if exhibit is None:
            figure += nodes.raw("", f'<div class="look-static">{nothing}</div>', format="html")
        else:
            static = static_figure(exhibit) + STILL
            figure += nodes.raw("", f'<div class="look-static">{static}</div>', format="html")
            weights = {role: packed.content for role, packed in exhibit.packed.items()}
            figure += look_inside(payload=to_payload(exhibit), weights=weights)
            told = f" {describe_recording(exhibit)} {describe_rounding(exhibit)} "
            computed = nodes.inline("", told, classes=[COMPUTED])
            shown, _ = self.parse_inline(provenance(exhibit), lineno=self.lineno)
            caption += [computed, *shown]
        figure += nodes.caption("", "", *caption)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


def provenance(exhibit: Exhibit) -> str:
    """Which runs are shown, with links to their pages."""
    links = [
        f"[{escaping.markdown(run.title)}](#run-{run.name})"
        for run in (exhibit.showcase.student, exhibit.showcase.teacher)
    ]
    return f"Shown: {' and '.join(links)}."


def static_figure(exhibit: Exhibit) -> str:
    """The recorded picture with its maps, as an SVG in the page's colours."""
    pixels = (255 * exhibit.recording.pixels).round().byte().permute(1, 2, 0).numpy()
    maps = static_maps(exhibit)
    parts = []
    for column, (heading, plane) in enumerate([("picture", None), *maps.items()]):
        png = base64.b64encode(overlay_png(pixels, plane)).decode()
        parts.append(
            f'<text x="{(column + 0.5) * CELL}" y="{HEAD - 8}">{escaping.html(heading)}</text>'
            f'<image x="{column * CELL + 2}" y="{HEAD}" width="{CELL - 4}" '
            f'height="{CELL - 4}" href="data:image/png;base64,{png}"/>'
        )
    alt = (
        f"{exhibit.pictures[0].title}, and in orange over the grey picture where the class token "
        f"attends: {', '.join(maps)}. {describe_recording(exhibit)}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CELL * (len(maps) + 1)} '
        f'{HEAD + CELL}" role="img" aria-label="{escaping.html(alt)}" fill="currentColor" '
        f'font-size="14" text-anchor="middle" style="image-rendering: pixelated">'
        f"{''.join(parts)}</svg>"
    )


def write_html(translator: HTML5Translator, node: look_inside) -> None:
    """Write data and scripts if scripts can run; one-file HTML and EPUB have the static figure."""
    builder = translator.builder
    if builder.name in ("html", "dirhtml"):
        counts = write_weights(Path(builder.outdir) / "_static" / WEIGHTS, node["weights"])
        place = f"{'../' * builder.current_docname.count('/')}_static/{WEIGHTS}/"
        payload = node["payload"] | {"place": place, "chunks": counts}
        translator.body.append(live_part(payload))
    raise nodes.SkipNode


def live_part(payload: dict[str, object]) -> str:
    """The figure's scripts and data."""
    worker = "\n".join(read_script(name) for name in WORKER)
    page = "\n".join(read_script(name) for name in PAGE)
    return (
        f'<script type="application/json">{escaping.script(payload)}</script>'
        f'<script type="text/plain">{worker}</script>'
        f"<script>(() => {{\n{page}\n}})();</script>"
    )


def read_script(name: str) -> str:
    """A script of this folder; none of them holds the end of a ``<script>``."""
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def write_weights(folder: Path, weights: dict[str, bytes]) -> dict[str, int]:
    """Write weights as scripts that hand them to the page in parts; how many parts each has."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for role, content in weights.items():
        parts = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
        for number, part in enumerate(parts):
            text = base64.b64encode(part).decode()
            script = f'takeWeights("{role}", {number}, "{text}");\n'
            (folder / f"{role}-{number}.js").write_text(script, encoding="ascii")
        counts[role] = len(parts)
    return counts


def skip(translator: nodes.NodeVisitor, node: nodes.Node) -> None:
    """Write nothing in other formats."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and its node."""
    other = {name: (skip, None) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(look_inside, html=(write_html, None), **other)
    app.add_directive("look-inside", LookInside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
