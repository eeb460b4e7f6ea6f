"""The font of the book's formulas: STIX Two Math, reduced to the characters that pages use.

Browsers render MathML with the device's mathematical font, and phones have none: a root
then covers only a numerator, and brackets don't grow. The font is in a style sheet, because some
browsers load no font from another folder when a page is opened from disk.
"""

import base64
import html
import io
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
SHEET = "math.css"
UNWRITTEN = {ord("\u221a")}  # the root sign, which is not in a formula's text
# A single letter of a formula is set in italics, which are separate characters.
ITALICS = {"A": 0x1D434, "a": 0x1D44E, "\u0391": 0x1D6E2, "\u03b1": 0x1D6FC}
LETTERS = {"A": 26, "a": 26, "\u0391": 25, "\u03b1": 25}


def characters_of(page: str) -> set[int]:
    """Code points of all formulas in a page."""
    texts = (re.sub(r"<[^>]*>", "", formula) for formula in FORMULA.findall(page))
    return {ord(character) for text in texts for character in html.unescape(text)}


def with_italics(codes: set[int]) -> set[int]:
    """The code points and the italics of the letters among them."""
    shifts = (
        {ord(first) + i: italic + i for i in range(LETTERS[first])}
        for first, italic in ITALICS.items()
    )
    italics = {of for shift in shifts for letter, of in shift.items() if letter in codes}
    return codes | italics | {0x210E}  # the italic h is Planck's constant


def cut_font(codes: set[int]) -> bytes:
    """STIX Two Math with these characters and their larger variants, as WOFF."""
    path = distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf")
    font = TTFont(str(path), recalcTimestamp=False)
    options = Options(layout_features=["ssty"], notdef_outline=True, name_IDs=[0, 1, 2, 7, 13, 14])
    cutter = Subsetter(options)
    cutter.populate(unicodes=with_italics(codes) | UNWRITTEN)
    cutter.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()


def style_sheet(font: bytes) -> str:
    """The CSS rules that use it for formulas."""
    source = f'url(data:font/woff;base64,{base64.b64encode(font).decode()}) format("woff")'
    return (
        f'@font-face {{ font-family: "STIX Two Math"; src: {source}; }}\n'
        'math { font-family: "STIX Two Math", math; font-size: 1.1em; }\n'
        ".formula { white-space: nowrap; }\n"
    )


def write_sheet(app: Sphinx, error: Exception | None) -> None:
    """Write the style sheet when all pages are written."""
    if error or app.builder.name not in ("html", "singlehtml"):
        return
    out = Path(app.outdir)
    pages = [path for path in out.rglob("*.html") if "_static" not in path.relative_to(out).parts]
    codes = {code for path in pages for code in characters_of(path.read_text(encoding="utf-8"))}
    sheet = style_sheet(cut_font(codes))
    (out / "_static" / SHEET).write_text(sheet, encoding="utf-8")


def use_sheet(app: Sphinx, page: str, template: str, context: dict[str, Any], *_: object) -> None:
    """Add the style sheet to a page with formulas; others need not carry its weight."""
    del page, template
    if "<math" in context.get("body", ""):
        app.add_css_file(SHEET)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the style sheet, and add it where it is needed."""
    app.connect("html-page-context", use_sheet)
    app.connect("build-finished", write_sheet)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
