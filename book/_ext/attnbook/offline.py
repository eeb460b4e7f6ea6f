"""Pages that make no requests, so that the book works from a USB stick."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Search fetches each hit to quote from it, which a browser refuses on file://.
LOCAL_SEARCH = (
    "if (location.protocol === 'file:') DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;"
)


class RemoteImages(SphinxTransform):
    """Replace images from other servers by their alternative text.

    This turns the notebooks' Colab badge into a plain link.
    """

    default_priority = 200

    def apply(self) -> None:
        """Replace every such image of one page."""
        for image in list(self.document.findall(nodes.image)):
            if not image["uri"].startswith(("http://", "https://", "//")):
                continue
            if not image.get("alt"):
                logger.warning("no alternative text for %s", image["uri"], location=image)
            image.replace_self(nodes.Text(image.get("alt", image["uri"])))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform and the one line of script."""
    app.add_transform(RemoteImages)
    app.add_js_file(None, body=LOCAL_SEARCH, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
