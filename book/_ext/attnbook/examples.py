"""Worked examples fold: a formula is followed by its words, and its lines of Python open on demand.

On paper they are all there.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

PROMPT = ">>> "
OPEN = '<details class="worked-example"><summary>The same in Python</summary>'


class FoldExamples(SphinxTransform):
    """Put each block that begins with a prompt into a details element."""

    default_priority = 600

    def apply(self) -> None:
        """Process one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.astext().startswith(PROMPT):
                folded = nodes.container(classes=["example"])
                folded += nodes.raw("", OPEN, format="html")
                folded += block.deepcopy()
                folded += nodes.raw("", "</details>", format="html")
                block.replace_self(folded)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(FoldExamples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
