"""What the generated pages share: tables, commands, and how a commit and a device are named."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from attnlib.records.provenance import threads_of

ROOT = Path(__file__).resolve().parents[2]


def address() -> str:
    """The repository's address, https://github.com/OWNER/NAME."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"]


def cell(value: object) -> str:
    """Text of one table cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """A Markdown table; ``align`` has one letter a column, l or r."""
    marks = [{"l": ":--", "r": "--:"}[letter] for letter in align or "l" * len(header)]
    lines = [header, marks, *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def command(line: str) -> str:
    """Break a long command at its options, so that it can be read and still be copied."""
    words = shlex.split(line)
    lines, current = [], ""
    for word in map(shlex.quote, words):
        if word.startswith("-") and len(current) > 60:
            lines, current = [*lines, current], "  "
        current += word if not current.strip() else f" {word}"
    return " \\\n".join([*lines, current])


def device_words(device: Mapping[str, Any]) -> str:
    """What a run computed on."""
    return f"{device['name']}, {threads_of(device)}"


def commit_words(git: Mapping[str, Any]) -> str:
    """The commit, and whether anything had changed since."""
    changed = {True: ", with uncommitted changes", False: ", clean", None: ""}[git["dirty"]]
    return f"`{git['commit']}`{changed}" if git["commit"] else "none: not run from a repository"


def write(path: Path, text: str) -> None:
    """Write ``text`` unless the file already holds it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
