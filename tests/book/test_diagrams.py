"""Diagrams are drawn by code, legible on a phone, and in the page's colours."""

import re
from pathlib import Path

import pytest

import make_diagrams
from diagram import Diagram

BOOK = Path(__file__).resolve().parents[2] / "book"
DRAWINGS = make_diagrams.names()


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_its_code_draws(name: str):
    assert make_diagrams.differing([name]) == {}, "run book/_tools/make_diagrams.py"


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_has_no_colour_but_the_pages(name: str):
    svg = (BOOK / "figures" / f"{name}.svg").read_text()
    painted = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg)) - {"none"}
    assert painted and all(colour.startswith("var(--") for colour in painted), painted


def test_every_drawing_has_its_code():
    drawn = {path.stem for path in (BOOK / "figures").glob("*.svg")}
    assert drawn == set(DRAWINGS)


def test_text_that_would_be_too_small_on_a_phone_is_refused():
    with pytest.raises(ValueError, match="too small on a phone"):
        Diagram(500, 100).text(250, 50, "words")


def test_text_that_leaves_its_box_or_the_drawing_is_refused():
    with pytest.raises(ValueError, match="of a box 30 by 20"):
        Diagram(300, 100).box(50, 50, 30, 20, "too many words")
    with pytest.raises(ValueError, match="leaves the drawing"):
        Diagram(300, 100).text(290, 50, "words", "start")
