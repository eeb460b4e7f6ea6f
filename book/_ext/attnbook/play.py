"""``{play} NAME``: a numbered figure to try arithmetic on, with a still drawing as its twin.

    ```{play} query
    :name: fig-play-query
    :alt: What the still drawing shows.
    The caption.
    ```

The drawing is ``figures/play_NAME.svg``; it is what print, other formats and browsers without
JavaScript show. ``play/NAME.js`` builds the live figure on what ``play/shared.js`` gives to all.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from attnbook.svg_figure import SvgFigure

FOLDER = Path(__file__).with_name("play")


class play(nodes.General, nodes.Element):  # noqa: N801
    """The live part of the figure ``name``; ``first`` if the page has none before it."""


class Play(SvgFigure):
    """The still drawing as a figure, and the script that replaces it."""

    def run(self) -> list[nodes.Node]:
        """Build the figure."""
        name = self.arguments[0]
        scripts = sorted(path.stem for path in FOLDER.glob("*.js") if path.stem != "shared")
        if name not in scripts:
            raise self.error(f"no figure {name!r} to play with; there is: {', '.join(scripts)}")
        self.arguments[0] = f"figures/play_{name}.svg"
        (figure,) = super().run()
        figure["classes"].append("play")
        still = figure[0]
        still.replace_self(nodes.container("", still.deepcopy(), classes=["play-still"]))
        first = not self.env.temp_data.get("play")
        self.env.temp_data["play"] = True
        figure.insert(1, play(name=name, first=first))
        return [figure]


def write_html(translator: HTML5Translator, node: play) -> None:
    """Write the box and the scripts, where scripts can run."""
    if translator.builder.name in ("html", "dirhtml"):
        translator.body.append(f'<div class="play-live" data-play="{node["name"]}"></div>')
        for name in ["shared"] * node["first"] + [node["name"]]:
            script = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
            translator.body.append(f"<script>\n{script}</script>")
    raise nodes.SkipNode


def skip(translator: nodes.NodeVisitor, node: nodes.Node) -> None:
    """Write nothing in other formats."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and its node."""
    other = {name: (skip, None) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(play, html=(write_html, None), **other)
    app.add_directive("play", Play)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
