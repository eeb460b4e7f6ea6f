"""Bibliography style with the thesis's numbers: [26] is [26] there too."""

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.sorting import BaseSortingStyle
from sphinx.application import Sphinx


class ThesisSorting(BaseSortingStyle):
    """Entries with a field ``thesis`` first, by that number; then others in order."""

    def sorting_key(self, entry: Entry) -> int:
        """The thesis's number, or a larger one."""
        return int(entry.fields.get("thesis", 1000))


class ThesisOrder(UnsrtStyle):
    """Numbered in the thesis's order."""

    default_sorting_style = "thesis_order"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the style under the name ``thesis_order``."""
    register_plugin("pybtex.style.sorting", "thesis_order", ThesisSorting)
    register_plugin("pybtex.style.formatting", "thesis_order", ThesisOrder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
