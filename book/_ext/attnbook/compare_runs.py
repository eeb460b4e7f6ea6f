"""``{compare-runs}`` and ``{check-record}``: comparing two runs, and checking a reader's record.

All runs are in the page as JSON (a page opened from disk can't fetch), with ``compare.js`` after
them, which no other page loads. No data leave the page.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from attnbook.findings import read_runs
from attnlib import escaping
from attnlib.config import complete_values
from attnlib.records.answers import read_answers
from attnlib.records.labels import label_runs
from attnlib.records.record import to_json
from attnlib.records.run import Run
from attnlib.stats.intervals import paired_difference

CURVES = ("val_accuracy", "val_loss", "train_loss")
METRICS = ("test_accuracy", "val_accuracy", "test_loss", "best_epoch")
COSTS = ("parameters", "train_images_per_second", "wall_seconds")
SKELETON = """<div class="compare-runs">
<p class="compare-choice"><label>First run <select id="compare-first"></select></label>
<label>Second run <select id="compare-second"></select></label>
<label>Curve <select id="compare-curve"><option value="val_accuracy">validation accuracy</option>
<option value="val_loss">validation loss</option>
<option value="train_loss">training loss</option></select></label></p>
<div id="compare-result" aria-live="polite"></div>
<noscript><p>Comparing needs JavaScript, which stays on this page. Without it, every run has a page
of its own under <a href="runs/index.html">All runs</a>.</p></noscript></div>"""
CHECK = """<form class="compare-runs" id="check-form">
<p><label for="check-record">The text of <code>record.json</code></label>
<textarea id="check-record" rows="6" spellcheck="false"></textarea></p>
<p><label for="check-config">The text of <code>config.json</code> (optional)</label>
<textarea id="check-config" rows="3" spellcheck="false"></textarea></p>
<p><button type="submit">Check</button></p>
<div id="check-result" role="status"></div></form>"""


def short(value: Any) -> Any:
    """A number rounded for display; None if it is not a number."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def describe(run: Run, label: str) -> dict[str, Any]:
    """The page's data on a run with the display name ``label``."""
    record = to_json(run.record)
    metrics = {
        name: {k: short(v) for k, v in value.items()} if isinstance(value, dict) else short(value)
        for name, value in record["metrics"].items()
        if name in METRICS
    }
    return {
        "name": run.name,
        "title": run.title,
        "label": label,
        "config": complete_values(run.config),
        "teacher": record["teacher"],
        "data": record["dataset"]["title"],
        "sha256": record["dataset"]["sha256"],
        "metrics": metrics,
        "cost": {name: short(record["cost"][name]) for name in COSTS},
        "curves": {name: [short(line.get(name)) for line in run.history] for name in CURVES},
        "device": f"{record['device']['name']}, {record['precision']}",
        "commit": str(record["git"]["commit"])[:12],
        "date": record["finished"][:10],
        "finished": record["finished"],
        "command": record["command"],
    }


def differences(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Paired differences of test accuracy with Newcombe's interval, for runs on the same data."""
    answers = {
        r.name: read_answers(r).correct for r in runs if (r.path / "predictions.npz").exists()
    }
    data = {run.name: run.record.dataset.sha256 for run in runs}
    found = {}
    for a, b in itertools.combinations(answers, 2):
        if data[a] == data[b] and len(answers[a]) == len(answers[b]):
            estimate = paired_difference(answers[a], answers[b])
            found[f"{a} {b}"] = [short(n) for n in (estimate.value, estimate.low, estimate.high)]
    return found


def data_of(runs: Sequence[Run]) -> str:
    """The JSON in the page."""
    described = [describe(run, label) for run, label in zip(runs, label_runs(runs), strict=True)]
    content = {"runs": described, "differences": differences(runs), "defaults": complete_values({})}
    return escaping.script(content)


def script(runs: Sequence[Run]) -> str:
    """The data and the script."""
    code = Path(__file__).with_name("compare.js").read_text(encoding="utf-8")
    return (
        f'<script type="application/json" id="compare-data">{data_of(runs)}</script>\n'
        f"<script>\n{code}</script>"
    )


class CompareRuns(SphinxDirective):
    """The directive ``{compare-runs}``: two selects and the comparison."""

    def run(self) -> list[nodes.Node]:
        """Write the form, or a sentence if there are fewer than two runs."""
        runs = read_runs(Path(self.env.srcdir).parent, "runs", "results")
        if len(runs) < 2:
            return [nodes.paragraph("", "There are not yet two finished runs to compare.")]
        return [nodes.raw("", SKELETON, format="html")]


class CheckRecord(SphinxDirective):
    """The directive ``{check-record}``: a form for a record, followed by data and script."""

    def run(self) -> list[nodes.Node]:
        """Write the form, the data and the script."""
        runs = read_runs(Path(self.env.srcdir).parent, "runs", "results")
        return [nodes.raw("", f"{CHECK}\n{script(runs)}", format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("compare-runs", CompareRuns)
    app.add_directive("check-record", CheckRecord)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
