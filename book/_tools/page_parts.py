"""Shared parts of the generated pages: tables, commands, and names of commits and devices."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from attnlib import escaping
from attnlib.records.provenance import threads_of

ROOT = Path(__file__).resolve().parents[2]


def address() -> str:
    """The repository's address, https://github.com/OWNER/NAME."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"]


def table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """A table of cells that are Markdown; ``align`` has one letter per column, l or r."""
    marks = [{"l": ":--", "r": "--:"}[letter] for letter in align or "l" * len(header)]
    cells = [[str(value).replace("|", "\\|") for value in row] for row in rows]
    lines = [header, marks, *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def command(line: str) -> str:
    """A block with a command, broken at its options so that it can be read and copied."""
    try:
        words = shlex.split(line)
    except ValueError:  # not parsable as a shell command
        return escaping.code_block(line, "text")
    lines, current = [], ""
    for word in map(escaping.shell, words):
        if word.startswith("-") and len(current) > 60:
            lines, current = [*lines, current], "  "
        current += word if not current.strip() else f" {word}"
    return escaping.code_block(" \\\n".join([*lines, current]), "bash")


def device_words(device: Mapping[str, Any]) -> str:
    """The device that a run used."""
    return escaping.markdown(f"{device['name']}, {threads_of(device['threads'])}")


def write(path: Path, text: str) -> None:
    """Write ``text`` unless it is the file's content already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
