"""Runs that tests make up or change: their records have no hashes, as those of version 0.1.0."""

import json
from pathlib import Path
from typing import Any


def record_values(path: Path) -> dict[str, Any]:
    """The record in the folder ``path`` as JSON values, without hashes and seal."""
    values = json.loads((path / "record.json").read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if key not in ("files", "seal")}


def forge(path: Path, values: dict[str, Any]) -> None:
    """Write ``values`` as the record of the folder ``path``."""
    (path / "record.json").write_text(json.dumps(values), encoding="utf-8")
