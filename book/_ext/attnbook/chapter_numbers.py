"""Number figures, tables and equations by chapter, with the thesis's chapter numbers.

Sphinx numbers them through the whole book unless every heading is numbered too. A page whose front
matter says ``chapter: "2"`` gets Figure 2.1 and equation (2.1), as the thesis has them; the pages
without a chapter number are numbered from 1 among themselves.
"""

from collections import Counter
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Renumber after Sphinx has numbered; returns the pages that this may change."""
    counted: Counter[tuple[Any, ...]] = Counter()
    for page, kinds in env.toc_fignumbers.items():
        chapter = str(env.metadata[page].get("chapter", ""))
        prefix = tuple(int(part) for part in chapter.split(".") if part)
        for kind, numbers in kinds.items():
            for place in numbers:
                counted[prefix, kind] += 1
                numbers[place] = (*prefix, counted[prefix, kind])
    return sorted(env.toc_fignumbers)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register after the collector that does Sphinx's own numbering."""
    app.connect("env-get-updated", number_by_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
