"""``{view}`words <layer=1&token=class&map=mean>```: a link to a view of the page "Look inside".

The address sets the page: ``image``, ``layer``, ``token`` (class, distillation, or a patch from 1),
``map`` (mean, rollout, or a head from 1), ``pair`` (the patch of the worked example) with its
``head``, ``erased`` (patches with points between) and ``step``.
Formats without scripts keep the words alone.
"""

import re

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from attnlib import escaping

PAGE = "explorer"
KEYS = {"image", "layer", "token", "map", "pair", "head", "erased", "step"}


class View(nodes.inline):
    """Words that lead to a view, in the attribute ``view``."""


def role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *args: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The link."""
    found = re.fullmatch(r"(.+?)\s*<([^<>]+)>", text, re.DOTALL)
    keys = {part.partition("=")[0] for part in found[2].split("&")} if found else set()
    if found is None or not keys <= KEYS:
        told = f"view: expected words <key=value&...> with keys {', '.join(sorted(KEYS))}"
        problem = inliner.reporter.error(f"{told}; got {text!r}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    return [View(rawtext, found[1], view=found[2])], []


def open_link(translator: HTML5Translator, node: View) -> None:
    """Open a link, if scripts can run."""
    builder = translator.builder
    if builder.name in ("html", "dirhtml"):
        page = builder.get_relative_uri(builder.current_docname, PAGE)
        address = escaping.html(f"{page}#{node['view']}")
        translator.body.append(f'<a class="reference internal" href="{address}">')


def close_link(translator: HTML5Translator, node: View) -> None:
    """End the link."""
    if translator.builder.name in ("html", "dirhtml"):
        translator.body.append("</a>")


def unmarked(writer: nodes.GenericNodeVisitor, node: View) -> None:
    """Leave the words unchanged."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role."""
    other = {kind: (unmarked, unmarked) for kind in ("latex", "text", "man", "texinfo")}
    app.add_node(View, html=(open_link, close_link), **other)
    app.add_role("view", role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
