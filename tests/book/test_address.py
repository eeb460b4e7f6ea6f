"""The repository's address stands in pyproject.toml; everything else is written from it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "book" / "address.py"


def address(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that hold the address, with a notebook and a README of its own."""
    for name in ("pyproject.toml", "_config.yml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("runs"))
    colab = "https://colab.research.google.com/github/attnlib/attnlib/blob/main/notebooks/x.ipynb"
    install = "%pip install git+https://github.com/attnlib/attnlib@main"
    (tmp_path / "notebooks").mkdir()
    cells = {"cells": [{"source": [f"[badge]({colab})", install]}]}
    (tmp_path / "notebooks" / "x.ipynb").write_text(json.dumps(cells))
    (tmp_path / "README.md").write_text(
        "git clone https://github.com/attnlib/attnlib.git\n"
        "Read [the code](https://github.com/attnlib/attnlib). "
        "It learns from https://github.com/facebookresearch/deit.\n"
    )
    return tmp_path


def rename(root: Path, new: str) -> None:
    project = root / "pyproject.toml"
    project.write_text(
        project.read_text().replace("github.com/attnlib/attnlib", f"github.com/{new}")
    )


def test_repository_holds_one_address_everywhere():
    result = address("--check")
    assert result.returncode == 0, result.stderr


def test_changed_address_is_caught_and_every_file_named(copy: Path):
    rename(copy, "someone/vision-book")
    result = address("--check", "--root", str(copy))
    assert result.returncode == 1
    for name in (
        "notebooks/x.ipynb",
        "README.md",
        "_config.yml",
        "CITATION.cff",
        "book/reproduce.md",
    ):
        assert name in result.stderr


def test_rewriting_reaches_every_address_and_leaves_other_projects_alone(copy: Path):
    rename(copy, "someone/vision-book")
    assert address("--root", str(copy)).returncode == 0
    assert address("--check", "--root", str(copy)).returncode == 0
    texts = [
        p.read_text() for p in copy.rglob("*") if p.suffix in {".ipynb", ".md", ".yml", ".cff"}
    ]
    assert not any("attnlib/attnlib" in text for text in texts)
    readme = (copy / "README.md").read_text()
    assert "git clone https://github.com/someone/vision-book.git\n" in readme
    assert "(https://github.com/someone/vision-book)." in readme
    assert "https://github.com/facebookresearch/deit." in readme
    notebook = json.loads((copy / "notebooks" / "x.ipynb").read_text())
    assert notebook["cells"][0]["source"] == [
        "[badge](https://colab.research.google.com/github/someone/vision-book/blob/main/notebooks/x.ipynb)",
        "%pip install git+https://github.com/someone/vision-book@main",
    ]


def test_one_notebook_with_another_address_is_caught(copy: Path):
    notebook = copy / "notebooks" / "x.ipynb"
    notebook.write_text(notebook.read_text().replace("github/attnlib/", "github/fork/"))
    result = address("--check", "--root", str(copy))
    assert result.returncode == 1
    assert "notebooks/x.ipynb" in result.stderr
    assert "README.md" not in result.stderr


def test_address_that_is_not_on_github_is_refused(copy: Path):
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace("https://github.com/", "https://example.org/"))
    result = address("--check", "--root", str(copy))
    assert result.returncode == 1
    assert "https://example.org/attnlib/attnlib" in result.stderr


def test_colab_links_lead_to_notebooks_that_exist():
    # the copy that a built page links to is checked in test_book.py
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"/blob/main/notebooks/{notebook.name}" in notebook.read_text(encoding="utf-8")
