"""Pages that load only what they use.

The theme's first page weighs 2.6 MB: every icon of Font Awesome three times over (as a script, in
two fonts, as style rules), all of Bootstrap's classes, and the index of the search. This keeps the
rules whose classes some page or script names, the icons that the remaining rules show, and the
index on the search page. The first page must stay under 500 kB; a test weighs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

ICON_SCRIPT = re.compile(
    r'\s*<script\b[^>]*src="[^"]*_static/scripts/fontawesome\.js[^>]*></script>'
)
SEARCH_SCRIPTS = re.compile(
    r'\s*<script\b[^>]*src="[^"]*(?:searchtools|language_data|searchindex)\.js[^>]*></script>'
)
FONT_SOURCES = re.compile(
    r'url\(([^()]*webfonts/[\w-]+)\.woff2\) format\("woff2"\),'
    r'url\([^()]*\.ttf\) format\("truetype"\)'
)
ESCAPED_CODE = re.compile(r"\\([0-9a-f]{4,5})\b")
FONTS = "_static/vendor/fontawesome/webfonts"


def rules(css: str) -> Iterator[tuple[str, str | None]]:
    """The parts of a style sheet: (prelude, block), or (statement, None) without braces."""
    position, end = 0, len(css)
    while position < end:
        stop = re.compile(r"""["'{;]""")
        at = position
        while (found := stop.search(css, at)) and found[0] in "\"'":
            at = close_string(css, found.start())
        if not found:
            yield css[position:], None
            return
        if found[0] == ";":
            yield css[position : found.end()], None
            position = found.end()
            continue
        close = close_brace(css, found.start())
        yield css[position : found.start()], css[found.end() : close]
        position = close + 1


def close_string(css: str, start: int) -> int:
    """The place after the string that opens at ``start``."""
    at = start + 1
    while css[at] != css[start]:
        at += 2 if css[at] == "\\" else 1
    return at + 1


def close_brace(css: str, start: int) -> int:
    """The place of the brace that closes the one at ``start``."""
    depth, at, mark = 0, start, re.compile(r"""["'{}]""")
    while found := mark.search(css, at):
        at = close_string(css, found.start()) if found[0] in "\"'" else found.end()
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    raise ValueError(f"no brace closes {css[start : start + 60]!r}")


def selectors(prelude: str) -> list[str]:
    """The selectors of a rule; a comma in brackets or a string parts none."""
    parts = re.split(r""",(?![^()]*\))(?![^\[\]]*\])""", prelude)
    return [part for part in parts if part.strip()]


def is_used(selector: str, words: set[str]) -> bool:
    """Whether every class that must be there is named somewhere; what stands in :not() need not."""
    selector = re.sub(r":not\([^)]*\)", "", selector)
    grouped = re.search(r":(?:is|where|has)\(", selector)
    if grouped:  # one of several suffices: not worth parsing
        return True
    names = re.findall(r"\.(-?[A-Za-z_](?:[\w-]|\\.)*)", re.sub(r"\[[^\]]*\]", "", selector))
    return all(name.replace("\\", "") in words for name in names)


def used_rules(css: str, words: set[str]) -> str:
    """The style sheet without comments and without rules that no element can match."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    kept = []
    for prelude, block in rules(css):
        head = prelude.strip()
        if block is None:
            kept.append(head)
        elif head.startswith(("@media", "@supports", "@layer", "@container")):
            if inner := used_rules(block, words):
                kept.append(f"{head}{{{inner}}}")
        elif head.startswith("@"):
            kept.append(f"{head}{{{block.strip()}}}")
        elif used := [s for s in selectors(prelude) if is_used(s, words)]:
            kept.append(f"{','.join(used).strip()}{{{block.strip()}}}")
    return "".join(kept)


def words_of(paths: list[Path]) -> set[str]:
    """All that could be the name of a class in pages and scripts."""
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


def slim(app: Sphinx, error: Exception | None) -> None:
    """Cut what the finished pages don't use."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    for name in ("js", "js.map", "js.LICENSE.txt"):
        (static / "scripts" / f"fontawesome.{name}").unlink(missing_ok=True)
    pages = [path for path in out.rglob("*.html") if static not in path.parents]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        lean = ICON_SCRIPT.sub("", text)
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
        css = used_rules(path.read_text(encoding="utf-8"), words)
        css = FONT_SOURCES.sub(r'url(\1.woff) format("woff")', css)
        path.write_text(css, encoding="utf-8")
        codes |= {int(code, 16) for code in ESCAPED_CODE.findall(css)}
        codes |= {ord(c) for c in css if "\ue000" <= c <= "\uf8ff"}
    subset_fonts(out / FONTS, codes)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run when all pages are written."""
    app.connect("build-finished", slim, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
