"""The typed record: what it takes, what it refuses, and that a new field is one line."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from book_sample import invented_record

from attnlib.records import record as module
from attnlib.records.record import (
    Accuracy,
    ClassAccuracy,
    Record,
    parse_record,
    read_record,
    to_json,
    write_record,
)

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "results").glob("*/record.json"))


def invented() -> dict[str, Any]:
    return deepcopy(invented_record("deit_t-a", "DeiT-T"))


def places(values: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every key of JSON values, however deep."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    found = []
    for key, value in pairs:
        found += [(*path, key)]
        found += places(value, (*path, key)) if isinstance(value, dict | list) else []
    return found


def at(values: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


FREE = ("versions",)  # its keys are names of packages
FIELDS = [
    path
    for path in places(invented())
    if isinstance(path[-1], str) and (path[0] not in FREE or len(path) == 1)
]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_every_kept_record_is_read_and_written_back_as_it_is(path, tmp_path):
    record = read_record(path.parent)
    assert record.name == path.parent.name
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert to_json(record) | {"seal": kept["seal"]} == kept
    write_record(tmp_path, record)
    assert (tmp_path / "record.json").read_bytes() == path.read_bytes()


def test_record_of_a_fresh_run_is_read_back_equal(tiny_run, tmp_path):
    write_record(tmp_path, tiny_run.record)
    assert read_record(tmp_path) == tiny_run.record


@pytest.mark.parametrize(
    "path",
    [path for path in FIELDS if path[-1] != "processes"],  # it has a default
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_missing_key_is_refused_by_name(path):
    values = invented()
    del at(values, path[:-1])[path[-1]]
    with pytest.raises(ValueError, match=f"{path[-1]} is missing"):
        parse_record(values)


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("wrong", [True, 3, {"odd": 1}, float("nan")], ids=str)
def test_a_value_of_another_type_is_refused_by_name(path, wrong):
    values = invented()
    usual = at(values, path)
    numbers = type(wrong) is int and (isinstance(usual, float) or path[-1] == "peak_memory_bytes")
    if numbers or (type(wrong) is type(usual) and wrong == wrong and wrong != {"odd": 1}):
        wrong = [["text"]]  # what was given is of the right type here
    at(values, path[:-1])[path[-1]] = wrong
    with pytest.raises(ValueError, match=str(path[-1])):
        parse_record(values)


@pytest.mark.parametrize(
    "path", [(), *(p for p in places(invented()) if isinstance(at(invented(), p), dict))], ids=str
)
def test_an_unknown_key_is_refused_by_name(path):
    if path and path[0] in FREE:
        path = ()
    values = invented()
    at(values, path)["acuracy"] = 1
    with pytest.raises(ValueError, match="acuracy is unknown"):
        parse_record(values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"low": 0.95}, "low 0.95, value 0.9"),
        ({"high": 0.85}, "value 0.9, high 0.85"),
        ({"low": 0.99, "high": 0.98}, "low 0.99"),
        ({"value": 1.2, "high": 1.3}, "high <= 1"),
        ({"low": -0.1}, "low -0.1"),
        ({"n": 0}, "n of at least 1"),
    ],
)
@pytest.mark.parametrize("where", ["test_accuracy", "val_accuracy", "per_class"])
def test_an_impossible_interval_is_refused(where, changes, said):
    values = invented()
    metric = values["metrics"][where]
    (metric[0] if where == "per_class" else metric).update(changes)
    with pytest.raises(ValueError, match=said):
        parse_record(values)


def test_all_faults_are_named_at_once():
    values = invented()
    del values["git"]
    values["seeds"]["run"] = "0"
    with pytest.raises(ValueError, match=r"seeds\.run: unexpected str '0'; git is missing"):
        parse_record(values)


def test_a_record_of_another_schema_says_so_and_no_more():
    with pytest.raises(ValueError, match=r"schema: expected 1, got 2$"):
        parse_record(invented() | {"schema": 2, "later": {}})


def test_true_is_no_schema_number():
    with pytest.raises(ValueError, match="schema: unexpected bool True"):
        parse_record(invented() | {"schema": True})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"record"', "\N{SNOWMAN}"])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match=r"record\.json: "):
        read_record(tmp_path)
    (tmp_path / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"record\.json: "):
        read_record(tmp_path)


def test_a_class_without_test_images_has_a_name_and_no_accuracy():
    values = invented()
    values["metrics"]["per_class"][1] = {"class": "dog"}
    record = parse_record(values)
    assert record.metrics.per_class[1] == ClassAccuracy("dog")
    assert to_json(record) == values


def test_a_wrong_value_is_refused_on_writing(tmp_path):
    record = replace(parse_record(invented()), precision=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="precision: unexpected NoneType"):
        write_record(tmp_path, record)
    assert not (tmp_path / "record.json").exists()


@dataclass(frozen=True)
class Later(Record):
    """A record with fields of a later version, one line each."""

    checkpoint: str | None = None
    precisions: tuple[str, ...] = ()
    calibration: Accuracy | None = None


def test_a_new_field_is_one_line_and_older_records_stay_readable(monkeypatch):
    monkeypatch.setattr(module, "Record", Later)
    old = parse_record(invented())
    assert isinstance(old, Later) and old.checkpoint is None and old.precisions == ()
    assert to_json(old) == invented()
    more = replace(old, checkpoint="a.safetensors", precisions=("bfloat16", "float16"))
    assert parse_record(to_json(more)) == more
    assert to_json(more)["precisions"] == ["bfloat16", "float16"]


def test_a_number_too_large_for_a_float_is_refused_by_name():
    values = invented()
    values["metrics"]["test_loss"] = 10**400
    with pytest.raises(ValueError, match=r"test_loss: unexpected int 1000\S*0000$"):
        parse_record(values)


@pytest.mark.parametrize("names", [[], ["cat"], ["cat", "ship", "dog"]], ids=len)
def test_classes_other_than_the_data_set_s_are_refused(names):
    values = invented()
    values["metrics"]["per_class"] = [{"class": name} for name in names]
    with pytest.raises(ValueError, match=r"per_class: expected one entry a class"):
        parse_record(values)


@pytest.mark.parametrize("start", [{}, {"name": "a"}, {"name": "a", "sha256": "b", "size": "c"}])
def test_initial_weights_have_a_name_and_a_hash(start):
    with pytest.raises(ValueError, match="initial_checkpoint: expected keys name, sha256"):
        parse_record(invented() | {"initial_checkpoint": start})
