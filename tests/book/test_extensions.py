"""The book's extensions: pictures must be described, pages load only what they use."""

from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import attnbook
from attnbook import access, alt, lean

ROOT = Path(__file__).resolve().parents[2]

EXTENSIONS = ROOT / "book" / "_ext" / "attnbook"
GOOD = "Two curves; the one of ResNet-18 rises faster"


def test_every_extension_is_registered_by_the_package_and_the_book_names_the_package_alone():
    modules = [p for p in EXTENSIONS.glob("*.py") if p.stem != "__init__"]
    files = {p.stem: p for p in modules} | {
        p.parent.name: p for p in EXTENSIONS.glob("*/__init__.py")
    }
    written = {name for name, p in files.items() if "\ndef setup(" in p.read_text("utf-8")}
    assert sorted(attnbook.PARTS) == sorted(written)
    sphinx = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]
    assert sphinx["local_extensions"] == {"attnbook": "book/_ext"}
    assert sphinx["config"]["extensions"].count("attnbook") == 1
    assert not written & set(sphinx["config"]["extensions"])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "without alternative text"),
        ("", "without alternative text"),
        ("  \n ", "without alternative text"),
        ("_images/891af.png", "file name"),
        ("curves-of-a-run.svg", "file name"),
        ("figure", "says too little"),
        ("A figure of the plot", "says too little"),
        ("Two curves", "says too little"),
        (GOOD, None),
    ],
)
def test_alternative_text_must_mean_something(text: str | None, wrong: str | None):
    found = alt.fault(text)
    assert found is None if wrong is None else found and wrong in found


def test_decoration_is_silent():
    assert alt.fault("", decorative=True) is None
    assert "decorative" in (alt.fault(GOOD, decorative=True) or "")


@pytest.mark.parametrize(
    ("html", "right"),
    [
        (f'<img src="a.png" alt="{GOOD}">', True),
        ('<img src="a.png">', False),
        ('<img src="a.png" alt="" aria-hidden="true">', True),
        (f'<svg role="img" aria-label="{GOOD}"></svg>', True),
        ("<svg></svg>", False),
        ('<svg aria-hidden="true"></svg>', True),
    ],
)
def test_pictures_in_html_are_held_to_the_same(html: str, right: bool):
    tag = BeautifulSoup(html, "html.parser").find(["img", "svg"])
    assert (alt.fault_of_tag(tag) is None) == right


def build(folder: Path, text: str) -> str:
    """Warnings of a page that holds ``text``, built with the extension."""
    (folder / "index.md").write_text(f"# Page\n\n{text}\n")
    (folder / "curves.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'attnbook.alt']\n"
    )
    with docutils_namespace():
        log = folder / "warnings.txt"
        with log.open("w") as stream:
            places = [folder, folder, folder / "out", folder / "trees"]
            Sphinx(*map(str, places), "html", status=None, warning=stream).build()  # type: ignore[arg-type]
        lines = log.read_text().splitlines()
        return "\n".join(line for line in lines if "already registered" not in line)


def test_picture_without_a_description_is_a_warning_of_the_build(tmp_path: Path):
    assert "without alternative text" in build(tmp_path, "![](curves.svg)")


def test_described_picture_is_none(tmp_path: Path):
    assert build(tmp_path, f"![{GOOD}](curves.svg)") == ""


def test_raw_html_is_read_too(tmp_path: Path):
    assert "says too little" in build(tmp_path, '<img src="curves.svg" alt="plot">')


CSS = r"""/* a comment with a } in it */
@charset "utf-8";
.used, .unused > a { color: red }
.unused { content: "}" }
a.used:not(.never) { content: "\"}{" }
@media (min-width: 10px) { .unused { a: b } .used { c: d } }
@media print { .unused { a: b } }
@font-face { font-family: X; src: url(x.woff) }
h1 { color: blue } :is(.unused, p) b { e: f } .used[class*="un.used"] { g: h }
.n\31 { i: j } .n\32 { k: l }
"""


def test_rules_that_no_element_can_match_are_cut_and_no_others():
    left = lean.used_rules(CSS, {"used", "n1"})
    for cut in ("unused >", "comment", "print", "k: l"):
        assert cut not in left, (cut, left)
    for kept in (
        '@charset "utf-8";', ".used{ color: red }", 'a.used:not(.never) { content: "\\"}{" }',
        "@media (min-width: 10px) {.used { c: d }}", "@font-face {", "h1 { color: blue }",
        ":is(.unused, p) b { e: f }", '.used[class*="un.used"] { g: h }', ".n1{ i: j }",
    ):  # fmt: skip
        assert kept in left, (kept, left)


def test_cutting_twice_changes_nothing_more():
    once = lean.used_rules(CSS, {"used"})
    assert lean.used_rules(once, {"used"}) == once


def test_errors_of_a_style_sheet_end_where_they_end_for_a_browser():
    assert lean.used_rules("a { b: c", set()) == "a { b: c}"
    assert "h2 { d: e }" in lean.used_rules("a { b: c } } h1 {} h2 { d: e }", set())


def test_scripts_stay_only_where_they_have_something_to_do():
    names = ("clipboard.min", "copybutton", "togglebutton", "design-tabs", "confusion", "tables")
    page = "".join(f'<script src="_static/{name}.js?v=1"></script>' for name in names)
    page += '<button class="btn sidebar-toggle"></button><div class="dropdown"></div>'
    assert lean.without_idle_scripts(page).count("<script") == 1
    for content, kept in (
        ('<div class="highlight"><pre>', {"clipboard.min", "copybutton"}),
        ('<div class="toggle docutils container">', {"togglebutton"}),
        ('<div class="dropdown admonition">', {"togglebutton"}),
        ('<div class="sd-tab-set docutils">', {"design-tabs"}),
        ('<div class="confusion">', {"confusion"}),
    ):
        left = lean.without_idle_scripts(page + content)
        assert {name for name in names if f"/{name}.js" in left} == {*kept, "tables"}


def test_pages_of_runs_that_are_gone_leave_the_book(tmp_path: Path):
    kept = {"intro", "runs/index", "runs/records/here.v1"}
    for page in (*kept, "search", "runs/records/gone"):
        path = tmp_path / f"{page}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lean.remove_former(tmp_path, kept)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert left == {f"{page}.html" for page in (*kept, "search")}


def test_font_keeps_the_characters_asked_for(tmp_path: Path):
    source = Path(font_manager.findfont("DejaVu Sans"))
    (tmp_path / "icons.ttf").write_bytes(source.read_bytes())
    (tmp_path / "icons.woff2").write_bytes(b"")
    lean.subset_fonts(tmp_path, {0x2192})
    assert [path.name for path in tmp_path.iterdir()] == ["icons.woff"]
    kept = TTFont(tmp_path / "icons.woff")
    assert set(kept.getBestCmap()) == {0x2192}
    assert (tmp_path / "icons.woff").stat().st_size < source.stat().st_size / 50


def test_empty_header_cells_head_nothing():
    repaired = access.repair('<tr><th></th><th scope="col"> </th><th>a</th></tr>')
    assert repaired == "<tr><td></td><td></td><th>a</th></tr>"


def test_folded_cells_are_called_what_they_show():
    folded = '<summary aria-label="Toggle hidden content"><p>Show code cell source</p></summary>'
    assert access.repair(folded) == "<summary><p>Show code cell source</p></summary>"
