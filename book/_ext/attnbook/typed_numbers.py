"""Refuse measured numbers that were typed by hand instead of using the roles of ``provenance``.

The check is by form: a numeral with a unit of results (%, points, images per second,
MB, ms, GMAC, seconds), or a decimal that is called an accuracy. Settings and sizes (100 epochs, 224
pixels, 16 x 16), years, equations, code, the level of an interval and generated pages pass.
A number from the literature is in ``{cited}``, in a paragraph with a citation.
"""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from attnbook.provenance import cited, number

logger = logging.getLogger(__name__)
NUMERAL = r"(?<![\w.,])[+\u2212-]?\d+(?:[.,]\d+)*"
UNIT = (
    r"(?:%|(?:percent|per\ cent|(?:percentage\ )?points?|img/s|images/s"
    r"|images\ (?:a|per)\ second|[kMGT]i?B|ms|(?:milli)?seconds?|GMACs?|GFLOPs?)\b)"
)
RANGE = rf"(?:\s?(?:\u00b1|\u2013|-|to|and|or)\s?{NUMERAL})?"
TYPED = re.compile(
    rf"{NUMERAL}{RANGE}[\s\u00a0\u202f-]?{UNIT}"
    r"|(?<=accuracy\ )(?:(?:of|is|was|at|to)\ )?0?\.\d{2,}|\b0\.\d{2,}(?=\ accuracy)",
    re.VERBOSE | re.IGNORECASE,
)
# Confidence levels are chosen, not measured.
LEVEL = re.compile(r"\b\d+%\s(?:[\w-]+\s){0,2}[\w-]*intervals?|intervals?\s(?:at|of)\s\d+%")
NOT_PROSE = (
    nodes.literal, nodes.literal_block, nodes.doctest_block, nodes.math, nodes.math_block,
    nodes.raw, nodes.comment, nodes.problematic, number, cited, addnodes.pending_xref,
)  # fmt: skip
GENERATED = ("runs/",)
COMPUTED = "computed"  # class of text that a directive computes


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes around ``node``, from the inside out."""
    while node.parent is not None:
        node = node.parent
        yield node


def is_computed(node: nodes.Node) -> bool:
    """Whether a directive marked the node as computed."""
    return isinstance(node, nodes.Element) and COMPUTED in node.get("classes", ())


def typed_in(text: str) -> list[str]:
    """Measured numbers in a text."""
    return TYPED.findall(LEVEL.sub("", " ".join(text.split())))


def cites(node: nodes.Node) -> bool:
    """Whether the paragraph, caption or cell around ``node`` holds a citation."""
    blocks = (nodes.paragraph, nodes.caption, nodes.entry, nodes.title)
    around = next((block for block in ancestors(node) if isinstance(block, blocks)), node.document)
    return any(link.get("refdomain") == "cite" for link in around.findall(addnodes.pending_xref))


class RefuseTypedNumbers(SphinxTransform):
    """Warn of each one, while citations are still links to be resolved."""

    default_priority = 880

    def apply(self) -> None:
        """Check the text of one chapter."""
        if self.env.docname.startswith(GENERATED):
            return
        for text in self.document.findall(nodes.Text):
            if any(isinstance(node, NOT_PROSE) or is_computed(node) for node in ancestors(text)):
                continue
            for found in typed_in(text.astext()):
                logger.warning(
                    "%r typed by hand; use {result}, {measured}, {thesis}, {counted} or {cited}",
                    found, location=text.parent, type="numbers",
                )  # fmt: skip
        for node in self.document.findall(cited):
            if not cites(node):
                message = "{cited}`%s` stands in a paragraph without {cite}"
                logger.warning(message, node.astext(), location=node, type="numbers")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(RefuseTypedNumbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
