"""Diagrams are drawn by code, legible on a phone, and in the page's colours."""

import re
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
sys.path.insert(0, str(BOOK))
import diagrams  # noqa: E402

DRAWINGS = sorted((BOOK / "figures").glob("*.py"))


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_what_its_code_draws(path):
    assert diagrams.differing([path]) == {}, "python book/diagrams.py writes it anew"


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_has_no_colour_but_the_pages(path):
    svg = path.with_suffix(".svg").read_text()
    painted = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg)) - {"none"}
    assert painted and all(colour.startswith("var(--") for colour in painted), painted


def test_every_drawing_has_its_code():
    drawn = {path.stem for path in (BOOK / "figures").glob("*.svg")}
    assert drawn == {path.stem for path in DRAWINGS}


def test_text_that_would_be_too_small_on_a_phone_is_refused():
    with pytest.raises(ValueError, match="too small on a phone"):
        diagrams.Diagram(500, 100).text(250, 50, "words")


def test_text_that_leaves_its_box_or_the_drawing_is_refused():
    with pytest.raises(ValueError, match="of a box 30 by 20"):
        diagrams.Diagram(300, 100).box(50, 50, 30, 20, "too many words")
    with pytest.raises(ValueError, match="leaves the drawing"):
        diagrams.Diagram(300, 100).text(290, 50, "words", "start")
