"""Find runs by name or folder, in ``runs``, in ``results`` and in an installed attnlib."""

import json
from pathlib import Path

from attnlib.records.record import read_record
from attnlib.records.run import Run, read_history

PACKAGE = Path(__file__).parents[1]


def load_run(run: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Read a finished run by its folder, or by its name in ``runs_dir`` or ``results``.

    Raises:
        ValueError: If there is none, it is not finished, or its record is not of the schema.
    """
    places = [Path(run), Path(runs_dir) / run, *(f / run for f in find_folders("results")[::-1])]
    path = next((p for p in places if (p / "record.json").exists()), None)
    if path is None:
        known = ", ".join(r.name for r in list_runs(runs_dir)) or "none"
        raise ValueError(f"run: no finished run {str(run)!r}. Finished runs: {known}.")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return Run(path, config, read_history(path), read_record(path))


def find_folders(*folders: str | Path) -> list[Path]:
    """Where ``folders`` may be: in an installed attnlib, one up from ``notebooks``, and here."""
    packed = [found for folder in folders if (found := PACKAGE / folder).is_dir()]
    above = [Path("..") / folder for folder in folders if Path.cwd().name == "notebooks"]
    return [*packed, *above, *map(Path, folders)]


def list_runs(*folders: str | Path) -> list[Run]:
    """All finished runs in ``folders`` (by default ``results`` and ``runs``), by name."""
    found = {
        path.parent.name: path.parent
        for folder in folders or ("results", "runs")
        for path in Path(folder).glob("*/record.json")
    }
    return [load_run(found[name]) for name in sorted(found)]
