"""Runs are found by name and folder; a folder that can't be read is named and hides no other."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from forged_runs import forge, record_values

import attnlib as al
from attnlib.records import record
from attnlib.records.find import find_showcase, one_of_each_recipe, read_runs
from attnlib.records.record import refresh_hashes


def copy(run: al.Run, folder: Path, name: str | None = None) -> Path:
    """A copy of a finished run without its weights; its record keeps the run's name."""
    target = folder / (name or run.name)
    shutil.copytree(run.path, target, ignore=shutil.ignore_patterns("state", "model*"))
    return target


@pytest.fixture
def folder(tiny_run: al.Run, tmp_path: Path) -> Path:
    """A good run, a copy that a file manager made, and torn ones."""
    copy(tiny_run, tmp_path)
    copy(tiny_run, tmp_path, f"{tiny_run.name} (copy)")
    for name, file, content in (
        ("torn", "record.json", '{"name": "to'),
        ("listed", "record.json", "[]"),
        ("deep", "record.json", "[" * 100_000),
        ("torn-config", "config.json", "{"),
    ):
        path = copy(tiny_run, tmp_path, name)
        forge(path, record_values(path) | {"name": name})
        (path / file).write_text(content)
    bare = copy(tiny_run, tmp_path, "bare")
    forge(bare, record_values(bare) | {"name": "bare"})
    (bare / "config.json").unlink()
    flipped = copy(tiny_run, tmp_path / "elsewhere").rename(tmp_path / "flipped")
    forge(flipped, record_values(flipped) | {"name": "flipped"})
    refresh_hashes(flipped)
    (flipped / "history.jsonl").write_text("")
    return tmp_path


def test_folders_that_can_not_be_read_are_named_with_the_reason(tiny_run: al.Run, folder: Path):
    found = read_runs(folder)
    assert [run.name for run in found.runs] == [tiny_run.name]
    said = {Path(path).name: reason for path, reason in found.left_out.items()}
    assert said.pop(f"{tiny_run.name} (copy)") == f"its record is that of {tiny_run.name}"
    assert said.pop("bare") == "config.json is missing"
    assert said.pop("flipped").startswith("history.jsonl is damaged: its SHA-256 is ")
    assert said.pop("listed") == "record.json: not an object of JSON"
    assert said.pop("torn-config").startswith("config.json: not JSON")
    assert said.pop("torn").startswith("record.json: not JSON")
    assert said.pop("deep").startswith("record.json: not JSON")
    assert said == {}


def test_list_of_runs_warns_of_what_it_leaves_out(tiny_run: al.Run, tmp_path: Path):
    copy(tiny_run, tmp_path)
    copy(tiny_run, tmp_path, "torn").joinpath("record.json").write_text("{")
    with pytest.warns(UserWarning, match=r"left out: .*torn: record\.json: not JSON"):
        assert [run.name for run in al.list_runs(tmp_path)] == [tiny_run.name]


def test_run_in_the_last_folder_counts_unless_it_is_torn(tiny_run: al.Run, tmp_path: Path):
    first, last = copy(tiny_run, tmp_path / "results"), copy(tiny_run, tmp_path / "runs")
    assert [run.path for run in al.list_runs(first.parent, last.parent)] == [last]
    (last / "record.json").write_text("{")
    assert [run.path for run in read_runs(first.parent, last.parent).runs] == [first]


def test_record_of_another_folder_is_refused(tiny_run: al.Run, tmp_path: Path):
    path = copy(tiny_run, tmp_path)
    forge(path, record_values(path) | {"name": "../elsewhere"})
    with pytest.raises(ValueError, match="its record is that of"):
        al.load_run(path)


@pytest.mark.parametrize("folder", ["results", "runs"])
def test_runs_are_found_from_the_folder_of_the_notebooks(
    tiny_run: al.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
):
    copy(tiny_run, tmp_path / folder)
    (tmp_path / "notebooks").mkdir()
    for place in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(place)
        assert [run.name for run in al.list_runs()] == [tiny_run.name], place
        assert al.load_run(tiny_run.name).record == tiny_run.record
    monkeypatch.chdir(tmp_path / folder)
    assert al.list_runs() == []


def test_types_of_records_are_looked_up_once_however_many_runs_are_listed(
    tiny_run, tmp_path, monkeypatch
):
    for number in range(5):
        path = copy(tiny_run, tmp_path, f"run-{number}")
        forge(path, record_values(path) | {"name": path.name})
    record._fields_of.cache_clear()
    looked = []
    real = record.get_type_hints
    monkeypatch.setattr(record, "get_type_hints", lambda kind: looked.append(kind) or real(kind))
    assert len(al.list_runs(tmp_path)) == 5
    assert looked and len(looked) == len(set(looked))


def invent(tiny_run: al.Run, folder: Path, name: str, finished: str, **config: object) -> None:
    """A run in ``folder`` with weights, taught by ``teacher`` if ``config`` distils."""
    path = copy(tiny_run, folder, name)
    values = record_values(path) | {"name": name, "finished": finished}
    if "distillation" in config:
        values["teacher"] = "teacher"
    forge(path, values)
    (path / "config.json").write_text(json.dumps(tiny_run.config | config))
    (path / "model.safetensors").touch()


def test_showcase_is_the_distilled_transformer_whose_weights_are_kept(tiny_run, tmp_path):
    results, runs = tmp_path / "results", tmp_path / "runs"
    assert find_showcase(results, runs) is None
    invent(tiny_run, runs, "teacher", "2026-01-01", model="resnet18")
    invent(tiny_run, runs, "soft", "2026-01-03", distillation="soft")
    invent(tiny_run, runs, "hard", "2026-01-02", distillation="hard")
    invent(tiny_run, runs, "plain", "2026-01-04")
    invent(tiny_run, runs, "convolutional", "2026-01-05", model="resnet18", distillation="hard")
    assert [run.name for run in find_showcase(results, runs)] == ["hard", "teacher"]
    invent(tiny_run, results, "teacher", "2025-01-01", model="resnet18")
    invent(tiny_run, results, "kept", "2025-01-01", distillation="soft")
    found = find_showcase(results, runs)
    assert (found.student.path, found.teacher.path) == (results / "kept", results / "teacher")
    (results / "teacher" / "model.safetensors").unlink()
    assert find_showcase(results, runs).student.name == "hard"


def test_one_run_of_each_recipe_is_the_first_seed_of_those_that_end_a_chain():
    def run(name: str, seed: int = 0, **config: object) -> al.Run:
        values = {"model": "deit_t", "seed": seed, "teacher": None} | config
        record = SimpleNamespace(name=name, seeds=SimpleNamespace(run=seed))
        return al.Run(Path(), values, [], record)

    start, later = run("start"), run("later", seed=1)
    tuned = run("tuned", initial_checkpoint="start")
    taught = [run(f"taught{s}", s, teacher=f"resnet18-npz-s{s}-0123abc{s}") for s in (1, 0)]
    assert one_of_each_recipe([later, tuned, *taught]) == [later, tuned, taught[1]]
    assert one_of_each_recipe([later, start, tuned]) == [tuned], "its first seed starts another"


def test_a_folder_in_place_of_a_file_is_named(tiny_run: al.Run, tmp_path: Path):
    for file in ("record.json", "config.json", "history.jsonl"):
        path = copy(tiny_run, tmp_path / file)
        (path / file).unlink()
        (path / file).mkdir()
        (reason,) = read_runs(path.parent).left_out.values()
        assert reason.startswith(f"{file} can't be read")
    path = copy(tiny_run, tmp_path / "damaged")
    (path / "predictions.npz").unlink()
    (path / "predictions.npz").mkdir()
    assert list(al.load_run(path).find_damage()) == ["predictions.npz"]


ODD_SETTINGS = {
    "of-a-later-version": ({"flux": 1}, "flux is unknown"),
    "number-for-model": ({"model": 5}, "model: unexpected int 5"),
    "list-for-model": ({"model": ["deit_t"]}, "model: unexpected list"),
    "text-for-lr": ({"lr": "fast"}, "lr: unexpected str 'fast'"),
    "text-for-size": ({"img_size": "32"}, "img_size: unexpected str '32'"),
    "no-number": ({"lr": float("nan")}, "lr: unexpected float nan"),
    "endless": ({"lr": 10**400}, "lr: unexpected int 1000"),
    "nothing-for-model": ({"model": None}, "model: unexpected NoneType"),
}
ODD_EPOCHS = {
    "lacking": {"val_accuracy": ...},
    "worded": {"val_accuracy": "high"},
    "later": {"flux": 1},
    "nothing": {"lr": None},
}


@pytest.mark.parametrize("odd", ODD_SETTINGS)
def test_a_configuration_of_odd_values_is_refused_by_name(tiny_run: al.Run, tmp_path: Path, odd):
    path = copy(tiny_run, tmp_path)
    changes, said = ODD_SETTINGS[odd]
    (path / "config.json").write_text(json.dumps(tiny_run.config | changes))
    refresh_hashes(path)
    with pytest.raises(ValueError, match=rf"config\.json: {said}"):
        al.load_run(path)
    (path / "config.json").write_text("{}")
    refresh_hashes(path)
    with pytest.raises(ValueError, match=r"config\.json: it lacks model"):
        al.load_run(path)


@pytest.mark.parametrize("odd", ODD_EPOCHS)
def test_a_history_of_odd_values_is_refused(tiny_run: al.Run, tmp_path: Path, odd):
    path = copy(tiny_run, tmp_path)
    line = {k: v for k, v in (tiny_run.history[0] | ODD_EPOCHS[odd]).items() if v is not ...}
    (path / "history.jsonl").write_text(json.dumps(line) + "\n")
    refresh_hashes(path)
    with pytest.raises(ValueError, match=r"history\.jsonl lacks the epoch that was tested"):
        al.load_run(path)


def test_a_history_without_the_tested_epoch_is_refused(tiny_run: al.Run, tmp_path: Path):
    path = copy(tiny_run, tmp_path)
    values = record_values(path)
    values["metrics"]["best_epoch"] = 99
    forge(path, values)
    with pytest.raises(ValueError, match=r"history\.jsonl lacks the epoch that was tested"):
        al.load_run(path)
