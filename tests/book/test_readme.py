"""README.md says what the records say, and shows a picture that is there."""

import re
from pathlib import Path

import make_readme
import take_picture
from attnlib.commands.parser import make_parser

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_results_are_those_of_the_records():
    """If this fails, `python book/_tools/make_readme.py` brings the README up to date."""
    assert make_readme.fill(README, make_readme.results(ROOT)) == README


def test_a_wrong_number_would_be_seen():
    wrong = re.sub(r"\d+\.\d%", "99.9%", README, count=1)
    assert wrong != README
    assert make_readme.fill(wrong, make_readme.results(ROOT)) == README


def test_every_network_has_an_interval():
    networks, *_ = make_readme.results(ROOT).split("\n\n")
    rows = networks.splitlines()[2:]
    assert rows and all(re.search(r"\| [\d.]+% \| \[[\d.]+, [\d.]+\] \|$", row) for row in rows)


def test_picture_is_there_and_small():
    (source,) = re.findall(r"!\[[^\]]+\]\((book/[^)]+)\)", README)
    assert ROOT / source == take_picture.OUT
    assert 10_000 < take_picture.OUT.stat().st_size <= take_picture.LARGEST


def test_commands_of_the_first_day_are_commands():
    parser = make_parser()
    day = README.partition("## The first day")[2].partition("```")[2].partition("```")[0]
    lines = [line.partition("#")[0].split() for line in day.splitlines()]
    typed = [words[1:] for words in lines if words[:1] == ["attnlib"]]
    assert len(typed) == 5
    for words in typed:
        assert parser.parse_args(words).command == words[0]
