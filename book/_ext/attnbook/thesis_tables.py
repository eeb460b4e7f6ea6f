"""``{thesis-table} Table 8.1``: a table of the thesis, cell by cell beside ours with a verdict.

Each number of the thesis and each of ours is a link to its line on the scoreboard, with a box that
says where it is from. The content is the caption. ``{verdicts}`measured.reproduced``` is how many
statements of a kind have a verdict.
"""

import functools
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from attnbook.findings import Facts, Finding, find_thesis, one_of
from attnbook.provenance import NumberRole, number_node
from attnlib.stats.intervals import NOT_RUN
from attnlib.thesis.scoreboard import Line, gather, judge_all
from attnlib.thesis.statements import KINDS, read_thesis, table_cells
from attnlib.thesis.verdicts import VERDICTS

HEADER = ("network", "quantity", "thesis", "ours", "verdict")


@functools.cache
def lines(root: Path) -> dict[str, Line]:
    """Every statement of the thesis with its verdict, by id."""
    evidence = gather(root / "results", root / "runs")
    return {line.statement.id: line for line in judge_all(evidence)}


def find_verdicts(root: Path, key: str) -> Finding:
    """``KIND.VERDICT`` or ``KIND.all``: how many statements of a kind have a verdict.

    Raises:
        ValueError: If the kind or the verdict is unknown.
    """
    kind, _, verdict = key.partition(".")
    one_of(kind, [*KINDS], "kind of statement")
    one_of(verdict, [*VERDICTS, "all"], "verdict")
    found = [line for line in lines(root).values() if line.statement.kind == kind]
    count = sum(verdict in ("all", line.verdict.verdict) for line in found)
    facts: Facts = (
        ("what", f"statements of the thesis: {KINDS[kind]}, {verdict}"),
        ("counted by", "the scoreboard, when this page was built"),
    )
    return Finding(str(count), facts, page="runs/scoreboard")


def ours(line: Line) -> Finding:
    """Our value of a cell, and how it is known or what it needs."""
    statement, verdict = line.statement, line.verdict
    facts: Facts = (("what", statement.what), ("how we know", verdict.why))
    if verdict.command:
        facts += (("command", verdict.command),)
    text = verdict.ours or NOT_RUN
    return Finding(text, facts, page="runs/scoreboard", place=statement.anchor)


class ThesisTable(SphinxDirective):
    """A table of the thesis by its name."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"name": str}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        root = Path(self.env.srcdir).parent
        try:
            cells = table_cells(self.arguments[0])
        except ValueError as fault:
            raise self.error(str(fault)) from None
        self.env.note_dependency(str(root / "attnlib" / "thesis" / "thesis.toml"))
        group = nodes.tgroup("", cols=len(HEADER))
        group += [nodes.colspec("", colwidth=1) for _ in HEADER]
        group += nodes.thead("", row([nodes.Text(name) for name in HEADER]))
        group += nodes.tbody("", *(self.line(root, name) for name in cells))
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        shown = nodes.table("", nodes.title("", "", *caption), group, classes=["thesis-table"])
        self.set_source_info(shown)
        self.add_name(shown)
        return [shown]

    def line(self, root: Path, name: str) -> nodes.row:
        """The row of one number."""
        found, thesis = lines(root)[name], read_thesis()
        subject = thesis.subjects[found.statement.subject]["title"]
        quantity = thesis.quantities[found.statement.quantity]["what"]
        return row(
            [
                nodes.Text(subject),
                nodes.Text(quantity),
                number_node(self.env, find_thesis(root, name)),
                number_node(self.env, ours(found)),
                nodes.Text(found.verdict.verdict),
            ]
        )


def row(cells: list[nodes.Node]) -> nodes.row:
    """A row of cells."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the role."""
    app.add_directive("thesis-table", ThesisTable)
    app.add_role("verdicts", NumberRole(find_verdicts))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
