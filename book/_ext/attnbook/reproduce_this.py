"""``Reproduce this`` under each figure of an executed page: command, time, device and Colab.

A plain <details> element, collapsed at first. Everything in it is read
from the executed notebook: papermill's times and parameters, and the notebook's stamp.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from attnbook.findings import read_runs
from attnbook.stamps import KEY
from attnlib import escaping


def seconds(duration: float | None) -> str:
    """A duration measured by papermill."""
    if duration is None:
        return "a time that was not recorded"
    if duration >= 120:
        return f"{duration / 60:.0f} minutes"
    return f"{duration:.0f} seconds" if duration >= 10 else f"{duration:.2g} seconds"


def command(source: str, parameters: Mapping[str, Any]) -> str:
    """The command that executes the notebook again."""
    options = "".join(f" -p {k} {escaping.shell(v)}" for k, v in parameters.items())
    return f"papermill {source} OUT.ipynb{options}"


def cell_of(notebook: Mapping[str, Any], figure: str) -> Mapping[str, Any]:
    """The cell that draws the named figure."""
    for cell in notebook["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == figure:
            return cell
    return {"metadata": {}}


def makes_run(root: Path, parameters: Mapping[str, Any]) -> str:
    """The command that makes the run in the parameters; empty if they name none."""
    runs = {run.name: run for run in read_runs(root, "runs", "results")}
    name = parameters.get("run")
    return runs[name].record.command if name in runs else ""


def details(
    notebook: Mapping[str, Any], figure: str, source: str, colab: str, root: Path = Path()
) -> str:
    """The box in HTML."""
    papermill = notebook["metadata"].get("papermill", {})
    known = notebook["metadata"].get(KEY, {})
    parameters = papermill.get("parameters", {})
    own = cell_of(notebook, figure)["metadata"].get("papermill", {}).get("duration")
    took = f"The whole notebook took {seconds(papermill.get('duration'))}"
    took += f", this figure's cell {seconds(own)}" if own is not None else ""
    took += f", on {escaping.html(known['device'])}." if "device" in known else "."
    paste = "".join(f"{name} = {value!r}\n" for name, value in parameters.items())
    train = makes_run(root, parameters)
    calls = "\n".join([*([train] if train else []), command(source, parameters)])
    after = ", once a cell with ! and the first command has made the run" if train else ""
    given = (
        f"<p>In Colab, give its first cell these parameters and run all{after}:</p>"
        f"<pre>{escaping.html(paste)}</pre>"
        if paste
        else "<p>Its parameters are the notebook's own defaults.</p>"
    )
    return (
        '<details class="reproduce-this"><summary>Reproduce this'
        f'<span class="for-ears">: {escaping.html(figure)}</span></summary>'
        f"<pre>{escaping.html(calls)}</pre><p>{took}</p>"
        f'<p><a href="{escaping.html(colab)}">Open {escaping.html(source)} in Colab</a></p>'
        f"{given}</details>"
    )


class ReproduceThis(SphinxPostTransform):
    """Add the box after each figure, once the output to show has been chosen."""

    default_priority = 400
    formats = ("html",)

    def run(self, **options: Any) -> None:
        """Process one page."""
        del options
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            return
        notebook = json.loads(path.read_text(encoding="utf-8"))
        source, root = f"notebooks/{path.name}", Path(self.env.srcdir).parent
        theme = self.config.html_theme_options
        repository = theme.get("repository_url", "").removeprefix("https://github.com/")
        branch = theme.get("repository_branch", "main")
        colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/{source}"
        for figure in list(self.document.findall(nodes.figure)):
            name = next(iter(figure["names"] or figure["ids"]), "")
            box = nodes.raw("", details(notebook, name, source, colab, root), format="html")
            figure.parent.insert(figure.parent.index(figure) + 1, box)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(ReproduceThis)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
