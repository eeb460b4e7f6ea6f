"""Colab buttons that open the source notebook.

The theme points at ``book/runs/train.ipynb``, an executed copy that is not in the repository, so
its button would link to a missing page.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def point_to_source(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Rewrite the page's launch buttons, or drop them if there is no notebook to open."""
    del template, doctree
    buttons = context.get("header_buttons", [])
    launch = [button for button in buttons if button.get("label") == "launch-buttons"]
    notebook = f"notebooks/{PurePosixPath(page).name}.ipynb"
    if not (Path(app.srcdir).parent / notebook).exists():
        context["header_buttons"] = [button for button in buttons if button not in launch]
        return
    for button in (button for group in launch for button in group["buttons"]):
        # .../blob/main/book/runs/train.ipynb; a branch with a slash in it would break this
        repository, _, path = button["url"].partition("/blob/")
        button["url"] = f"{repository}/blob/{path.split('/')[0]}/{notebook}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after the theme, which adds its buttons at priority 501."""
    app.connect("html-page-context", point_to_source, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
