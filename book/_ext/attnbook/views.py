"""``{view}`words <layer=1&token=class&map=mean>```: a link to a view of the page "Look inside".

The address sets the page: ``image``, ``layer``, ``token`` (class, distillation, or a patch from 1),
``map`` (mean, rollout, or a head from 1), ``pair`` (the patch of the worked example) with its
``head``, ``erased`` (patches with points between) and ``step``. In a notebook, which knows no
roles, ``[words](../explorer#layer=1&map=mean)`` is the same. Other formats keep the words.
"""

import posixpath
import re

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from attnlib import escaping

PAGE = "explorer"
KEYS = {"image", "layer", "token", "map", "pair", "head", "erased", "step"}
EXPECTED = f"view: expected words <key=value&...> with keys {', '.join(sorted(KEYS))}"

logger = logging.getLogger(__name__)


class View(nodes.inline):
    """Words that lead to a view, in the attribute ``view``."""


def role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *args: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The link."""
    found = re.fullmatch(r"(.+?)\s*<([^<>]+)>", text, re.DOTALL)
    if found is None or not is_view(found[2]):
        problem = inliner.reporter.error(f"{EXPECTED}; got {text!r}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    return [View(rawtext, found[1], view=found[2])], []


def is_view(address: str) -> bool:
    """Whether the page knows every key of ``key=value&...``."""
    return {part.partition("=")[0] for part in address.split("&")} <= KEYS


class LinkedViews(SphinxTransform):
    """Markdown links to a view of the page become what the role makes."""

    default_priority = 10  # before links to pages are looked up

    def apply(self, **kwargs: object) -> None:
        """Replace them; an unknown key is a fault."""
        here = posixpath.dirname(self.env.docname)
        for link in list(self.document.findall(addnodes.pending_xref)):
            page, mark, address = str(link.get("reftarget", "")).partition("#")
            page = posixpath.normpath(posixpath.join(here, page.removesuffix(".md")))
            if page != PAGE or not mark or "=" not in address:
                continue
            if not is_view(address):
                logger.warning("%s; got %r", EXPECTED, address, location=link)
            link.replace_self(View("", "", *link.children, view=address))


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
    app.add_transform(LinkedViews)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
