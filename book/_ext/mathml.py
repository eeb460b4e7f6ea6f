"""Mathematics as MathML, written when the book is built, so that no page needs MathJax."""

import re
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
PARTS = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2,
         "msubsup": 3, "munderover": 3}  # fmt: skip


def to_mathml(tex: str, display: str) -> str:
    """MathML of one formula; ``display`` is ``inline`` or ``block``.

    Raises:
        ValueError: If ``tex`` is malformed, or a command or mark in it was not understood. The
            converter itself lets most of that through.
    """
    # the converter numbers align and does not know aligned: both lay out as split does
    tex = re.sub(r"(\\(?:begin|end))\{(?:aligned|align\*?)\}", r"\1{split}", tex.strip())
    try:
        mathml = convert(tex, display=display)
        elements = list(ElementTree.fromstring(mathml).iter())
    except Exception as error:
        raise ValueError(f"{type(error).__name__} {error} in the formula {tex}") from error
    faults = [e.text for e in elements if e.text and ("\\" in e.text or e.text == "&")]
    names = [(e.tag.rpartition("}")[2], len(e)) for e in elements]
    faults += [f"{name} of {n} parts" for name, n in names if PARTS.get(name, n) != n]
    bare = re.sub(r"\\.", "", tex)
    faults += ["a brace without its other"] if bare.count("{") != bare.count("}") else []
    if faults:
        raise ValueError(f"{', '.join(faults)} in the formula {tex}")
    return mathml


def _write(translator: HTML5Translator, node: nodes.Element, display: str) -> None:
    try:
        translator.body.append(to_mathml(node.astext(), display))
    except ValueError as error:
        logger.warning("%s", error, location=node, type="mathml")


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula that stands in a line of text."""
    _write(translator, node, "inline")
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands by itself, with its number."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:  # first: the theme lays the two out from right to left
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Permalink to this equation")
        translator.body.append("</span>")
    _write(translator, node, "block")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer that ``html_math_renderer: mathml`` chooses."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
