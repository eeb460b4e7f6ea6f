"""Finding runs by name or folder, in ``runs``, in ``results`` and in an installed attnlib."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attnlib.catalogue import TRANSFORMERS
from attnlib.parameters import suggest
from attnlib.records.record import read_checked, read_record
from attnlib.records.run import Run, parse_config, parse_history

PACKAGE = Path(__file__).parents[1]
MOST_NAMES = 8  # of the names in an error; attnlib runs lists them all


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
        raise ValueError(f"run: {_not_found(str(run), find_runs(runs_dir=runs_dir))}")
    record = read_record(path)
    if record.name != path.absolute().name:
        raise ValueError(f"{path}: its record is that of {record.name}")
    config = read_checked(path, "config.json", record.files)
    history = b""
    if "history.jsonl" in record.files or (path / "history.jsonl").exists():
        history = read_checked(path, "history.jsonl", record.files)
    found = Run(
        path,
        parse_config(config, path / "config.json"),
        parse_history(history, path / "history.jsonl"),
        record,
    )
    if record.metrics.best_epoch not in [line["epoch"] for line in found.history]:
        raise ValueError(f"{path / 'history.jsonl'} lacks the epoch that was tested")
    return found


def find_run(run: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Read a finished run as people name it: ``load_run``, or a part that only its name has.

    That is how the name begins, or the digest at its end.

    Raises:
        ValueError: As ``load_run``; or if several runs' names have that part.
    """
    part, names = str(run), find_runs(runs_dir=runs_dir)
    if part in names or (Path(run) / "record.json").exists():
        return load_run(run, runs_dir)
    having = [name for name in names if name.startswith(part) or name.endswith(f"-{part}")]
    if part and len(having) > 1:
        raise ValueError(f"run: {part!r} may be any of {_some(having)}.")
    return load_run(having[0] if part and having else run, runs_dir)


def find_runs(names: Sequence[str] = (), runs_dir: str | Path = "runs") -> dict[str, Path]:
    """Folders of finished runs by name, in ``runs_dir`` and ``results``; the former has priority.

    Args:
        names: Only these, in this order; if empty, all by name.
        runs_dir: Where runs are written.

    Raises:
        ValueError: If one of ``names`` is not found.
    """
    folders = find_folders("results", runs_dir)
    found = {
        path.parent.name: path.parent
        for folder in folders
        for path in sorted(folder.glob("*/record.json"))
    }
    for name in names:
        if name not in found:
            raise ValueError(f"runs: {_not_found(name, found)}")
    return {name: found[name] for name in (names or sorted(found))}


def _not_found(name: str, names: Iterable[str]) -> str:
    """That there is no such run, and which there are."""
    return f"no finished run {name!r}.{suggest(name, names)} Finished runs: {_some([*names])}."


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) or "none") + more


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


def one_of_each_recipe(runs: Iterable[Run]) -> list[Run]:
    """Of runs that differ only in the seed the first, without those that others start from."""
    runs = list(runs)
    starts = {run.config.get("initial_checkpoint") for run in runs}
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.record.seeds.run):
        first.setdefault(run.recipe, run)
    return [run for run in runs if run is first[run.recipe] and run.name not in starts]


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
