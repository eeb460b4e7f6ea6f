"""What commands print: tables, CSV and JSON, colours and bars only on a terminal."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from attnlib.escaping import printable

PrintedRow = Mapping[str, Any]  # JSON values by name
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are shown: on a terminal, unless NO_COLOR is set (no-color.org)."""
    dumb = os.environ.get("TERM") == "dumb"
    return stream.isatty() and not dumb and not os.environ.get("NO_COLOR")


def painted(text: str, style: str, stream: TextIO | None = None) -> str:
    """``text`` in one of ``STYLES`` where the stream shows colours."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if is_coloured(stream or sys.stdout) else text


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(painted(printable(text), "yellow", sys.stderr), file=sys.stderr, flush=True)


def format_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as aligned columns under their names; numbers to the right."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [[printable(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    to_right = [all(is_number(text) for text in column) for column in zip(*cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, to_right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([painted(line(names), "bold"), *map(line, cells)])


def is_number(text: str) -> bool:
    """Whether ``text`` begins like a number, or stands for a missing one."""
    return text == "-" or text.lstrip("+-")[:1].isdigit()


def print_rows(
    rows: Iterable[PrintedRow], form: str, words: Callable[[PrintedRow], Mapping[str, str]]
) -> None:
    """Print rows as a ``table`` of what ``words`` makes of each, as ``csv``, or as ``json``."""
    if form == "json":
        print(json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False))
    elif form == "csv":
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
    elif table := format_table([words(row) for row in rows]):
        print(table)


def bar(total: int | None, unit: str) -> Any:
    """A progress bar on standard error, if that is a terminal; ``update(n)`` advances it."""
    return tqdm(
        total=total,
        unit=f" {unit}",
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
    )
