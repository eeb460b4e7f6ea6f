"""Measurement records: what is written is read back, and what can't be read is named."""

import json
import math
import re

import pytest

from attnlib.records.measurements import (
    list_measurements,
    read_measurements,
    select,
    write_measurements,
)

ROWS = [{"model": "deit_t", "value": 1.5, "stable": True}, {"model": "resnet18", "value": None}]


def test_what_is_written_is_read_back_with_its_provenance(tmp_path):
    written = write_measurements(tmp_path / "deep" / "cost-cpu.json", "cost", ROWS, "papermill X")
    read = read_measurements(written.path)
    assert read == written and read.rows == ROWS and read.kind == "cost"
    assert read.command == "papermill X" and read.device["type"] == "cpu"
    assert {"commit", "dirty"} <= set(read.git) and "torch" in read.versions
    assert str(read).startswith("cost-cpu.json: 2 rows of kind cost, 20")
    assert re.search(r"load \d+\.\d on \d+ cores$", str(read))  # what else ran beside it


@pytest.mark.parametrize("value", [float("nan"), [1], {"a": 1}])
def test_only_scalars_are_written(tmp_path, value):
    with pytest.raises(ValueError, match=r"value is .*; expected text, a number or None"):
        write_measurements(tmp_path / "x.json", "cost", [{"value": value}], "")
    assert not (tmp_path / "x.json").exists()


def test_nothing_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="there are no rows to write"):
        write_measurements(tmp_path / "x.json", "cost", [], "")


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path):
    good = write_measurements(tmp_path / "b-good.json", "cost", ROWS, "again")
    write_measurements(tmp_path / "other.json", "scaling", ROWS, "")
    content = json.loads(good.path.read_text())
    (tmp_path / "a-old.json").write_text(json.dumps(content | {"schema": 0}))
    (tmp_path / "torn.json").write_text(good.path.read_text()[:50])
    (tmp_path / "less.json").write_text(json.dumps({k: content[k] for k in ("schema", "kind")}))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "latin.json").write_bytes(b'{"kind": "\xe9"}')
    (tmp_path / "folder.json").mkdir()
    for name, rows in (("number", [1]), ("nested", [{"value": [1]}]), ("nan", [{"a": math.nan}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"rows": rows}))
    (tmp_path / "device.json").write_text(json.dumps(content | {"device": {}}))
    kept, left_out = list_measurements("cost", tmp_path)
    assert [measured.path.name for measured in kept] == ["b-good.json"]
    assert all(reason.startswith(f"{tmp_path / name}") for name, reason in left_out.items())
    assert set(left_out) == {path.name for path in tmp_path.iterdir()} - {
        "b-good.json", "other.json",
    }  # fmt: skip
    assert "schema 0; this version reads 1. Measure again: again" in left_out["a-old.json"]
    assert "not JSON" in left_out["torn.json"]
    assert (
        "rows, command, git" in left_out["less.json"] and "not an object" in left_out["list.json"]
    )
    assert "can't be read" in left_out["folder.json"]
    for name in ("number", "nested", "nan"):
        assert left_out[f"{name}.json"].endswith("rows.0")
    assert left_out["device.json"].endswith("device.type, device.name, device.threads")


def test_a_later_folder_takes_the_place_of_an_earlier_one(tmp_path):
    for name, value in (("one", 1), ("two", 2)):
        write_measurements(tmp_path / name / "x.json", "cost", [{"value": value}], "")
    kept, _ = list_measurements("cost", tmp_path / "one", tmp_path / "two")
    assert [measured.rows[0]["value"] for measured in kept] == [2]


def test_select_takes_the_rows_that_have_all_values():
    rows = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2}]
    assert select(rows, a=1, b=2) == [{"a": 1, "b": 2}]
    assert select(rows, b=None) == [{"a": 2}]
