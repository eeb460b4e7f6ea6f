"""Measurement records: small JSON files with rows of measured values and their provenance."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlib.atomic import write_atomically
from attnlib.records.find import find_folders
from attnlib.records.provenance import (
    describe_device,
    describe_git,
    describe_versions,
    json_bytes,
    now,
    threads_of,
)
from attnlib.records.record import parse_object, read_content

SCHEMA = 1
FOLDER = "results/measurements"
KEYS = {
    "schema": int, "kind": str, "rows": list, "command": str, "git": dict, "versions": dict,
    "device": dict, "date": str,
}  # fmt: skip
DEVICE_KEYS = ("type", "name", "threads")
Row = dict[str, Any]


@dataclass(frozen=True)
class Measurements:
    """Rows of one kind, and their provenance."""

    path: Path
    kind: str
    rows: list[Row]
    command: str
    git: dict[str, Any]
    versions: dict[str, str]
    device: dict[str, Any]
    date: str

    def __str__(self) -> str:
        device = self.device
        load = device.get("load_average")
        busy = f", load {load:.1f} on {device['cores']} cores" if load is not None else ""
        return (
            f"{self.path.name}: {len(self.rows)} rows of kind {self.kind}, {self.date[:10]}, on "
            f"{device['name']} ({device['type']}), {threads_of(device['threads'])}{busy}"
        )


def write_measurements(
    path: str | Path, kind: str, rows: Sequence[Row], command: str, *, device: str = "cpu"
) -> Measurements:
    """Write ``rows`` with their provenance, atomically; returns what was written.

    Raises:
        ValueError: If there are no rows, or a row has a value that is not a JSON scalar.
    """
    path = Path(path)
    if not rows:
        raise ValueError(f"{path}: there are no rows to write")
    for row in rows:
        for key, value in row.items():
            if not _is_scalar(value):
                raise ValueError(f"{path}: {key} is {value!r}; expected text, a number or None")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "kind": kind,
        "command": command,
        "git": describe_git(),
        "versions": describe_versions(),
        "device": {**describe_device(device), **_load()},
        "date": now(),
    }
    write_atomically(path, _in_lines(content, rows))
    return read_measurements(path)


def _in_lines(content: Row, rows: Sequence[Row]) -> bytes:
    """The record as JSON with a line for each row, so that a difference shows which row changed."""
    line = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    lines = ",\n".join(f"  {line(row)}" for row in rows)
    empty = json_bytes(content | {"rows": []})
    return empty.removesuffix(b"[]\n}\n") + f"[\n{lines}\n ]\n}}\n".encode()


def read_measurements(path: str | Path) -> Measurements:
    """Read a measurement file.

    Raises:
        ValueError: If it is not JSON, lacks a key, or is of another schema.
    """
    path = Path(path)
    found = parse_object(read_content(path), path)
    faults = [key for key, kind in KEYS.items() if not isinstance(found.get(key), kind)]
    if not faults:
        faults += [f"device.{key}" for key in DEVICE_KEYS if key not in found["device"]]
        faults += [f"rows.{n}" for n, row in enumerate(found["rows"]) if not _is_row(row)]
    if faults:
        raise ValueError(f"{path}: missing or of another type: {', '.join(faults[:12])}")
    if found["schema"] != SCHEMA:
        raise ValueError(
            f"{path}: schema {found['schema']}; this version reads {SCHEMA}. Measure again: "
            f"{found['command']}"
        )
    return Measurements(path, **{key: found[key] for key in KEYS if key != "schema"})


def list_measurements(kind: str, *folders: str | Path) -> tuple[list[Measurements], dict[str, str]]:
    """Measurement files of ``kind``, by name, and the reason for each that can't be read."""
    files = {
        path.name: path for f in folders or find_folders(FOLDER) for path in Path(f).glob("*.json")
    }
    kept, left_out = [], {}
    for name in sorted(files):
        try:
            measured = read_measurements(files[name])
        except ValueError as fault:
            left_out[name] = str(fault)
            continue
        if measured.kind == kind:
            kept.append(measured)
    return kept, left_out


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | None) and value == value  # not NaN


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(map(_is_scalar, row.values()))


def _load() -> dict[str, float | int | None]:
    """The load of the machine, from this and other processes, on which speeds depend."""
    known = hasattr(os, "getloadavg")
    load = round(os.getloadavg()[2], 2) if known else None  # over fifteen minutes
    return {"load_average": load, "cores": os.cpu_count()}


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The rows whose keys have the ``wanted`` values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
