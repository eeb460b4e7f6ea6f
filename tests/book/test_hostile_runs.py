"""A folder of runs may hold anything: the book shows what it can and names what it leaves out.

Nothing that a record says is executed, by a shell or by a browser.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import book_sample
import numpy as np
import pytest
from browsing import built_pages, console_faults, outside_requests, wait
from dry_runs import dry_run, link_project

from attnbook.runs import shown_runs

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "<script>window.pwned = 1</script>"
WORDS = (
    SCRIPT + " <!--<script> `x` ``` {raw}`html <b>` {{ title }} $\\sofmax$ *a* [b](x:y) | # \\ "
    "</td></table><img src=x onerror='window.pwned = 1'> \" ' & ]]> --> ${x} $(touch pwned)"
)
TOUCH = "x; touch pwned"


def change(value: Any) -> Any:
    """A record's text made hostile, everywhere but where its form is fixed."""
    if isinstance(value, dict):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, list):
        return [change(item) for item in value]
    return f"{value} {WORDS}" if isinstance(value, str) else value


def write_hostile(folder: Path, name: str) -> Path:
    """A finished run that has every text that pages show hostile."""
    book_sample.write_run(folder, name, "Hostile")
    path = folder / name
    record = json.loads((path / "record.json").read_text())
    hostile = change(record) | {"name": name, "status": record["status"]}
    hostile["versions"] |= {WORDS: WORDS}
    (path / "record.json").write_text(json.dumps(hostile))
    config = json.loads((path / "config.json").read_text())
    settings = change(config) | {"teacher": WORDS}
    (path / "config.json").write_text(json.dumps(settings))
    logits, labels = np.eye(3, dtype=np.float16)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    np.savez(path / "predictions.npz", logits=logits, labels=labels)
    return path


def edit(file: str, /, content: str | None = None, **keys: Any) -> Callable[[Path], None]:
    """A fault: a file with other content, or with other values under some keys."""

    def make(path: Path) -> None:
        text = content
        if text is None:
            text = json.dumps(json.loads((path / file).read_text()) | keys)
        (path / file).write_text(text)

    return make


def tear_array(path: Path) -> None:
    """Arrays of which the last third is missing."""
    np.savez(path / "features.npz", maps=np.zeros((8, 64, 64)))
    content = (path / "features.npz").read_bytes()
    (path / "features.npz").write_bytes(content[: len(content) * 2 // 3])


def flip_array(path: Path) -> None:
    """Arrays in which one bit is another."""
    np.savez(path / "features.npz", maps=np.zeros((8, 64, 64)))
    content = bytearray((path / "features.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "features.npz").write_bytes(content)


# What may have become of a run's folder, and what is said of it.
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "torn-record": (edit("record.json", '{"name": "torn-'), "record.json: not JSON"),
    "empty-record": (edit("record.json", ""), "record.json: not JSON"),
    "list-record": (edit("record.json", "[]"), "record.json: not an object of JSON"),
    "other-name": (edit("record.json", name="../../escaped"), "its record is that of"),
    "wrong-type": (edit("record.json", title=["a"]), "title"),
    "no-title": (edit("record.json", title=" "), "title"),
    "infinite": (edit("record.json", versions={"a": float("inf")}), "unexpected float inf"),
    "torn-config": (edit("config.json", "{"), "config.json: not JSON"),
    "no-config": (lambda path: (path / "config.json").unlink(), "config.json"),
    "list-config": (edit("config.json", "[1]"), "config.json: not an object"),
    "nested-config": (edit("config.json", lr=[1]), "lr: unexpected list"),
    "lacking-config": (edit("config.json", "{}"), "lacks model, profile, img_size"),
    "later-config": (edit("config.json", **{WORDS: WORDS}), "is unknown"),
    "numbered-teacher": (edit("config.json", teacher=7), "teacher: unexpected int"),
    "no-history": (lambda path: (path / "history.jsonl").unlink(), "lacks the epoch"),
    "word-history": (edit("history.jsonl", '{"epoch": 1, "train_loss": "a", "val_loss": 1, '
                                           '"val_accuracy": 1}\n'), "lacks the epoch"),
    "list-history": (edit("history.jsonl", "[1]\n"), "."),
    "torn-array": (tear_array, "features.npz is torn"),
    "flipped-array": (flip_array, "features.npz is torn"),
    "no-array": (edit("predictions.npz", "x"), "predictions.npz is torn"),
    "RESNET18-A": (edit("record.json", name="RESNET18-A"), "capitals alone"),
    TOUCH: (edit("record.json", name=TOUCH), "can't be that of a page"),
    "a{b}c": (edit("record.json", name="a{b}c"), "can't be that of a page"),
    "a)=\n# b": (edit("record.json", name="a)=\n# b"), "can't be that of a page"),
    "R (copy)": (lambda path: None, "its record is that of R"),
}  # fmt: skip


def write_runs(folder: Path) -> None:
    """Good runs, a hostile one, and one of each fault."""
    book_sample.write_runs(folder)
    write_hostile(folder / "runs", "hostile")
    book_sample.write_run(folder / "runs", "R", "Copied")
    for name, (make, _) in FAULTS.items():
        book_sample.write_run(folder / "runs", name, "Faulty")
        if name == "R (copy)":
            shutil.copy(folder / "runs" / "R" / "record.json", folder / "runs" / name)
        make(folder / "runs" / name)
    (folder / "runs" / "a file").write_text("")
    (folder / "runs" / "record.json").write_text("{")
    (folder / "results" / "measurements").mkdir(exist_ok=True)
    (folder / "results" / "measurements" / "torn.json").write_text("{")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book's sources with those runs and their pages, not built."""
    folder = tmp_path_factory.mktemp("hostile")
    book_sample.copy_sources(folder)
    for name, title in (("data", "The data"), ("train", "Training a model")):
        book_sample.write_executed(folder, name, title)
    write_runs(folder)
    book_sample.make_pages(folder)
    return folder


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_folder_is_left_out_and_named_with_the_reason(sources: Path, name: str):
    shown = shown_runs(sources / "results", sources / "runs")
    assert name not in {run.path.name for run in shown.runs}
    assert re.search(FAULTS[name][1], shown.left_out[f"runs/{name}"])


def test_all_other_runs_are_shown(sources: Path):
    shown = shown_runs(sources / "results", sources / "runs")
    assert [run.name for run in shown.runs] == ["R", "deit_t-b", "hostile", "resnet18-a"]
    assert set(shown.left_out) == {f"runs/{name}" for name in FAULTS}
    pages = {path.stem for path in (sources / "book" / "runs" / "records").iterdir()}
    assert pages == {run.name for run in shown.runs}


def test_nothing_is_written_where_a_record_says(sources: Path):
    written = [path.name for path in (sources / "book" / "runs").iterdir()]
    assert not [p for p in sources.rglob("*") if "escaped" in p.name or p.name == "pwned"], written


@pytest.fixture(scope="module")
def hostile(sources: Path) -> Path:
    """The HTML of those runs' book, built strictly."""
    result = book_sample.build(sources)
    assert result.returncode == 0, result.stdout + result.stderr
    return sources / "_build" / "html"


@pytest.mark.slow
def test_hostile_runs_build_a_harmless_book(browser: Any, hostile: Path):
    console_faults(browser)
    outside_requests(browser)
    for path in built_pages(hostile):
        browser.get(path.as_uri())
        wait(lambda: browser.execute_script("return document.readyState") == "complete")
        assert browser.execute_script("return window.pwned ?? null") is None, path.name
        strange = "return document.querySelectorAll('img[src=x], td table, article > img').length"
        assert browser.execute_script(strange) == 0, path.name
        assert console_faults(browser) == [], path.name
        assert outside_requests(browser) == [], path.name
    assert not list(hostile.parents[2].rglob("pwned"))


@pytest.mark.slow
def test_hostile_text_is_shown_as_it_is(browser: Any, hostile: Path):
    browser.get((hostile / "runs" / "records" / "hostile.html").as_uri())
    shown = browser.execute_script("return document.querySelector('article').innerText")
    words = " ".join(WORDS.split())
    for typeset, typed in {
        "\u2013": "--",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
    }.items():
        shown = shown.replace(typeset, typed)
    for text in (f"Hostile {words}", f"cat {words}", f"x86_64 {words}"):
        assert text in " ".join(shown.split()), text
    browser.get((hostile / "runs" / "index.html").as_uri())
    listed = browser.execute_script("return document.querySelector('article').innerText")
    for name in FAULTS:
        assert " ".join(f"runs/{name}".split()) in " ".join(listed.split())


@pytest.mark.slow
def test_hostile_runs_can_be_compared(browser: Any, hostile: Path):
    browser.get((hostile / "compare.html").as_uri())
    choose = (
        "const e = document.getElementById(arguments[0]); e.value = [...e.options].find("
        "o => o.textContent.includes(arguments[1])).value; e.dispatchEvent(new Event('change'))"
    )
    for select, run in (("compare-first", "Hostile"), ("compare-second", "ResNet-18")):
        browser.execute_script(choose, select, run)
    shown = browser.execute_script("return document.getElementById('compare-result').innerText")
    assert SCRIPT in shown
    assert browser.execute_script("return window.pwned ?? null") is None
    assert console_faults(browser) == []


def test_names_of_folders_reach_no_shell(tmp_path: Path):
    link_project(tmp_path)
    write_runs(tmp_path)
    code, plan = dry_run(tmp_path / "told.txt", "book", folder=tmp_path)
    assert code == 0, plan
    assert "runs/hostile/record.json" in plan
    assert "pwned" not in plan and "copy" not in plan and "b}c" not in plan


def test_every_path_in_a_shell_line_of_the_pipeline_is_quoted():
    shells = re.findall(r"    shell:\n((?:        .*\n)+)", (ROOT / "Snakefile").read_text())
    named = [name for shell in shells for name in re.findall(r"\{([^}]+)\}", shell)]
    assert len(named) > 10
    built = {
        "params.options",
        "params.given",
        "params.weights",
    }  # of words that were quoted one by one
    assert [name for name in named if not name.endswith(":q") and name not in built] == []
