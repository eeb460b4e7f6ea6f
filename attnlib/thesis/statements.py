"""The thesis's statements and errors, read from ``thesis.toml`` and ``errata.toml``.

This module has the statements and their places. Arithmetic on them is in ``arithmetic``, the
comparison with our results in ``scoreboard``.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

Value = float | bool
JOINS = ("run", "cost", "scaling", "count", "formula", "none")
KINDS = {
    "measured": "what the thesis measured",
    "claim": "what it claims",
    "counted": "what can be counted",
    "cited": "numbers of others",
    "setting": "settings, which we copy",
}


@dataclass(frozen=True)
class Statement:
    """A number, or a claim that is true or false, with its place in the thesis."""

    id: str
    what: str
    value: Value
    printed: str  # as printed in the thesis; "claimed" for a claim
    unit: str
    section: str
    places: tuple[str, ...]  # table, row and column, or the text
    join: str = "none"
    kind: str = "counted"
    quantity: str = ""
    subject: str = ""
    against: str = ""
    formula: str = ""
    count: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""
    note: str = ""
    erratum: int | None = None

    @property
    def chapter(self) -> int:
        """Number of the chapter."""
        return int(self.section.split(".")[0])

    @property
    def place(self) -> str:
        """Section, table, row and column, as text."""
        return f"{self.section}, {'; '.join(self.places)}"

    @property
    def anchor(self) -> str:
        """The id of its row on the scoreboard page."""
        return f"thesis-{self.id.replace('_', '-')}"

    @property
    def step(self) -> float:
        """One unit in the last printed digit: 0.1 for "88.7"."""
        return 10.0 ** -len(self.printed.partition(".")[2])


@dataclass(frozen=True)
class Thesis:
    """All statements by id, and their subjects."""

    statements: Mapping[str, Statement]
    quantities: Mapping[str, Mapping[str, Any]]
    subjects: Mapping[str, Mapping[str, Any]]
    recipe: Mapping[str, str]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Erratum:
    """One error: the thesis's statement, what is true, and the test that shows it."""

    number: int
    group: str
    title: str
    place: str
    thesis: str
    truth: str
    how: str
    check: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Errata:
    """The errors by number, and the facts and counts that they use."""

    entries: Mapping[int, Erratum]
    groups: Mapping[str, Mapping[str, str]]
    categories: Mapping[str, int]
    facts: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Mapping[str, Any]]


def read_thesis() -> Thesis:
    """Read ``thesis.toml``.

    Raises:
        ValueError: If an id has two values, or a join or a kind is unknown.
    """
    content = _read("thesis.toml")
    found: dict[str, Statement] = {}
    for statement in [*_cells(content), *_numbers(content), *_claims(content)]:
        statement = replace(statement, **content["remarks"].get(statement.id, {}))
        for value, valid in ((statement.join, JOINS), (statement.kind, KINDS)):
            if value not in valid:
                raise ValueError(f"{statement.id}: {value!r} is none of {', '.join(valid)}.")
        known = found.get(statement.id)
        if known is None:
            found[statement.id] = statement
        elif known.value != statement.value:
            raise ValueError(f"{known.id}: {known.printed} and {statement.printed}.")
        else:  # printed in two tables: the one with more digits comes first
            first, second = sorted((known, statement), key=lambda s: s.step)
            tables = [place.partition(", row")[0] for place in second.places]
            places = first.places + tuple(f"{second.section}, {table}" for table in tables)
            found[known.id] = replace(first, places=places)
    unknown = set(content["remarks"]) - set(found)
    if unknown:
        raise ValueError(f"remarks on unknown statements: {', '.join(sorted(unknown))}.")
    return Thesis(
        found,
        content["quantities"],
        content["subjects"],
        content["recipe"],
        content["document"],
    )


def table_cells(name: str) -> list[str]:
    """The ids of the numbers in a table of the thesis, row by row.

    Raises:
        ValueError: If there is no such table, naming those that there are.
    """
    tables = {table["name"]: table for table in _read("thesis.toml")["table"]}
    if name not in tables:
        raise ValueError(f"no table {name!r}; there is: {', '.join(tables)}.")
    table = tables[name]
    return [f"{quantity}_{row}" for row in table["rows"] for quantity in table["quantities"]]


def read_errata() -> Errata:
    """Read ``errata.toml``."""
    content = _read("errata.toml")
    entries = [
        Erratum(**entry | {"sources": tuple(entry.get("sources", ()))})
        for entry in content["erratum"]
    ]
    return Errata(
        {entry.number: entry for entry in entries},
        content["groups"],
        content["categories"],
        content["facts"],
        content["counts"],
    )


def _read(name: str) -> dict[str, Any]:
    text = resources.files("attnlib.thesis").joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def _cells(content: Mapping[str, Any]) -> list[Statement]:
    """The statements of the tables, one per cell."""
    found = []
    for table in content["table"]:
        for subject, row in table["rows"].items():
            title = content["subjects"][subject]["title"]
            for name, column, printed in zip(
                table["quantities"], table["columns"], row, strict=True
            ):
                quantity = content["quantities"][name]
                about = content["subjects"][subject]
                found.append(
                    Statement(
                        f"{name}_{subject}",
                        f"{title}: {quantity['what']}",
                        float(printed),
                        printed,
                        quantity["unit"],
                        table["section"],
                        (f"{table['name']}, row {title}, column {column}",),
                        quantity["join"],
                        _kind_of_cell(name, quantity["join"], about),
                        quantity=name,
                        subject=subject,
                        count=name if quantity["join"] == "count" else "",
                        needs=quantity.get("needs", ""),
                    )
                )
    return found


def _kind_of_cell(quantity: str, join: str, about: Mapping[str, Any]) -> str:
    if join == "count":
        return "counted"
    cited = join == "none" or (quantity == "accuracy" and not about.get("own"))
    return "cited" if cited else "measured"


def _numbers(content: Mapping[str, Any]) -> list[Statement]:
    """The numbers in the text."""
    found = []
    for entry in content["number"]:
        entry = dict(entry)
        printed = entry.pop("value")
        places = (entry.pop("place"), *entry.pop("also", ()))
        kind = entry.pop("kind", "measured" if entry["join"] == "run" else "counted")
        found.append(
            Statement(value=float(printed), printed=printed, places=places, kind=kind, **entry)
        )
    return found


def _claims(content: Mapping[str, Any]) -> list[Statement]:
    """What the text claims, as statements whose value is True."""
    found = []
    for entry in content["claim"]:
        entry = dict(entry)
        join = "formula" if "formula" in entry else "none"
        places = (entry.pop("place"),)
        fixed: dict[str, Any] = {"value": True, "printed": "claimed", "unit": "", "kind": "claim"}
        found.append(Statement(places=places, join=join, **fixed, **entry))
    return found
