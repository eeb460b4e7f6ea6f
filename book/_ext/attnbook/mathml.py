"""Formulas as MathML, written when the book is built, so that no page needs MathJax."""

import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
PARTS = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2,
         "msubsup": 3, "munderover": 3}  # fmt: skip
FUNCTION = re.compile(r"(</m(?:i|n|sub|sup|subsup|frac)>)?(<mi>(?:log|ln|exp|max|min)</mi>)")
THIN = '<mspace width="0.167em"/>'


def to_mathml(tex: str, display: str) -> str:
    """MathML of one formula; ``display`` is ``inline`` or ``block``.

    Raises:
        ValueError: If ``tex`` is malformed, or a command or mark in it was not understood. The
            converter itself accepts most of that.
    """
    # the converter numbers align and lacks aligned; split has the same layout
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
    return FUNCTION.sub(_apart, mathml)


def _apart(found: re.Match[str]) -> str:
    """A function's name with the thin spaces that TeX puts between it and its neighbours."""
    before, name = found.groups()
    following = found.string[found.end() : found.end() + 4]
    after = THIN if following in ("<mn>", "<mi>", "<mfr", "<msq", "<msu", "<mro") else ""
    return (before + THIN if before else "") + name + after


def _write(translator: HTML5Translator, node: nodes.Element, display: str) -> None:
    try:
        translator.body.append(to_mathml(node.astext(), display))
    except ValueError as error:
        logger.warning("%s", error, location=node, type="mathml")


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula."""
    _write(translator, node, "inline")
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula with its number."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:  # first, as the theme lays the two out from right to left
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Permalink to this equation")
        translator.body.append("</span>")
    _write(translator, node, "block")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


class Unbroken(SphinxPostTransform):
    """Keep a formula on one line with the brackets before it and the punctuation after it.

    Browsers break a line before and after a formula, even between it and its full stop.
    """

    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        """Wrap each formula of one page with adjacent brackets and punctuation."""
        for formula in list(self.document.findall(nodes.math)):
            parent, at = formula.parent, formula.parent.index(formula)
            before, after = parent[at - 1] if at else None, parent[at + 1 : at + 2]
            whole = nodes.inline("", "", classes=["formula"])
            if isinstance(before, nodes.Text) and (rest := before.rstrip("([")) != before:
                parent[at - 1] = nodes.Text(rest)
                whole += nodes.Text(before[len(rest) :])
            formula.replace_self(whole)
            whole += formula
            if after and isinstance(after[0], nodes.Text):
                rest = after[0].lstrip(".,;:!?)]")
                whole += nodes.Text(after[0][: len(after[0]) - len(rest)])
                parent[at + 1] = nodes.Text(rest)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer that ``html_math_renderer: mathml`` chooses."""
    app.add_post_transform(Unbroken)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
