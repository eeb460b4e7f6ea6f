"""Every command for training that a page gives has known parameters with valid values."""

import re
import shlex
from pathlib import Path

import pytest

from attnlib.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
COMMAND = re.compile(
    r"^(?:(?:torchrun [^`\n]*|python )-m attnlib train|papermill notebooks/train\.ipynb)\b"
    r"[^`\n#|]*",
    re.MULTILINE,
)


def commands() -> list[str]:
    """All such lines of the pages, without comments."""
    return [c.strip() for path in PAGES for c in COMMAND.findall(path.read_text("utf-8"))]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_of_a_page_is_one_that_trains(command: str):
    words = shlex.split(command)
    if "--help" in words:
        return
    pairs = {words[n + 1]: words[n + 2] for n, word in enumerate(words) if word == "-p"}
    config = TrainConfig.from_params(**{"device": "cpu"} | pairs)
    assert config.model == pairs["model"]


def test_commands_are_found():
    assert len(commands()) > 10
