"""How formulas stand in a page: with their own letters, spaces and marks, on every device."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import WIDE, resize, wait
from docutils import nodes
from docutils.utils import new_document
from fontTools.ttLib import TTFont
from PIL import Image

from attnbook import math_font
from attnbook.mathml import Unbroken, to_mathml

ROOT = Path(__file__).resolve().parents[2]

FORMULA = to_mathml(r"d = \sqrt{\frac{a + \gamma}{2}}", "block")


def test_font_holds_the_letters_of_the_formulas_and_little_else():
    codes = math_font.characters_of(f"<p>words \N{SNOWMAN}</p>{FORMULA}")
    assert {ord(c) for c in "da2\N{GREEK SMALL LETTER GAMMA}+="} <= codes
    assert ord("w") not in codes and ord("\N{SNOWMAN}") not in codes
    font = math_font.cut_font(codes)
    held = TTFont(io.BytesIO(font)).getBestCmap()
    italic_a, italic_gamma = 0x1D44E, 0x1D6FE
    assert {ord("2"), italic_a, italic_gamma, ord("\N{SQUARE ROOT}")} <= held.keys()
    assert len(font) < 40_000


def test_italics_of_letters_are_the_right_ones():
    assert math_font.with_italics({ord("b")}) == {ord("b"), 0x1D44F, 0x210E}
    assert math_font.with_italics({ord("2")}) == {ord("2"), 0x210E}


@pytest.mark.slow
def test_root_is_as_high_as_the_fraction_below_it(browser: Any, tmp_path: Path):
    """Without a mathematical font the sign is one line high and its bar covers the numerator."""
    font = math_font.cut_font(math_font.characters_of(FORMULA))
    sheet = math_font.style_sheet(font)
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><style>{sheet}</style>{FORMULA}")
    resize(browser, WIDE)
    browser.get(page.as_uri())
    loaded = "return [...document.fonts].map(font => font.family + ' ' + font.status)"
    assert wait(lambda: browser.execute_script(loaded) == ["STIX Two Math loaded"])
    ends = "return ['msqrt', 'mfrac'].map(tag => document.querySelector(tag)"
    root, fraction = browser.execute_script(f"{ends}.getBoundingClientRect().toJSON())")
    drawn = browser.find_element("css selector", "msqrt").screenshot_as_png
    sign = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    sign = sign[:, : int(fraction["left"] - root["left"]) - 2]
    rows = np.flatnonzero((sign < 128).any(axis=1))
    assert rows[-1] - rows[0] > 0.9 * fraction["height"]


def test_full_stop_and_brackets_stay_on_the_line_of_their_formula():
    document = new_document("page")
    words = "Half of it (", nodes.math("", "x"), "). Then ", nodes.math("", "y"), " and ", "more."
    document += nodes.paragraph(
        "", "", *(nodes.Text(w) if isinstance(w, str) else w for w in words)
    )
    Unbroken(document).run()
    whole = [node.astext() for node in document.findall(nodes.inline)]
    assert whole == ["(x).", "y"]
    assert document.astext() == "Half of it (x). Then y and more."


def test_functions_stand_apart_from_their_neighbours_but_not_from_a_bracket():
    spaced = to_mathml(r"p \log q", "inline")
    assert spaced.count("<mspace") == 2
    assert "<mspace" not in to_mathml(r"-\log(q)", "inline")
