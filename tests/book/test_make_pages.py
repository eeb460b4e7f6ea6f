"""Run pages are a pure function of run records."""

import json
import re
import shutil
from pathlib import Path

import book_sample
import pytest

from attnlib.escaping import markdown

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book's sources with two invented runs and their pages, not built."""
    folder = tmp_path_factory.mktemp("sources")
    book_sample.copy_sources(folder)
    book_sample.write_runs(folder)
    book_sample.make_pages(folder)
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    pages = (folder / "book" / "runs" / "records").iterdir()
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in pages}


def test_pages_are_rewritten_only_if_they_change_and_go_with_their_run(
    sources: Path, tmp_path: Path
):
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    before = state(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "deit_t-b")
    book_sample.make_pages(tmp_path)
    after = state(tmp_path)
    assert set(after) == {"resnet18-a.md", "resnet18-a.svg"}
    assert after.items() <= before.items()


def test_page_tells_all_of_its_record(sources: Path):
    page = (sources / "book" / "runs" / "records" / "deit_t-b.md").read_text(encoding="utf-8")
    record = book_sample.invented_record("deit_t-b", "")
    assert "90.0% [87.0, 92.0]" in page
    assert record["command"] in re.sub(r" \\\n +", " ", page)
    facts = (record["git"]["commit"], record["dataset"]["sha256"], "uncommitted", "x86\\_64", "360")
    assert all(fact in page for fact in facts)
    assert "rises from 46.5% after epoch 1 to 88.4% after epoch 5" in page
    assert "distillation = 'hard'\n" in page and "\nseed = 0\n" in page  # for Colab's first cell


def test_page_of_a_student_leads_to_its_teacher(sources: Path, tmp_path: Path):
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "runs" / "deit_t-b" / "record.json"
    for teacher, name in (("resnet18-a", "{ref}`run-resnet18-a`"), ("gone", "`gone`")):
        told = json.loads(record.read_text()) | {"teacher": teacher}
        record.write_text(json.dumps(told))
        book_sample.make_pages(tmp_path)
        page = (tmp_path / "book" / "runs" / "records" / "deit_t-b.md").read_text()
        assert f"Its teacher has to be trained first: {name}." in page


def test_page_of_a_run_says_what_its_kept_weights_get_and_a_kept_teacher_need_not_be_trained(
    sources: Path, tmp_path: Path
):
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    accuracy = {"value": 0.8, "low": 0.7, "high": 0.85, "n": 360, "method": "Wilson, 95 %"}
    kept = {"dtype": "float16", "bytes": 7_000_000, "rounded_from": "0" * 64}
    changes = {
        "results/resnet18-a": {"kept_weights": kept | dict.fromkeys(
            ("test_accuracy", "val_accuracy"), accuracy)},
        "runs/deit_t-b": {"teacher": "resnet18-a"},
    }  # fmt: skip
    for name, more in changes.items():
        file = tmp_path / name / "record.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | more))
    book_sample.make_pages(tmp_path)
    records = tmp_path / "book" / "runs" / "records"
    page = (records / "resnet18-a.md").read_text()
    assert "| Kept weights | float16, 7.0 MB: with them, 80.0% " in page
    assert "has to be trained first" not in (records / "deit_t-b.md").read_text()


def test_table_lists_kept_and_fresh_runs_with_links_to_their_pages(sources: Path):
    table = (sources / "book" / "runs" / "index.md").read_text(encoding="utf-8")
    assert "| [ResNet-18](records/resnet18-a.md) |" in table
    assert "| [DeiT-T, hard distillation from ResNet-18](records/deit_t-b.md) |" in table


def test_runs_with_one_title_are_told_apart(tmp_path: Path):
    book_sample.copy_sources(tmp_path)
    for name in ("resnet18-a", "resnet18-b"):
        book_sample.write_run(tmp_path / "runs", name, "ResNet-18")
    book_sample.make_pages(tmp_path)
    index = tmp_path / "book" / "runs" / "index.md"
    table = index.read_text(encoding="utf-8")
    assert "[ResNet-18 (resnet18-a)]" in table and "[ResNet-18 (resnet18-b)]" in table
    path = tmp_path / "runs" / "resnet18-b" / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for seed, name in enumerate(("resnet18-a", "resnet18-b")):
        config = tmp_path / "runs" / name / "config.json"
        config.write_text(json.dumps(book_sample.CONFIG | {"seed": seed}), encoding="utf-8")
    book_sample.make_pages(tmp_path)
    table = index.read_text(encoding="utf-8")
    assert "[ResNet-18, seed 0]" in table and "[ResNet-18, seed 1]" in table
    record["dataset"]["title"] = "CIFAR-10"
    path.write_text(json.dumps(record), encoding="utf-8")
    book_sample.make_pages(tmp_path)
    table = index.read_text(encoding="utf-8")
    assert "[ResNet-18, CIFAR-10]" in table and "[ResNet-18, Handwritten digits]" in table


def test_curves_share_no_id_and_fix_no_colour(sources: Path):
    pictures = list((sources / "book" / "runs" / "records").glob("*.svg"))
    texts = [path.read_text(encoding="utf-8") for path in pictures]
    ids = [name for text in texts for name in re.findall(r'\bid="([^"]+)"', text)]
    assert len(pictures) == 2 and len(ids) == len(set(ids))
    for text in texts:
        assert not re.search(r"(fill|stroke): #", re.sub(r"var\([^)]*\)", "", text))
        assert "<style" not in text


def test_each_measurement_file_has_a_page_with_its_rows_and_where_they_come_from(sources: Path):
    folder = sources / "book" / "runs" / "measurements"
    files = {path.stem: path for path in (ROOT / "results" / "measurements").glob("*.json")}
    assert {path.stem for path in folder.iterdir()} == set(files)
    index = (folder.parent / "measurements.md").read_text(encoding="utf-8")
    assert all(f"(measurements/{name}.md)" in index for name in files)
    content = json.loads(files["cost-cpu"].read_text(encoding="utf-8"))
    page = (folder / "cost-cpu.md").read_text(encoding="utf-8")
    for fact in (content["git"]["commit"], content["device"]["name"], content["date"][:10]):
        assert markdown(fact) in page
    assert content["command"] in re.sub(r" \\\n +", " ", page)
    rows = content["rows"]
    assert re.findall(r'id="row-(\d+)"', page) == [str(n) for n in range(len(rows))]
    n = next(n for n, row in enumerate(rows) if row["quantity"] == "images_per_second")
    line = next(line for line in page.splitlines() if f'"row-{n}"' in line)
    row = rows[n]
    assert markdown(row["model"]) in line and "the same in all 140 rows" not in line
    shown = f"{row['value']:.5g} [{row['low']:.5g}, {row['high']:.5g}]"
    assert shown in line.replace("\N{NO-BREAK SPACE}", " ")


def test_time_outside_its_quartiles_is_not_shown_as_lying_in_them(sources: Path):
    page = sources / "book" / "runs" / "measurements" / "scaling-cpu.md"
    text = page.read_text(encoding="utf-8")
    assert re.search(r"\| value +\| low \| high \|", text) and "the fastest of its repeats" in text


def test_page_of_a_measurement_that_is_gone_goes(sources: Path, tmp_path: Path):
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    (tmp_path / "results" / "measurements" / "step-cpu.json").unlink()
    book_sample.make_pages(tmp_path)
    folder = tmp_path / "book" / "runs"
    assert not (folder / "measurements" / "step-cpu.md").exists()
    assert "step-cpu.md" not in (folder / "measurements.md").read_text(encoding="utf-8")
