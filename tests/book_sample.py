"""A small book made of invented records, to build and open where no real run is at hand."""

import base64
import contextlib
import importlib
import json
import math
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from attnlib.thesis.statements import read_thesis

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("cat", "dog", "ship")
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/attnlib/attnlib/blob/main/notebooks/train.ipynb)"
)


CONFIG = {"model": "deit_t", "profile": "quick", "img_size": 32, "epochs": 6, "lr": 5e-4}


def invented_record(name: str, title: str, teacher: str | None = None) -> dict[str, Any]:
    """A finished record of the schema, with numbers that nobody measured."""
    accuracy = {"value": 0.9, "low": 0.87, "high": 0.92, "n": 360, "method": "Wilson, 95 %"}
    return {
        "schema": 1,
        "name": name,
        "title": title,
        "status": "finished",
        "dataset": {
            "name": "digits",
            "title": "Handwritten digits",
            "sha256": "0123456789abcdef" * 4,
            "classes": list(CLASSES),
            "sizes": {"train": 1200, "val": 237, "test": 360},
        },
        "metrics": {
            "test_accuracy": accuracy,
            "val_accuracy": accuracy | {"n": 237},
            "test_loss": 0.3,
            "best_epoch": 5,
            "per_class": [
                {
                    "class": c,
                    "value": 0.9,
                    "low": 0.8,
                    "high": 0.95,
                    "n": 120,
                    "method": "Wilson, 95 %",
                }
                for c in CLASSES
            ],
        },
        "cost": {
            "parameters": 5_526_346,
            "train_images_per_second": 500.0,
            "wall_seconds": 42.0,
            "weights_bytes": 22_105_384,
            "peak_memory_bytes": None,
        },
        "seeds": {"run": 0, "split": 0},
        "teacher": teacher,
        "command": "papermill notebooks/train.ipynb OUT.ipynb -p model deit_t -p profile quick "
        "-p distillation hard -p teacher resnet18 -p seed 0",
        "git": {"commit": "1234567890abcdef1234567890abcdef12345678", "dirty": True},
        "versions": {"python": "3.11.9", "attnlib": "0.1.0", "torch": "2.6.0"},
        "device": {"type": "cpu", "name": "x86_64", "threads": 2, "processes": 1},
        "precision": "float32",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:42+00:00",
    }


def invented_epoch(epoch: int) -> dict[str, Any]:
    """One line of a history."""
    return {
        "epoch": epoch,
        "epochs": 6,
        "lr": 5e-4,
        "train_loss": 2.3 * math.exp(-epoch / 3),
        "val_loss": 0.2 + 2.3 * math.exp(-epoch / 2.5),
        "val_accuracy": 0.95 - 0.8 * math.exp(-epoch / 2) - (0.02 if epoch == 6 else 0),
        "images_per_second": 500.0,
        "seconds": 7.0,
    }


def invented_history() -> str:
    """The six epochs of an invented run."""
    return "".join(json.dumps(invented_epoch(n)) + "\n" for n in range(1, 7))


def write_run(folder: Path, name: str, title: str) -> None:
    """Write an invented run to ``folder/name``."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "record.json").write_text(json.dumps(invented_record(name, title)))
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "history.jsonl").write_text(invented_history())


def write_runs(folder: Path) -> None:
    """Write one run that is kept and one that is fresh."""
    write_run(folder / "results", "resnet18-a", "ResNet-18")
    write_run(folder / "runs", "deit_t-b", "DeiT-T, hard distillation from ResNet-18")


def write_notebook(path: Path, title: str) -> None:
    """Write an executed notebook with a badge, an equation, a table of text and a figure."""
    picture = BytesIO()
    Image.new("L", (240, 120), 128).save(picture, "PNG")
    png = base64.b64encode(picture.getvalue()).decode()
    figure = new_code_cell(
        "show()",
        outputs=[new_output("display_data", data={"image/png": png})],
        execution_count=2,
        metadata={
            "mystnb": {
                "image": {"alt": "A grey rectangle, twice as wide as high"},
                "figure": {"name": f"fig-{path.stem}", "caption": "The rectangle is grey."},
            }
        },
    )
    equation = f"$$\nA = \\operatorname{{softmax}}(QK^\\top / \\sqrt{{d}})\n$$ (eq-{path.stem})\n"
    printed = new_code_cell(
        "print(1)", outputs=[new_output("stream", name="stdout", text="1\n")], execution_count=1
    )
    text = f"{equation}\nEquation {{eq}}`eq-{path.stem}` holds for $N^2$ pairs."
    cells = [new_markdown_cell(f"# {title}\n\n{BADGE}"), new_markdown_cell(text), printed, figure]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def write_executed(folder: Path, name: str, title: str) -> None:
    """Write a notebook and its executed, stamped copy among the book's pages."""
    source, page = folder / "notebooks" / f"{name}.ipynb", folder / "book/runs" / f"{name}.ipynb"
    for path in (source, page):
        write_notebook(path, title)
    places = ["--source", f"notebooks/{name}.ipynb", str(page), "pyproject.toml"]
    run_tool(folder, "stamp", *places)


def run_tool(folder: Path, name: str, *arguments: str) -> None:
    """Run a script of the book in ``folder``; in this process, since PyTorch's import is slow."""
    tool = importlib.import_module(name)
    with contextlib.chdir(folder), mock.patch.object(sys, "argv", [name, *arguments]):
        tool.main()


def copy_sources(folder: Path) -> None:
    """Copy what the book is built from, without what the pipeline put there."""
    ignored = shutil.ignore_patterns("runs", "__pycache__", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "book", folder / "book", ignore=ignored)
    shutil.copytree(ROOT / "attnlib", folder / "attnlib", ignore=ignored)  # chapters show its lines
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "notebooks").mkdir(exist_ok=True)
    shutil.copy(ROOT / "notebooks" / "experiments.toml", folder / "notebooks")
    shutil.copytree(ROOT / "results" / "measurements", folder / "results" / "measurements")
    stubs = "reference errors cost features attention official human between scoreboard errata"
    for name in stubs.split():
        page = folder / "book" / "runs" / f"{name}.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(f"# {name.title()}\n\nStands for a page of the book.\n")
    with (folder / "book" / "runs" / "scoreboard.md").open("a") as scoreboard:  # numbers lead there
        for statement in read_thesis().statements.values():
            scoreboard.write(f'\n<span id="{statement.anchor}"></span>\n')
    with (folder / "book" / "runs" / "errata.md").open("a") as errata:  # chapters refer to them
        errata.writelines(f"\n(erratum-{n})=\n## {n}. An erratum\n" for n in range(1, 31))


def make_pages(folder: Path) -> None:
    """Write the pages of runs and of measurements of the copy in ``folder``."""
    for script, places in (
        ("make_pages", ["--runs", "runs", "--results", "results"]),
        ("make_measurements", ["--results", "results/measurements"]),
    ):
        run_tool(folder, script, *places, "--out", "book/runs")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the book of the copy in ``folder`` strictly."""
    options = ["--config", "_config.yml", "--path-output", ".", "-W", "-n", "--keep-going"]
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book", *options]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True)


def sample_book(folder: Path) -> Path:
    """Write and build the sample book in ``folder``; its HTML folder."""
    copy_sources(folder)
    for name, title in (("data", "The data"), ("train", "Training a model")):
        write_executed(folder, name, title)
    write_runs(folder)
    make_pages(folder)
    result = build(folder)
    if result.returncode:
        raise AssertionError(f"the sample book did not build:\n{result.stdout}{result.stderr}")
    return folder / "_build" / "html"
