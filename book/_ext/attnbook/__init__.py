"""The book's own Sphinx extensions; ``setup`` registers them all.

Each module is one extension and can be loaded by itself as ``attnbook.NAME``; ``findings`` and
``stamps`` hold what several of them use and know nothing of Sphinx.
"""

from sphinx.application import Sphinx

PARTS = (
    # how a page is written
    "mathml",
    "math_font",
    "svg_figure",
    "play",
    "croatian",
    "chapter_numbers",
    "thesis_order",
    "story",
    "outputs",
    "examples",
    "way",
    "search",
    # what a page says of runs and code
    "provenance",
    "model_tables",
    "thesis_tables",
    "fresh",
    "reproduce_this",
    "compare_runs",
    "look_inside",
    "views",
    # what a page must hold to
    "alt",
    "typed_numbers",
    # how a page reaches its readers
    "launch",
    "theme_titles",
    "identity",
    "offline",
    "access",
    "lean",
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all parts."""
    for part in PARTS:
        app.setup_extension(f"{__name__}.{part}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
