"""``{look-inside}``: a numbered figure in which the reader's browser runs the showcase networks.

    ```{look-inside}
    :name: fig-look-inside
    The caption.
    ```

With ``:small:`` it is the first page's view, without a number, and the content a sentence below it.

The page holds scripts, pictures and one recorded answer. The networks are beside it, once for both
figures, in scripts that are loaded when the reader first touches one: a page on a disk may load a
script, but nothing else. Underneath is a static figure, for print, other formats and browsers
without JavaScript.
"""

import base64
import functools
import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from attnbook import views
from attnbook.typed_numbers import COMPUTED
from attnlib import escaping
from attnlib.explorer.packing import Packed
from attnlib.explorer.page_payload import (
    Exhibit,
    describe_recording,
    describe_rounding,
    map_png,
    open_exhibit,
    picture_png,
    static_maps,
    to_payload,
)
from attnlib.records.find import Showcase, find_showcase, load_run

FOLDER = Path(__file__).parent
WORKER = ("matmul", "network", "worker")  # scripts of the worker, and those of the pages
SHARED = ("drawing", "pictures", "maps", "grid", "bars", "networks", "answering")
PAGE = (*SHARED, "panels", "experiment", "guide", "page")
SMALL = (*SHARED, "small")
CELL, HEAD = 120, 26  # pixels of a cell and of the heading in the static figure
CHUNK = 900_000  # bytes of weights in one script, three quarters of its characters
NETWORKS = "look-inside"  # folder of these scripts in _static
STILL = "<p>A still picture; the live one needs JavaScript.</p>"
NOTHING = (
    "<p>No distilled transformer with its weights is at hand, so there is nothing to look into "
    "yet. <code>make book</code> trains one.</p>"
)


class look_inside(nodes.General, nodes.Element):  # noqa: N801
    """The live part: ``payload`` is its data, ``small`` its kind, ``networks`` both networks."""


class LookInside(SphinxDirective):
    """The figure; its content is the caption."""

    has_content = True
    option_spec = {"name": directives.unchanged, "small": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the figure from the showcase runs of ``results`` or ``runs``."""
        root = Path(self.env.srcdir).parent
        for file in sorted(root.glob("r*s/*/model.safetensors")):
            self.env.note_dependency(str(file))
        showcase = find_showcase(root / "results", root / "runs")
        try:
            exhibit = open_once(showcase.student.path, showcase.teacher.path) if showcase else None
            nothing = NOTHING
        except ValueError as fault:  # a network whose layers the script does not know
            exhibit, nothing = (
                None,
                f"<p>These networks can't run in a page: {escaping.html(fault)}.</p>",
            )
        return self.small(exhibit) if "small" in self.options else self.whole(exhibit, nothing)

    def small(self, exhibit: Exhibit | None) -> list[nodes.Node]:
        """The first page's view with a sentence below it; nothing without networks."""
        if exhibit is None:
            return []
        view = nodes.container("", classes=["look-inside", "look-small"])
        finding = f"<p>{escaping.html(describe_recording(exhibit))}</p>"
        static = static_figure(exhibit, "look-small") + finding + STILL
        view += nodes.raw("", f'<div class="look-static">{static}</div>', format="html")
        view += look_inside(payload=to_payload(exhibit, small=True), small=True)
        said, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        view += nodes.paragraph("", "", *said)
        self.set_source_info(view)
        return [view]

    def whole(self, exhibit: Exhibit | None, nothing: str) -> list[nodes.Node]:
        """The numbered figure."""
        figure = nodes.figure("", classes=["look-inside"])
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        if exhibit is None:
            figure += nodes.raw("", f'<div class="look-static">{nothing}</div>', format="html")
        else:
            static = static_figure(exhibit) + STILL
            figure += nodes.raw("", f'<div class="look-static">{static}</div>', format="html")
            figure += look_inside(payload=to_payload(exhibit), networks=exhibit.packed)
            told = f" {describe_recording(exhibit)} {describe_rounding(exhibit)} "
            computed = nodes.inline("", told, classes=[COMPUTED])
            shown, _ = self.parse_inline(provenance(exhibit), lineno=self.lineno)
            caption += [computed, *shown]
        figure += nodes.caption("", "", *caption)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


@functools.lru_cache(maxsize=1)
def open_once(student: Path, teacher: Path) -> Exhibit:
    """The networks of two runs with pictures: packed once for both pages that show them."""
    return open_exhibit(Showcase(load_run(student), load_run(teacher)))


def provenance(exhibit: Exhibit) -> str:
    """Which runs are shown, with links to their pages."""
    links = [
        f"[{escaping.markdown(run.title)}](#run-{run.name})"
        for run in (exhibit.showcase.student, exhibit.showcase.teacher)
    ]
    return f"Shown: {' and '.join(links)}."


def static_figure(exhibit: Exhibit, name: str = "look") -> str:
    """The recorded picture with its maps, an SVG in the page's colours; ``name`` begins its id."""
    pixels = (255 * exhibit.recording.pixels).round().byte().permute(1, 2, 0).numpy()
    maps = static_maps(exhibit)
    grey = png_image(picture_png(pixels, grey=True), f'id="{name}-grey"')
    parts = [f"<defs>{grey}</defs>"]
    for column, (heading, plane) in enumerate([("picture", None), *maps.items()]):
        shown = f'<use href="#{name}-grey"/>' if plane is not None else ""
        shown += png_image(picture_png(pixels) if plane is None else map_png(plane))
        parts.append(
            f'<g transform="translate({column * CELL})"><text x="{CELL / 2}" y="{HEAD - 8}">'
            f"{escaping.html(heading)}</text>{shown}</g>"
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


def png_image(png: bytes, attributes: str = "") -> str:
    """An element of a cell's size."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return (
        f'<image {attributes} x="2" y="{HEAD}" width="{CELL - 4}" height="{CELL - 4}" '
        f'preserveAspectRatio="none" href="{source}"/>'
    )


def write_html(translator: HTML5Translator, node: look_inside) -> None:
    """Write data and scripts if scripts can run; one-file HTML and EPUB have the static figure."""
    builder = translator.builder
    if builder.name in ("html", "dirhtml"):
        if "networks" in node:
            write_networks(Path(builder.outdir) / "_static" / NETWORKS, node["networks"])
        place = f"{'../' * builder.current_docname.count('/')}_static/{NETWORKS}/"
        page = builder.get_relative_uri(builder.current_docname, views.PAGE)
        payload = node["payload"] | {"place": place, "page": page}
        translator.body.append(live_part(payload, SMALL if "small" in node else PAGE))
    raise nodes.SkipNode


def live_part(payload: dict[str, object], scripts: tuple[str, ...] = PAGE) -> str:
    """The figure's scripts and data."""
    return (
        f'<script type="application/json">{escaping.script(payload)}</script>'
        f"<script>(() => {{\n{read_scripts(scripts)}\n}})();</script>"
    )


def read_scripts(names: tuple[str, ...]) -> str:
    """Scripts of this folder; none of them holds the end of a ``<script>``."""
    return "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)


def write_networks(folder: Path, networks: dict[str, Packed]) -> None:
    """Write scripts that hand the worker's source, headers and weights to the page, in parts."""
    folder.mkdir(parents=True, exist_ok=True)
    worker = f"takeWorker({json.dumps(read_scripts(WORKER))});\n"
    (folder / "worker.js").write_text(worker, encoding="utf-8")
    for role, packed in networks.items():
        for number, at in enumerate(range(0, len(packed.content), CHUNK)):
            text = base64.b64encode(packed.content[at : at + CHUNK]).decode()
            script = f'takeWeights("{role}", {number}, "{text}");\n'
            if number == 0:
                script = f'takeHeader("{role}", {json.dumps(packed.header)});\n{script}'
            (folder / f"{role}-{number}.js").write_text(script, encoding="utf-8")


def skip(translator: nodes.NodeVisitor, node: nodes.Node) -> None:
    """Write nothing in other formats."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and its node."""
    other = {name: (skip, None) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(look_inside, html=(write_html, None), **other)
    app.add_directive("look-inside", LookInside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
