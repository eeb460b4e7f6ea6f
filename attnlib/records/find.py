"""Finding runs by name or folder, in ``runs``, in ``results`` and in an installed attnlib."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from attnlib.catalogue import TRANSFORMERS
from attnlib.records.record import parse_object, read_checked, read_record
from attnlib.records.run import Run, parse_history

PACKAGE = Path(__file__).parents[1]


class Showcase(NamedTuple):
    """The networks that figures are drawn from: a distilled transformer and its teacher."""

    student: Run
    teacher: Run


class Found(NamedTuple):
    """Finished runs by name, and for each folder left out, as ``runs/NAME``, the reason."""

    runs: list[Run]
    left_out: dict[str, str]


def load_run(run: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Read a finished run by its folder, or by its name in ``runs_dir`` or ``results``.

    Raises:
        ValueError: If it is not found or not finished, or one of its files is damaged.
    """
    places = [Path(run), *(f / run for f in find_folders("results", runs_dir)[::-1])]
    path = next((p for p in places if (p / "record.json").exists()), None)
    if path is None:
        known = ", ".join(r.name for r in read_runs(*find_folders(runs_dir)).runs) or "none"
        raise ValueError(f"run: no finished run {str(run)!r}. Finished runs: {known}.")
    record = read_record(path)
    if record.name != path.absolute().name:
        raise ValueError(f"{path}: its record is that of {record.name}")
    config = read_checked(path, "config.json", record.files)
    history = b""
    if "history.jsonl" in record.files or (path / "history.jsonl").exists():
        history = read_checked(path, "history.jsonl", record.files)
    return Run(
        path,
        parse_object(config, path / "config.json"),
        parse_history(history, path / "history.jsonl"),
        record,
    )


def find_folders(*folders: str | Path) -> list[Path]:
    """Where ``folders`` may be: in an installed attnlib, beside ``notebooks``, and here."""
    packed = [found for folder in folders if (found := PACKAGE / folder).is_dir()]
    above = [Path("..") / folder for folder in folders if Path.cwd().name == "notebooks"]
    return [*packed, *above, *map(Path, folders)]


def list_runs(*folders: str | Path) -> list[Run]:
    """All finished runs in ``folders``, by name; by default in ``results`` and ``runs``.

    In the notebooks' folder, the project's folders are used. Unreadable runs are left out, with a
    warning that names the folder and the reason.
    """
    found = read_runs(*folders)
    for folder, reason in found.left_out.items():
        warnings.warn(f"left out: {folder}: {reason}", stacklevel=2)
    return found.runs


def read_runs(*folders: str | Path) -> Found:
    """The runs that ``list_runs`` lists, and the reason for each folder left out.

    If two runs have the same name, the one in the later folder is used.
    """
    runs: dict[str, Run] = {}
    left_out = {}
    for folder in map(Path, folders or find_folders("results", "runs")):
        for path in sorted(record.parent for record in folder.glob("*/record.json")):
            try:
                runs[path.name] = load_run(path)
            except (OSError, ValueError) as fault:
                reason = str(fault).replace(f"{path}/", "").removeprefix(f"{path}: ")
                left_out["/".join(path.parts[-2:])] = reason
    return Found([runs[name] for name in sorted(runs)], left_out)


def newest_run(
    *folders: str | Path, weights: bool = True, data: str | None = None, **like: Any
) -> Run | None:
    """The newest finished run whose configuration has the values of ``like``; None if none has.

    Args:
        folders: Where runs are.
        weights: Whether it must have weights; kept ones are fetched where they aren't here, and a
            run whose weights can't be had is passed over.
        data: SHA-256 of its data set; any if None.
        like: Values of parameters.
    """
    found = [
        run
        for run in list_runs(*folders)
        if data in (None, run.record.dataset.sha256)
        and all(run.config.get(name) == value for name, value in like.items())
    ]
    newest = sorted(found, key=lambda run: run.record.finished, reverse=True)
    return next((run for run in newest if not weights or run.fetch_weights()), None)


def find_showcase(results: str | Path = "results", runs: str | Path = "runs") -> Showcase | None:
    """The newest distilled transformer with weights, and its teacher; None if there is none.

    Weights that are kept in ``results`` come first. In ``runs``, without them, hard distillation
    comes first, as in the thesis.
    """
    for folder in (results, runs):
        with_weights = {r.name: r for r in read_runs(*find_folders(folder)).runs if r.has_weights}
        pairs = [
            Showcase(run, with_weights[run.record.teacher])
            for run in with_weights.values()
            if run.record.teacher in with_weights and run.config["model"] in TRANSFORMERS
        ]
        if pairs:
            return max(pairs, key=_rank)
    return None


def _rank(pair: Showcase) -> tuple[bool, str]:
    return pair.student.config["distillation"] == "hard", pair.student.record.finished
