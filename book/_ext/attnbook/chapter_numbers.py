"""Number chapters, figures, tables and equations as the thesis does, so that new runs change none.

Sphinx numbers figures through the whole book unless every heading is numbered too. Here a page
whose front matter says ``chapter: "2"`` is chapter 2, with Figure 2.1 and equation (2.1). A page
without a number of its own is the next section of the chapter before it (8.1, 8.2, ...), one that
says ``chapter: ""`` has none. The pages of the appendix have letters, and those below them, one for
each run or measurement, no numbers at all.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from attnbook.way import is_appendix, pages_in_order

Number = tuple[int | str, ...]


def chapters(env: BuildEnvironment) -> dict[str, Number]:
    """The number of each page that has one, in the order of the book."""
    found: dict[str, Number] = {}
    last: Number = ()
    sections, letters = 0, iter("ABCDEFGH")
    for page in pages_in_order(env):
        own = env.metadata[page].get("chapter")
        if is_appendix(page):
            if page.count("/") == 1:
                found[page] = (next(letters),)
        elif own is not None:
            last, sections = tuple(int(part) for part in str(own).split(".") if part), 0
            found[page] = last
        elif last:
            sections += 1
            found[page] = (*last, sections)
    return {page: number for page, number in found.items() if number}


def number_title(env: BuildEnvironment, page: str, number: Number) -> None:
    """Give the page's title its number, here and in lists of pages; headings below get none."""
    env.titles[page]["secnumber"] = number
    numbers: dict[str, Number] = {}
    for link in links_of(env.tocs[page]):
        is_title = not link["anchorname"]
        numbers[link["anchorname"]] = number if is_title else ()
        link["secnumber"] = number if is_title else None
    env.toc_secnumbers[page] = numbers  # type: ignore[assignment]


def links_of(toc: nodes.Element) -> Iterator[nodes.reference]:
    """The links of a page's own list of contents."""
    return (link for link in toc.findall(nodes.reference) if "anchorname" in link)


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Renumber after Sphinx has numbered; returns the pages that this may change."""
    del app
    numbers = chapters(env)
    for page, number in numbers.items():
        number_title(env, page, number)
    counted: Counter[tuple[Any, ...]] = Counter()
    for page, kinds in env.toc_fignumbers.items():
        prefix = numbers.get(page, ())
        for kind, places in kinds.items():
            if is_appendix(page) and not prefix:
                places.clear()
            for place in places:
                counted[prefix, kind] += 1
                places[place] = (*prefix, counted[prefix, kind])  # type: ignore[assignment]
    return sorted({*env.toc_fignumbers, *numbers})


def setup(app: Sphinx) -> dict[str, bool]:
    """Register after the collector that does Sphinx's own numbering."""
    app.connect("env-get-updated", number_by_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
