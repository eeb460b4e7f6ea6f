"""Pages that make no requests, so that the book works from a USB stick."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


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
    """Register the transform."""
    app.add_transform(RemoteImages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
