"""An executed page says whether it is what the code of now would show, and how to make it again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import book_sample
import nbformat
import pytest
from browsing import wait

import stamp
from attnbook import fresh, reproduce_this, stamps

ROOT = Path(__file__).resolve().parents[2]

RECORD = '{"dataset": {"title": "Some photographs", "sha256": "0123456789abcdef01"}}'


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    """A project with a notebook and its stamped copy, which read a file and another run."""
    (tmp_path / "attnlib" / "models").mkdir(parents=True)
    (tmp_path / "attnlib" / "models" / "vit.py").write_text("depth = 12\n")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "record.json").write_text(RECORD)
    (tmp_path / "runs" / "a" / "predictions.npz").write_bytes(b"1")
    (tmp_path / "pyproject.toml").write_text("")
    book_sample.write_executed(tmp_path, "train", "Training")
    inputs = stamp.inputs_of(["attnlib/models/vit.py", "runs/a/train.ipynb"], tmp_path)
    assert inputs == ["attnlib/models/vit.py", "runs/a/predictions.npz", "runs/a/record.json"]
    page = tmp_path / "book" / "runs" / "train.ipynb"
    notebook = read(page)
    notebook["metadata"]["papermill"] = {
        "parameters": {"model": "deit_t"}, "duration": 7.54, "end_time": "2026-01-01T12:00:00.0"
    }  # fmt: skip
    cell = next(c for c in notebook["cells"] if c["metadata"].get("mystnb"))
    cell["metadata"]["papermill"] = {"duration": 0.43}
    notebook["metadata"][stamps.KEY] = stamp.make_stamp(
        notebook, "notebooks/train.ipynb", inputs, tmp_path
    )
    page.write_text(json.dumps(notebook))
    return tmp_path


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def changed(root: Path) -> list[str]:
    return stamps.changes(read(root / "book" / "runs" / "train.ipynb"), root)


def test_page_is_fresh_after_it_was_executed(executed: Path):
    assert changed(executed) == []
    html = fresh.mark(read(executed / "book" / "runs" / "train.ipynb"), [])
    assert "Outputs match this code" in html and 'class="freshness fresh"' in html
    for fact in ("model = deit_t", "2026-01-01 12:00 UTC", "notebooks/train.ipynb", "1 files",
                 "Some photographs, 0123456789abcdef<"):  # fmt: skip
        assert fact in html


def test_other_predictions_make_a_page_stale(executed: Path):
    (executed / "runs" / "a" / "predictions.npz").write_bytes(b"2")
    assert changed(executed) == ["runs/a/predictions.npz"]


@pytest.mark.parametrize("path", ["attnlib/models/vit.py", "runs/a/record.json"])
def test_page_is_stale_once_an_input_changes_and_names_it(executed: Path, path: str):
    (executed / path).write_text("depth = 13\n")
    assert changed(executed) == [path]
    html = fresh.mark(read(executed / "book" / "runs" / "train.ipynb"), [path])
    assert "Stale" in html and f"<dd>{path}</dd>" in html
    (executed / path).unlink()
    assert changed(executed) == [path]


def test_page_is_stale_once_its_notebook_is_edited_in_a_word(executed: Path):
    source = executed / "notebooks" / "train.ipynb"
    source.write_text(source.read_text().replace("holds for", "is true for"))
    assert changed(executed) == ["notebooks/train.ipynb"]


def test_outputs_parameters_and_data_are_held_to_the_stamp(
    executed: Path, monkeypatch: pytest.MonkeyPatch
):
    page = executed / "book" / "runs" / "train.ipynb"
    notebook = read(page)
    before = json.dumps(notebook)
    next(c for c in notebook["cells"] if c.get("outputs"))["outputs"][0]["text"] = "2\n"
    page.write_text(json.dumps(notebook))
    assert changed(executed) == ["the outputs were edited"]
    notebook = json.loads(before)
    notebook["metadata"]["papermill"]["parameters"]["model"] = "resnet18"
    page.write_text(json.dumps(notebook))
    assert changed(executed) == ["the parameters"]
    page.write_text(before)
    monkeypatch.setattr(stamps, "digest_digits", lambda: "0" * 16)
    assert changed(executed) == [stamps.DIGITS]


def test_page_without_a_stamp_is_stale(executed: Path):
    notebook = read(executed / "notebooks" / "train.ipynb")
    assert stamps.changes(notebook, executed) == ["the notebook has no stamp"]


def test_other_code_than_was_executed_gets_no_stamp(executed: Path):
    notebook = read(executed / "notebooks" / "train.ipynb")
    notebook["cells"].append(dict(nbformat.v4.new_code_cell("1")))
    with pytest.raises(SystemExit, match="not those that were executed"):
        stamp.make_stamp(notebook, "notebooks/train.ipynb", [], executed)


def test_figure_names_its_command_time_device_and_notebook(executed: Path):
    notebook = read(executed / "book" / "runs" / "train.ipynb")
    notebook["metadata"][stamps.KEY]["device"] = "a <fast> device"
    html = reproduce_this.details(notebook, "fig-train", "notebooks/train.ipynb", "https://colab/x")
    assert html.startswith('<details class="reproduce-this"><summary>')  # closed, opens by keyboard
    assert "papermill notebooks/train.ipynb OUT.ipynb -p model deit_t" in html
    assert "7.5 seconds" in html and "0.43 seconds" in html and "a &lt;fast&gt; device" in html
    assert '<a href="https://colab/x">Open notebooks/train.ipynb in Colab</a>' in html
    assert "model = &#x27;deit_t&#x27;\n" in html


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (None, "a time that"),
        (0.43, "0.43 s"),
        (7.54, "7.5 s"),
        (107.3, "107 s"),
        (150.0, "2 minutes"),
    ],
)
def test_durations_are_written_as_people_do(duration: float | None, words: str):
    assert reproduce_this.seconds(duration).startswith(words)


def test_figure_of_a_run_names_the_command_that_makes_the_run_first(executed: Path):
    notebook = read(executed / "book" / "runs" / "train.ipynb")
    notebook["metadata"]["papermill"]["parameters"] = {"run": "a"}
    book_sample.write_run(executed / "results", "a", "A run that is kept")
    html = reproduce_this.details(notebook, "fig-train", "notebooks/x.ipynb", "", executed)
    train = book_sample.invented_record("a", "")["command"]
    assert f"<pre>{train}\npapermill notebooks/x.ipynb OUT.ipynb -p run a</pre>" in html
    assert "the first command has made the run" in html


@pytest.mark.slow
def test_built_page_has_the_mark_and_a_box_under_each_figure(sample: Path):
    page = (sample / "_build" / "html" / "runs" / "train.html").read_text(encoding="utf-8")
    assert re.search(r"Training a model.*?</h1>\s*<details class=\"freshness fresh\">", page)
    assert re.search(r"</figure>\s*<details class=\"reproduce-this\">", page)
    assert page.count("<figure") == page.count('class="reproduce-this"')
    links = set(re.findall(r'href="(https://colab[^"]+)"', page))
    assert {link.split("/blob/")[1] for link in links} == {"main/notebooks/train.ipynb"}


@pytest.mark.slow
def test_a_stale_page_and_a_reference_to_nothing_are_warnings_and_stop_the_build(tmp_path: Path):
    """In a book of three pages with the settings and extensions of ours."""
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    book_sample.write_executed(tmp_path, "train", "Training a model")
    chapters = "chapters: [{file: runs/train}, {file: reproduce}]"
    for name, text in {
        "_toc.yml": f"format: jb-book\nroot: index\n{chapters}\n",
        "index.md": "# A book\n",
        "reproduce.md": "# Again\n\nSee {doc}`runs/train` and {doc}`nowhere`.\n",
    }.items():
        (tmp_path / "book" / name).write_text(text, encoding="utf-8")
    notebook = tmp_path / "notebooks" / "train.ipynb"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    code = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    code["source"] = [*code["source"], "\nprint(2)"]
    notebook.write_text(json.dumps(content), encoding="utf-8")
    result = book_sample.build(tmp_path)
    assert result.returncode != 0
    warnings = [line for line in result.stderr.splitlines() if "WARNING: " in line]
    assert len(warnings) == 2, warnings
    assert any("stale" in line and "notebooks/train.ipynb" in line for line in warnings)
    assert any("nowhere" in line and "reproduce.md" in line for line in warnings)


def test_figures_take_the_colour_of_the_text_in_the_dark(browser: Any, sample: Path):
    page = sample / "_build" / "html" / "runs" / "records" / "resnet18-a.html"
    colour = "return getComputedStyle(document.querySelector('.svg-figure svg text')).fill"

    def brightness(theme: str) -> int:
        browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        parts = re.findall(r"\d+", browser.execute_script(colour))[:3]
        return sum(int(part) for part in parts)

    browser.get(page.as_uri())
    assert wait(lambda: brightness("light") < 300), brightness("light")  # the page's own script
    assert wait(lambda: brightness("dark") > 450), brightness("dark")  # may set the theme after us


def test_equations_are_mathml_with_their_numbers(sample: Path):
    page = (sample / "_build" / "html" / "runs" / "train.html").read_text(encoding="utf-8")
    block = re.search(r'<div class="math" id="equation-eq-train">.*?</div>', page, re.DOTALL)
    assert block
    assert '<span class="eqno">(' in block[0] and 'display="block"' in block[0]
    assert "softmax" in block[0] and "\\" not in block[0]
