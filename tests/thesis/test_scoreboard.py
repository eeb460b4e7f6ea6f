"""The scoreboard: records gathered, verdicts counted and shown, and its notebook."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import attnlib as al
from attnlib.thesis import figures, scoreboard
from attnlib.thesis.statements import read_thesis
from attnlib.thesis.verdicts import VERDICTS, Evidence

NOTHING = Evidence((), (), (), {})


def test_gather_reads_what_is_there_and_names_what_is_broken(tiny_run, tmp_path):
    kept = tmp_path / "results" / tiny_run.name
    kept.mkdir(parents=True)
    for name in ("record.json", "config.json", "history.jsonl"):
        (kept / name).write_bytes((tiny_run.path / name).read_bytes())
    broken = tmp_path / "runs" / "broken"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text(json.dumps({"schema": 1}), encoding="utf-8")
    (broken / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "results" / "measurements").mkdir()
    (tmp_path / "results" / "measurements" / "cost.json").write_text("{", encoding="utf-8")
    evidence = scoreboard.gather(tmp_path / "results", tmp_path / "runs")
    assert [run.name for run in evidence.runs] == [tiny_run.name]
    assert set(evidence.left_out) == {"runs/broken", "cost.json"}
    assert "missing" in evidence.left_out["runs/broken"]
    assert str(evidence).startswith("run records: 1, measurement files: 0\nleft out: ")


def test_folders_are_found_from_the_notebooks_folder_and_may_be_absent(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "results" / "x").mkdir(parents=True)
    (tmp_path / "results" / "x" / "record.json").write_text("{", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert set(scoreboard.gather().left_out) == {"results/x"}
    monkeypatch.chdir(tmp_path / "results" / "x")
    assert scoreboard.gather() == NOTHING


def test_counts_choice_table_and_figure_agree():
    lines = scoreboard.judge_all(NOTHING)
    counts = scoreboard.count_verdicts(lines)
    assert counts.loc["all", "all"] == len(lines) == len(read_thesis().statements)
    assert (counts[list(VERDICTS)].sum(axis=1) == counts["all"]).all()
    corrected = scoreboard.choose(lines, "corrected", 8)
    assert corrected and {line.statement.chapter for line in corrected} == {8}
    assert {line.verdict.verdict for line in corrected} == {"corrected"}
    html = scoreboard.to_html(corrected, "corrected")
    assert html.count('<tr id="thesis-') == len(corrected) and html.count("<th scope") == 4
    assert "peak_deit_t 256,684,032, peak_resnet18 822,083,584" in html
    first = corrected[0]
    hostile = replace(first, verdict=first.verdict._replace(ours="<script>"))
    assert "&lt;script&gt;" in scoreboard.to_html([hostile], "corrected")
    waiting = scoreboard.to_html(scoreboard.choose(lines, "not run"), "not run")
    assert waiting.count("<code>papermill notebooks/train.ipynb OUT.ipynb -p model") > 5
    assert "nothing is: differs" in scoreboard.to_html(corrected, "differs")
    axes = figures.verdicts_by_kind(counts).axes[0]
    bars = sum(bar.get_width() for bars in axes.containers for bar in bars)
    assert bars == len(lines)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"verdict": "correct"}, "verdict: unknown value 'correct'. Did you mean 'corrected'?"),
        ({"chapter": 9}, "chapter: expected a whole number >= 3 and <= 8; got 9"),
        ({"result": "x"}, "result: no such parameter. Did you mean 'results'?"),
    ],
)
def test_wrong_parameter_is_refused_with_the_valid_ones(params, told):
    with pytest.raises(ValueError) as fault:
        al.parse_params(scoreboard.Params, params)
    assert told in str(fault.value)


@pytest.mark.slow
def test_notebook_runs_without_any_record_and_stops_at_a_wrong_parameter(tmp_path):
    def papermill(*words: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).parent / "papermill")
        notebook = str(Path(__file__).parents[2] / "notebooks" / "scoreboard.ipynb")
        return subprocess.run(
            [program, notebook, "OUT.ipynb", *words],
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    done = papermill("-p", "chapter", "8")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "OUT.ipynb").read_text(encoding="utf-8")
    assert "run records: 0, measurement files: 0" in text and "Table 8.2, row" in text
    assert "Figure 6.1" not in text
    wrong = papermill("-p", "verdict", "wrong")
    assert wrong.returncode != 0
    assert "Valid: all, corrected, differs, reproduced, not run." in wrong.stderr
