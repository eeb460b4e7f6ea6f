"""Numbers and verdicts as links: ``{result}``, ``{answer}``, ``{measured}`` and others.

    {result}`resnet18.test_accuracy`              of a row of [reference] in experiments.toml
    {result}`deit_t_hard - deit_t`                paired difference of test accuracy
    {result}`kappa(deit_t_hard, resnet18)`        their error consistency
    {answer}`deit_t_hard - deit_t`                the verdict on what that difference decides
    {measured}`cost-cpu(model=deit_t, quantity=gmac).value`   a row of results/measurements
    {thesis}`accuracy_deit_t_p`                   what the thesis states, by its id in thesis.toml
    {counted}`parameters(model=deit_t)`           what attnlib/thesis/counts.py counts
    {cited}`81.8%`                                from the literature, with a {cite}

Each links to the source of the number; a box shows run, commit, command, data, device
and date. In print and other formats the number is plain text. An unknown key is a warning,
which fails the strict build; ``typed_numbers`` refuses measured numbers without a role.
"""

from collections.abc import Callable
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx.writers.html5 import HTML5Translator

from attnbook import findings
from attnbook.findings import Finding
from attnlib import escaping

logger = logging.getLogger(__name__)
Finder = Callable[[Path, str], Finding]


class number(nodes.Inline, nodes.TextElement):  # noqa: N801
    """A number with its ``finding``; its children are shown in other formats."""


class cited(nodes.inline):  # noqa: N801
    """A number from the literature."""


def number_node(env: BuildEnvironment, finding: Finding, rawtext: str = "") -> number:
    """A number on the page that is being read, with a box of its own."""
    node = number(rawtext, f"{finding.text} {finding.interval}".strip(), finding=finding)
    if finding.mark:
        node += nodes.superscript("", finding.mark[0].upper())
    page = env.docname.replace("/", "-")
    node["box"] = f"number-{page}-{env.new_serialno('number')}"
    return node


class NumberRole(SphinxRole):
    """A role for the number that ``find`` returns for a key."""

    def __init__(self, find: Finder) -> None:
        self.find = find

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the key up; an unknown key is shown as it is, with a warning."""
        key = " ".join(self.text.split())
        try:
            finding = self.find(Path(self.env.srcdir).parent, key)
        except ValueError as fault:
            place = self.get_location()
            logger.warning("%s: %s: %s", self.name, key, fault, location=place, type="numbers")
            return [nodes.literal(key, key)], []
        node = number_node(self.env, finding, self.rawtext)
        self.set_source_info(node)
        return [node], []


class CitedRole(SphinxRole):
    """A role for a number from a paper."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Mark it, so that ``typed_numbers`` can require a citation."""
        node = cited(self.rawtext, self.text, classes=["cited-number"])
        self.set_source_info(node)
        return [node], []


def write_html(translator: HTML5Translator, node: number) -> None:
    """The number as a link, and after it the box of facts."""
    finding: Finding = node["finding"]
    inside = node.parent
    while inside is not None and not isinstance(inside, nodes.reference | nodes.title):
        inside = inside.parent
    if inside is not None or translator.builder.name == "epub":
        return  # inside a link, or where no box can open: plain text
    builder = translator.builder
    link = '<span tabindex="0"'
    if finding.page in builder.env.found_docs:
        address = builder.get_relative_uri(builder.current_docname, finding.page)
        address += f"#{finding.place}" if finding.place else ""
        link = f'<a href="{escaping.html(address)}"'
    elif finding.page:
        logger.warning("there is no page %s", finding.page, location=node, type="numbers")
    kind = " not-run" if finding.text == findings.NOT_RUN else ""
    mark = f'<sup class="number-mark">{finding.mark[0].upper()}</sup>' if finding.mark else ""
    shown = escaping.html(finding.text).replace(" ", "&nbsp;")
    if finding.interval:
        shown += f' <span class="number-interval">{escaping.html(finding.interval)}</span>'
    facts = "".join(
        f'<span class="number-term">{escaping.html(term)}: </span>'
        f'<span class="number-fact">{escaping.html(fact)} </span>'
        for term, fact in finding.facts
    )
    translator.body.append(
        f'<span class="number{kind}">{link} class="number-link" aria-describedby="{node["box"]}">'
        f"{shown}{mark}</{link[1:].split()[0]}>"
        f'<span class="number-facts" role="tooltip" id="{node["box"]}">{facts}</span></span>'
    )
    raise nodes.SkipNode


def stand_as_text(translator: nodes.NodeVisitor, node: nodes.Node) -> None:
    """Show the children."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the roles."""
    as_text = (stand_as_text, stand_as_text)
    app.add_node(number, html=(write_html, stand_as_text), latex=as_text, text=as_text, man=as_text)
    app.add_node(cited, override=True)
    finders: dict[str, Finder] = {
        "result": findings.find_result,
        "answer": findings.find_answer,
        "measured": findings.find_measured,
        "thesis": findings.find_thesis,
        "counted": findings.find_counted,
    }
    for name, find in finders.items():
        app.add_role(name, NumberRole(find))
    app.add_role("cited", CitedRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
