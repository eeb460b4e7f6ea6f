"""Buttons that open a page's source: Colab the notebook, the pencil the file to edit.

The theme points at ``book/runs/train.ipynb``, an executed copy that is not in the repository, so
its buttons would link to a missing page. Pages that are written from records have no source.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

EDIT = "source-edit-button"


def source_of(app: Sphinx, page: str) -> str | None:
    """The file that a page is made from, in the repository; None if it is made from records."""
    root = Path(app.srcdir).parent
    own = [f"notebooks/{PurePosixPath(page).name}.ipynb"] if page.startswith("runs/") else []
    own += [f"book/{page}.md"] if not page.startswith("runs/") else []
    return next((path for path in own if (root / path).exists()), None)


def point_to_source(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Rewrite the page's buttons, or drop those that have nothing to open."""
    del template, doctree
    buttons, source = context.get("header_buttons", []), source_of(app, page)
    notebook = source if source and source.endswith(".ipynb") else None
    if notebook is None:
        buttons = [button for button in buttons if button.get("label") != "launch-buttons"]
    for group in [button for button in buttons if "buttons" in button]:
        is_launch = group.get("label") == "launch-buttons"
        if source is None:
            group["buttons"] = [b for b in group["buttons"] if b.get("label") != EDIT]
        for button in group["buttons"]:
            if is_launch:
                # .../blob/main/book/runs/train.ipynb; a branch with a slash would break this
                repository, _, path = button["url"].partition("/blob/")
                button["url"] = f"{repository}/blob/{path.split('/')[0]}/{notebook}"
            elif button.get("label") == EDIT:
                repository, _, path = button["url"].partition("/edit/")
                button["url"] = f"{repository}/edit/{path.split('/')[0]}/{source}"
    context["header_buttons"] = buttons


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after the theme, which adds its buttons at priority 501."""
    app.connect("html-page-context", point_to_source, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
