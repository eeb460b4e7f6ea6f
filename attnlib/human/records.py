"""Studies of networks and people as measurement records: writing and reading them."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attnlib.catalogue import TITLES
from attnlib.human.bootstrap import MEASURES, Interval
from attnlib.human.cifar10h import (
    AloneWrong,
    Crowd,
    Disputed,
    ImageGroup,
    VotesComparison,
    VotesStudy,
)
from attnlib.human.claims import Finding
from attnlib.human.decisions import CATEGORIES
from attnlib.human.study import Measured, Study
from attnlib.records.find import find_folders
from attnlib.records.measurements import (
    FOLDER,
    Measurements,
    Row,
    read_measurements,
    write_measurements,
)

STUDY, VOTES_RECORD = "human.json", "human-cifar10h.json"
COMMAND = "papermill notebooks/human.ipynb OUT.ipynb -p save results/measurements"
DIGITS = 8
FINDINGS = ("gaps", "claims", "shifts")
IMAGES = ("model_alone_wrong", "majority_alone_wrong")


def measurement_folders() -> list[Path]:
    """Folders that may hold kept measurements: from the root, from notebooks/, in attnlib."""
    return [*find_folders(FOLDER), Path(__file__).parents[2] / FOLDER]


def write_study(study: Study, folder: Path) -> None:
    """Write the study's record, ``human.json``."""
    about = {"told": study.told, "stimuli": study.stimuli, "network": study.network}
    rows: list[Row] = [{"part": "about", **about}]
    for one in study.systems:
        row = {key: getattr(one, key) for key in ("system", "title", "protocol", "source")}
        for measure in MEASURES:
            row |= _columns(f"{measure}_", one.measures[measure])
            row[f"{measure}_margin"] = _kept(one.margins[measure])
        hits = {"shape_hits": one.hits[0], "texture_hits": one.hits[1]}
        rows.append({"part": "system", **row, **hits})
        for category, interval in one.categories.items():
            where = {"part": "category", "system": one.system, "category": category}
            rows.append({**where, **_columns("", interval)})
    for key in FINDINGS:
        for finding in getattr(study, key):
            told = {name: getattr(finding, name) for name in ("text", "measure", "first", "second")}
            numbers = _columns("", finding.difference) if finding.difference else {}
            rows.append({"part": key, **told, **numbers, "verdict": finding.verdict})
    write_measurements(folder / STUDY, "human", rows, COMMAND)


def read_study() -> Study | None:
    """The kept study, which begins by saying that it was not measured here; None if there is none.

    Raises:
        ValueError: If the record can't be read.
    """
    record = _read(STUDY)
    if record is None:
        return None
    parts = _by_part(record)
    about = parts["about"][0]
    told = (
        "The published decisions are not at hand: neither in the cache (ATTNLIB_DATA) nor within "
        "reach.\nAll that follows is drawn from the record results/measurements/human.json, made "
        f"{record.date[:10]}.\n{about['told']}"
    )
    return Study(
        told,
        False,
        about["stimuli"],
        about["network"],
        [_system(row, parts["category"]) for row in parts["system"]],
        *([_finding(row) for row in parts.get(key, [])] for key in FINDINGS),
    )


def _system(row: Row, categories: Sequence[Row]) -> Measured:
    own = {one["category"]: one for one in categories if one["system"] == row["system"]}
    return Measured(
        row["system"],
        TITLES.get(row["title"], row["title"]),
        row["protocol"],
        row["source"],
        {measure: _interval(row, f"{measure}_") for measure in MEASURES},
        {measure: _number(row[f"{measure}_margin"]) for measure in MEASURES},
        [row["shape_hits"], row["texture_hits"]],
        {category: _interval(own[category]) for category in CATEGORIES},
    )


def _finding(row: Row) -> Finding:
    difference = _interval(row) if "value" in row else None
    sides = row["first"], row["second"]
    return Finding(row["text"], row["measure"], *sides, difference, row["verdict"])


def write_votes_study(study: VotesStudy, folder: Path) -> None:
    """Write the record of runs compared with people's votes, ``human-cifar10h.json``."""
    rows: list[Row] = [{"part": "people", **crowd._asdict()} for crowd in study.people]
    for one in study.compared:
        row: Row = {"part": "run", "title": one.title, "majority_accuracy": one.majority_accuracy}
        for key in ("accuracy", "kappa", "class_js", "inter_js"):
            row |= _columns(f"{key}_", getattr(one, key))
        rows.append(row | {key: getattr(one, key).total for key in IMAGES})
        for group in one.groups:
            told = {"name": group.name, "images": group.images, "votes_right": group.votes_right}
            numbers = _columns("", group.model)
            rows.append({"part": "group", "title": one.title, **told, **numbers})
        for key in IMAGES:
            shown = {"part": key, "title": one.title}
            rows += [{**shown, **disputed._asdict()} for disputed in getattr(one, key).first]
    write_measurements(folder / VOTES_RECORD, "human-cifar10h", rows, COMMAND)


def read_votes_study(lines: Iterable[str]) -> VotesStudy:
    """The kept study of votes, or an empty one; its text begins with ``lines``.

    Raises:
        ValueError: If the record can't be read.
    """
    told = [*lines, "People's votes are neither in the cache (ATTNLIB_DATA) nor within reach."]
    record = _read(VOTES_RECORD)
    if record is None:
        return VotesStudy("\n".join(told), [], [])
    told.append(
        f"What follows is drawn from the record results/measurements/{VOTES_RECORD}, made "
        f"{record.date[:10]}."
    )
    parts = _by_part(record)
    people = [Crowd(row["name"], row["images"], row["agreement"]) for row in parts["people"]]
    runs = [_comparison(row, parts) for row in parts.get("run", [])]
    told[-1] += f" It holds the {len(runs)} runs that were there then."
    return VotesStudy("\n".join(told), people, runs)


def _comparison(row: Row, parts: dict[str, list[Row]]) -> VotesComparison:
    def own(part: str) -> list[Row]:
        return [one for one in parts.get(part, []) if one["title"] == row["title"]]

    def disputed(part: str) -> AloneWrong:
        first = [Disputed(*(one[key] for key in Disputed._fields)) for one in own(part)]
        return AloneWrong(row[part], first)

    return VotesComparison(
        row["title"],
        _interval(row, "accuracy_"),
        row["majority_accuracy"],
        _interval(row, "kappa_"),
        _interval(row, "class_js_"),
        _interval(row, "inter_js_"),
        groups=[
            ImageGroup(one["name"], one["images"], one["votes_right"], _interval(one))
            for one in own("group")
        ],
        model_alone_wrong=disputed(IMAGES[0]),
        majority_alone_wrong=disputed(IMAGES[1]),
    )


def _read(name: str) -> Measurements | None:
    paths = [folder / name for folder in measurement_folders()]
    path = next((path for path in paths if path.exists()), None)
    return read_measurements(path) if path else None


def _by_part(record: Measurements) -> dict[str, list[Row]]:
    parts: dict[str, list[Row]] = {}
    for row in record.rows:
        parts.setdefault(row["part"], []).append(row)
    return parts


def _columns(prefix: str, interval: Interval) -> Row:
    return {f"{prefix}{key}": _kept(value) for key, value in interval._asdict().items()}


def _interval(row: Row, prefix: str = "") -> Interval:
    return Interval(*(_number(row[f"{prefix}{key}"]) for key in Interval._fields))


def _kept(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
