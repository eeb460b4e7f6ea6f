"""Stamp an executed notebook with hashes of its inputs, so that changes can be detected later.

    python book/_tools/stamp.py --source notebooks/NAME.ipynb EXECUTED.ipynb INPUT ...

The stamp holds hashes of the notebook's cells, its outputs, its parameters and every input that
the pipeline names: attnlib's source, records, measurements, and the embedded data set.
"""

import argparse
import contextlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

from attnbook.stamps import (
    DIGITS,
    KEY,
    Notebook,
    digest,
    digest_cells,
    digest_digits,
    digest_outputs,
)


def device() -> str:
    """The device that the notebook ran on: the GPU if there is one, else the CPU."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
        if found:
            return found[0].strip()
    processors = Path("/proc/cpuinfo")
    text = processors.read_text() if processors.exists() else ""
    names = re.findall(r"model name\s*: (.+)", text)
    return names[0] if names else platform.processor() or platform.machine()


def inputs_of(paths: Collection[str], root: Path = Path()) -> list[str]:
    """The files to hash; a run, given by its record or executed notebook, means its files.

    Those are its record, history and arrays, which pages use.
    """
    files = {p for p in paths if not p.endswith("train.ipynb")}
    for path in map(Path, paths):
        if path.name in ("train.ipynb", "record.json"):
            folder = root / path.parent
            own = [folder / "record.json", *folder.glob("history.jsonl"), *folder.glob("*.npz")]
            files |= {str(file.relative_to(root)) for file in own}
    return sorted(files)


def datasets_of(inputs: Iterable[str], root: Path) -> dict[str, str]:
    """The data sets of the records among the inputs: title and hash."""
    found = {}
    for path in inputs:
        if path.endswith("record.json"):
            with contextlib.suppress(ValueError, LookupError, TypeError):  # none, or a torn record
                data = json.loads((root / path).read_text(encoding="utf-8"))["dataset"]
                found[data["title"]] = data["sha256"][:16]
    return found


def make_stamp(executed: Notebook, source: str, inputs: Collection[str], root: Path) -> Notebook:
    """The stamp of an executed notebook; paths are relative to ``root``."""
    original = json.loads((root / source).read_text(encoding="utf-8"))
    if digest_cells(executed) != digest_cells(original):
        raise SystemExit(f"{source}: its cells are not those that were executed")
    return {
        "source": source,
        "cells": digest_cells(executed),
        "outputs": digest_outputs(executed),
        "parameters": executed["metadata"].get("papermill", {}).get("parameters", {}),
        "inputs": {path: digest((root / path).read_bytes()) for path in inputs},
        "data": {DIGITS: digest_digits()},
        "data of records": datasets_of(inputs, root),
        "device": device(),
    }


def main() -> None:
    """Stamp one notebook."""
    parser = argparse.ArgumentParser(description="Stamp an executed notebook.")
    parser.add_argument("executed", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("inputs", nargs="*")
    options = parser.parse_args()
    executed = json.loads(options.executed.read_text(encoding="utf-8"))
    inputs = inputs_of([path for path in options.inputs if path != options.source])
    executed["metadata"][KEY] = make_stamp(executed, options.source, inputs, Path())
    text = json.dumps(executed, indent=1, ensure_ascii=False)
    options.executed.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
