"""Stamp an executed notebook with what its outputs follow from, and tell later what has changed.

    python book/stamp.py --source notebooks/NAME.ipynb EXECUTED.ipynb INPUT ...

The stamp holds hashes of the notebook's cells, its outputs, its parameters and every input that
the pipeline names: attnlib's source, records, measurements, and the embedded data set. It stands in
the notebook's metadata; ``_ext/fresh.py`` reads it when the book is built. No torch is needed.
"""

import argparse
import hashlib
import importlib.util
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

KEY = "attnlib_stamp"
DIGITS = "scikit-learn's digits"  # the data set of every notebook's defaults
Notebook = dict[str, Any]


def digest(content: bytes) -> str:
    """SHA-256, as much of it as a reader would compare."""
    return hashlib.sha256(content).hexdigest()[:16]


def digest_json(value: Any) -> str:
    """Hash of a JSON value."""
    return digest(json.dumps(value, sort_keys=True).encode())


def digest_cells(notebook: Notebook) -> str:
    """Hash of the sources of all cells but the one where papermill puts parameters."""
    cells = [
        (cell["cell_type"], "".join(cell["source"]))
        for cell in notebook["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    return digest_json(cells)


def digest_outputs(notebook: Notebook) -> str:
    """Hash of what the cells have put out."""
    return digest_json([cell["outputs"] for cell in notebook["cells"] if "outputs" in cell])


def digest_digits() -> str:
    """Hash of the file of the embedded data set."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return digest(file.read_bytes())


def device() -> str:
    """What the notebook was computed on: the GPU if there is one, else the processor."""
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
    """The files to hash; a run, named by its record or its executed notebook, stands for its files.

    Those are its record, its history and its arrays: what pages draw from.
    """
    files = {p for p in paths if not p.endswith("train.ipynb")}
    for path in map(Path, paths):
        if path.name in ("train.ipynb", "record.json"):
            folder = root / path.parent
            own = [folder / "record.json", *folder.glob("history.jsonl"), *folder.glob("*.npz")]
            files |= {str(file.relative_to(root)) for file in own}
    return sorted(files)


def datasets_of(inputs: Iterable[str], root: Path) -> dict[str, str]:
    """The data that the records among the inputs are about: title and hash."""
    records = [json.loads((root / p).read_text()) for p in inputs if p.endswith("record.json")]
    data = [record["dataset"] for record in records if "dataset" in record]
    return {each["title"]: each["sha256"][:16] for each in data}


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


def changes(executed: Notebook, root: Path) -> list[str]:
    """What is not as it was when the notebook was executed; nothing if it is fresh."""
    stamp = executed["metadata"].get(KEY)
    if stamp is None:
        return ["the notebook has no stamp"]
    source = root / stamp["source"]
    if not source.exists():
        return [f"{stamp['source']} is gone"]
    original = json.loads(source.read_text(encoding="utf-8"))
    papermill = executed["metadata"].get("papermill", {})
    found = []
    if not stamp["cells"] == digest_cells(original) == digest_cells(executed):
        found.append(stamp["source"])
    if stamp["outputs"] != digest_outputs(executed):
        found.append("the outputs were edited")
    if stamp["parameters"] != papermill.get("parameters", {}):
        found.append("the parameters")
    for path, before in stamp["inputs"].items():
        if not (root / path).exists() or digest((root / path).read_bytes()) != before:
            found.append(path)
    if stamp["data"] != {DIGITS: digest_digits()}:
        found.append(DIGITS)
    return found


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
