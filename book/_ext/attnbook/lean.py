"""Pages that load only what they use.

The theme's first page has 2.6 MB: every icon of Font Awesome three times (as a script, in
two fonts, as style rules), all of Bootstrap's classes, and the index of the search. This keeps the
rules whose classes a page or script uses, the icons that the remaining rules show, the
index on the search page, and some scripts where there is something for them to do. The first page
must stay under 500 kB, which a test checks. Pages of runs that are gone since an earlier build go.
"""

import itertools
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import tinycss2
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from tinycss2.ast import LiteralToken, Node

GROUPS = {"media", "supports", "layer", "container"}  # rules around other rules
ICON_SCRIPT = re.compile(
    r'\s*<script\b[^>]*src="[^"]*_static/scripts/fontawesome\.js[^>]*></script>'
)
SEARCH_SCRIPTS = re.compile(
    r'\s*<script\b[^>]*src="[^"]*(?:searchtools|language_data|searchindex)\.js[^>]*></script>'
)
NEEDED_BY = {  # a script's name, and what is in a page that needs it
    r"(?:clipboard\.min|copybutton)": r'<div class="highlight',
    "togglebutton": r'class="[^"]*(?<![\w-])(?:toggle(?![\w-])|admonition[^"]*dropdown|'
    r'dropdown[^"]*admonition)',
    "design-tabs": 'class="sd-tab-',
    "confusion": 'class="confusion',
}
FONT_SOURCES = re.compile(
    r'url\(([^()]*webfonts/[\w-]+)\.woff2\) format\("woff2"\),'
    r'url\([^()]*\.ttf\) format\("truetype"\)'
)
ESCAPED_CODE = re.compile(r"\\([0-9a-f]{4,5})\b")
FONTS = "_static/vendor/fontawesome/webfonts"


def is_used(selector: Sequence[Node], words: set[str]) -> bool:
    """Whether each class that a selector requires is used somewhere.

    Classes in brackets are not required: ``:not()`` excludes, ``:is()`` needs only one, and an
    attribute's value is not a class.
    """
    names = [
        name.value
        for dot, name in itertools.pairwise(selector)
        if dot == "." and name.type == "ident"
    ]
    return words.issuperset(names)


def used_selectors(prelude: Sequence[Node], words: set[str]) -> list[Node]:
    """The selectors of a rule that an element may match, separated by commas."""
    parts = [
        list(part)
        for is_comma, part in itertools.groupby(prelude, lambda token: token == ",")
        if not is_comma
    ]
    used = [part for part in parts if is_used(part, words)]
    comma = LiteralToken(0, 0, ",")
    return [token for part in used for token in (comma, *part)][1:]


def used_rules(css: str | Sequence[Node], words: set[str]) -> str:
    """The style sheet without comments and without rules that no element can match."""
    kept = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        is_group = rule.type == "at-rule" and rule.lower_at_keyword in GROUPS
        if rule.type == "qualified-rule":
            rule.prelude = used_selectors(rule.prelude, words)
            if rule.prelude:
                kept.append(rule.serialize())
        elif is_group and rule.content is not None:
            if inner := used_rules(rule.content, words):
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}")
        elif rule.type == "at-rule":
            kept.append(rule.serialize())
    return "".join(kept)


def words_of(paths: list[Path]) -> set[str]:
    """All possible class names in pages and scripts."""
    return {w for path in paths for w in re.findall(r"[\w-]+", path.read_text(encoding="utf-8"))}


def subset_fonts(folder: Path, codes: set[int]) -> None:
    """Keep the given characters of each font, in the files' own names."""
    for path in folder.glob("*.ttf"):
        font = TTFont(path, recalcTimestamp=False)
        options = Options(layout_features=[], notdef_outline=True, name_IDs=[0, 1, 2, 13, 14])
        cutter = Subsetter(options)
        cutter.populate(unicodes=codes)
        cutter.subset(font)
        font.flavor = "woff"
        font.save(path.with_suffix(".woff"))
        path.unlink()
        path.with_suffix(".woff2").unlink()


def without_idle_scripts(page: str) -> str:
    """A page without scripts that have nothing to do there."""
    for name, needed in NEEDED_BY.items():
        if not re.search(needed, page):
            page = re.sub(rf'\s*<script\b[^>]*src="[^"]*/{name}\.js[^>]*></script>', "", page)
    return page


def remove_former(out: Path, pages: Collection[str]) -> None:
    """Remove the pages of runs and measurements that were there when the book was built before."""
    for path in (out / "runs").rglob("*.html"):
        if path.relative_to(out).with_suffix("").as_posix() not in pages:
            path.unlink()


def slim(app: Sphinx, error: Exception | None) -> None:
    """Remove what the finished pages don't use."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    remove_former(out, app.env.found_docs)
    for name in ("js", "js.map", "js.LICENSE.txt"):
        (static / "scripts" / f"fontawesome.{name}").unlink(missing_ok=True)
    pages = [path for path in out.rglob("*.html") if static not in path.parents]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        lean = without_idle_scripts(ICON_SCRIPT.sub("", text))
        if path.name != "search.html":
            lean = SEARCH_SCRIPTS.sub("", lean)
        if lean != text:
            path.write_text(lean, encoding="utf-8")
    scripts = [path for path in static.rglob("*.js") if path.parent.parent.name != "locales"]
    words = words_of([*pages, *scripts])
    codes = {
        ord(c)
        for path in pages
        for c in path.read_text(encoding="utf-8")
        if "\ue000" <= c <= "\uf8ff"
    }
    for path in static.rglob("*.css"):
        css = FONT_SOURCES.sub(r'url(\1.woff) format("woff")', path.read_text(encoding="utf-8"))
        css = used_rules(css, words)
        path.write_text(css, encoding="utf-8")
        codes |= {int(code, 16) for code in ESCAPED_CODE.findall(css)}
        codes |= {ord(c) for c in css if "\ue000" <= c <= "\uf8ff"}
    subset_fonts(out / FONTS, codes)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run when all pages are written."""
    app.connect("build-finished", slim, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
