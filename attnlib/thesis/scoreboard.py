"""The scoreboard: every number of the thesis compared with ours, with a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attnlib import escaping
from attnlib.parameters import parameter
from attnlib.records.find import find_folders, read_runs
from attnlib.records.measurements import list_measurements
from attnlib.thesis.counts import Values
from attnlib.thesis.statements import KINDS, Statement, read_errata, read_thesis
from attnlib.thesis.verdicts import VERDICTS, Evidence, Judge, Verdict

COLUMNS = ("in the thesis, and where", "thesis", "ours", "how we know, or what it needs")
LEFT = 'style="text-align: left; vertical-align: top; padding: 0.3em 0.5em"'


@dataclass(frozen=True)
class Params:
    """Parameters of the scoreboard notebook."""

    results: str = parameter("results", "folder of kept run records and of measurements")
    runs: str = parameter("runs", "folder of your own runs")
    verdict: str = parameter("all", "show one verdict only", choices=("all", *VERDICTS))
    chapter: int | None = parameter(None, "show one chapter of the thesis only", low=3, high=8)


@dataclass(frozen=True)
class Line:
    """A statement of the thesis with its verdict."""

    statement: Statement
    verdict: Verdict


def gather(results: str | Path = "results", runs: str | Path = "runs") -> Evidence:
    """Read the run records and cost measurements found here or one folder up.

    What can't be read is left out, with the reason.
    """
    kept, own = (_folder(folder) for folder in (results, runs))
    costs, left_out = list_measurements("cost", kept / "measurements")
    scalings, _ = list_measurements("scaling", kept / "measurements")
    found = read_runs(kept, own)
    left_out |= found.left_out
    return Evidence(tuple(found.runs), tuple(costs), tuple(scalings), left_out)


def judge_all(evidence: Evidence) -> list[Line]:
    """Judge every statement, in the order of the thesis's sections."""
    thesis, errata = read_thesis(), read_errata()
    values = Values(thesis, errata)
    statements = sorted(thesis.statements.values(), key=lambda s: [*map(int, s.section.split("."))])
    judge = Judge(values, evidence)
    return [Line(statement, judge.verdict(statement)) for statement in statements]


def choose(lines: Sequence[Line], verdict: str = "all", chapter: int | None = None) -> list[Line]:
    """The lines with a given verdict, of a given chapter, or both."""
    return [
        line
        for line in lines
        if verdict in ("all", line.verdict.verdict) and chapter in (None, line.statement.chapter)
    ]


def count_verdicts(lines: Sequence[Line]) -> pd.DataFrame:
    """Number of statements of each kind with each verdict, and totals."""
    rows = [
        Counter(line.verdict.verdict for line in lines if line.statement.kind == kind)
        for kind in KINDS
    ]
    index = pd.Index([about for about in KINDS.values()], name="in the thesis")
    counts = pd.DataFrame(rows, index=index, columns=list(VERDICTS)).fillna(0).astype(int)
    return pd.concat([counts, counts.sum().to_frame("all").T]).assign(all=lambda t: t.sum(axis=1))


def to_html(lines: Sequence[Line], verdict: str) -> str:
    """The lines with one verdict as an HTML table, or a sentence if there are none."""
    rows = [line for line in lines if line.verdict.verdict == verdict]
    if not rows:
        return f"<p>Of what was asked for, nothing is: {verdict}.</p>"
    head = "".join(f'<th scope="col" {LEFT}>{column}</th>' for column in COLUMNS)
    body = "".join(f'<tr id="{line.statement.anchor}">{_cells(line)}</tr>' for line in rows)
    return (
        f'<table class="dataframe"><caption>{len(rows)} statements: {verdict}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(line: Line) -> str:
    """The four cells of a line."""
    statement, verdict = line.statement, line.verdict
    command = f"<br><code>{escaping.html(verdict.command)}</code>" if verdict.command else ""
    cells = (
        f"{escaping.html(statement.what)}<br><small>{escaping.html(statement.place)}</small>",
        escaping.html(f"{statement.printed} {statement.unit}".strip()),
        escaping.html(verdict.ours),
        escaping.html(verdict.why) + command,
    )
    return "".join(f"<td {LEFT}>{cell}</td>" for cell in cells)


def _folder(folder: str | Path) -> Path:
    """The folder, from here or, for a notebook run in its own folder, one level up."""
    return next((f for f in find_folders(folder)[::-1] if f.exists()), Path(folder))
