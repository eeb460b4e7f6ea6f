"""Hashes of an executed notebook and its inputs, and what has changed since.

``book/_tools/stamp.py`` writes the stamp into a notebook's metadata, ``attnbook.fresh`` reads it
when the book is built. No torch is needed.
"""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

KEY = "attnlib_stamp"
DIGITS = "scikit-learn's digits"  # the default data set of every notebook
Notebook = dict[str, Any]


def digest(content: bytes) -> str:
    """The first digits of a SHA-256."""
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
    """Hash of the cells' outputs."""
    return digest_json([cell["outputs"] for cell in notebook["cells"] if "outputs" in cell])


def digest_digits() -> str:
    """Hash of the file of the embedded data set."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return digest(file.read_bytes())


def changes(executed: Notebook, root: Path) -> list[str]:
    """What has changed since the notebook was executed; empty if nothing."""
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
