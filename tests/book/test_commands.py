"""Every command that the book gives is one that works: known parameters, valid values."""

import ast
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnlib.commands.parser import make_parser
from attnlib.compare.comparison import ErrorsConfig
from attnlib.compare.reference_runs import ReferenceParams
from attnlib.config import TrainConfig
from attnlib.cost.benchmark import CostConfig
from attnlib.explorer.showcase import AttentionView, FeaturesView
from attnlib.human.run_study import StudyParams
from attnlib.parameters import parse_params
from attnlib.records.find import list_runs
from attnlib.records.run import Run
from attnlib.thesis import scoreboard

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASUREMENTS = sorted((ROOT / "results" / "measurements").glob("*.json"))
END = r"[^`\n#|]*"
TRAINING = re.compile(r"^\s*(?:torchrun [^`\n]*|python )-m attnlib train\b" + END, re.MULTILINE)
NAMES = "train|predict|evaluate|runs|show|compare|export|models|card|completion"
PROGRAM = re.compile(rf"^\s*(?:python -m )?attnlib (?:{NAMES})\b{END}", re.MULTILINE)
NOTEBOOK = re.compile(r"papermill notebooks/(\w+)\.ipynb\b" + END)
READERS: dict[str, Callable[..., Any]] = {  # of a notebook's parameters
    "attention": AttentionView.from_params,
    "between": lambda **given: parse_params(ReferenceParams, given),
    "cost": CostConfig.from_params,
    "data": TrainConfig.from_params,
    "errors": ErrorsConfig.from_params,
    "features": FeaturesView.from_params,
    "human": StudyParams.from_params,
    "reference": lambda **given: parse_params(ReferenceParams, given),
    "scoreboard": lambda **given: parse_params(scoreboard.Params, given),
    "train": TrainConfig.from_params,
}


def texts() -> list[str]:
    """The README, the chapters, the notebooks' prose, and the commands of kept measurements."""
    found = [path.read_text("utf-8") for path in [ROOT / "README.md", *ROOT.glob("book/*.md")]]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        found += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return found + [json.loads(path.read_text("utf-8"))["command"] for path in MEASUREMENTS]


def all_of(form: re.Pattern[str]) -> list[str]:
    return sorted({found[0].strip() for text in texts() for found in form.finditer(text)})


def parameters(words: list[str]) -> dict[str, str]:
    """What follows ``-p`` in a command."""
    return {words[n + 1]: words[n + 2] for n, word in enumerate(words) if word == "-p"}


def defaults(notebook: str) -> dict[str, Any]:
    """The parameters of a notebook, from its first cell of code."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    source = next(
        "".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])
    )
    lines = [line for line in ast.parse(source).body if isinstance(line, ast.Assign)]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", all_of(NOTEBOOK))
def test_a_notebook_understands_the_parameters_that_a_page_gives_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "my_images").mkdir()
    monkeypatch.chdir(tmp_path)
    name, given = NOTEBOOK.match(command)[1], parameters(shlex.split(command))  # type: ignore[index]
    known = defaults(name)
    assert set(given) <= set(known)
    READERS[name](**known | ({"device": "cpu"} if "device" in known else {}) | given)


@pytest.mark.parametrize("command", all_of(TRAINING))
def test_a_command_that_trains_has_a_configuration(command: str):
    given = parameters(shlex.split(command))
    if "--help" not in command:
        assert TrainConfig.from_params(**{"device": "cpu"} | given).model == given["model"]


@pytest.mark.parametrize("command", all_of(PROGRAM))
def test_the_command_line_understands_what_a_page_gives_it(command: str):
    words = shlex.split(command.removeprefix("python -m "))[1:]
    if "--help" not in words:
        assert make_parser().parse_args(words).command == words[0]


@pytest.mark.parametrize("run", list_runs(ROOT / "results"), ids=lambda run: run.name)
def test_the_command_of_a_kept_run_makes_its_configuration(run: Run):
    config = TrainConfig.from_params(
        **{"device": "cpu"} | parameters(shlex.split(run.record.command))
    )
    assert config.name == run.name
    kept = {name: run.config[name] for name in config.values if name in run.config}
    again = {name: config.values[name] for name in kept}
    assert again | {"amp": kept["amp"]} == kept  # kept runs of before "auto" say what it meant


def test_commands_are_found():
    assert len(all_of(NOTEBOOK)) > 15 and len(all_of(TRAINING)) > 8 and len(all_of(PROGRAM)) > 10
