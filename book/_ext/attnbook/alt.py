"""Check that every picture has a meaningful alternative text.

A missing or meaningless alternative text is a warning, which fails the strict
build. Without this the tool chain writes the file's path, and screen readers read it aloud.
"""

import re

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
SHORTEST = 15
EMPTY_WORDS = set(
    re.findall(
        r"\w+",
        "a an the of image images figure fig picture photo graphic graph plot chart diagram "
        "screenshot icon logo untitled output png svg",
    )
)
FILE = re.compile(r"\.(png|svg|jpe?g|gif|webp|pdf)\b|_images/", re.IGNORECASE)


def fault(alt: str | None, *, decorative: bool = False) -> str | None:
    """What is wrong with an alternative text, or None. Decorative images have an empty one."""
    if decorative:
        return f"a decorative image with the alternative text {alt!r}" if alt else None
    text = " ".join((alt or "").split())
    if not text:
        return "an image without alternative text"
    if FILE.search(text):
        return f"an image whose alternative text is a file name: {text!r}"
    words = [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in EMPTY_WORDS]
    if len(text) < SHORTEST or not words:
        return f"an image whose alternative text says too little: {text!r}"
    return None


def fault_of_tag(tag: Tag) -> str | None:
    """The same for an ``<img>`` or ``<svg>`` tag in HTML."""
    hidden = tag.get("aria-hidden") == "true" or tag.get("role") in {"presentation", "none"}
    if tag.name == "img":
        return fault(str(tag.get("alt", "")), decorative=hidden)
    labelled = tag.get("aria-labelledby")
    return None if hidden or labelled else fault(str(tag.get("aria-label", "")))


def check(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Warn of each picture on a page without a description."""
    for image in doctree.findall(nodes.image):
        decorative = "decorative" in image["classes"]
        if wrong := fault(image.get("alt"), decorative=decorative):
            logger.warning("%s (%s)", wrong, image["uri"], location=image, type="alt")
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") != "html" or not re.search(r"<(img|svg)\b", raw.astext()):
            continue
        for tag in BeautifulSoup(raw.astext(), "html.parser").find_all(["img", "svg"]):
            if tag.find_parent("svg") is None and (wrong := fault_of_tag(tag)):
                logger.warning("%s (HTML)", wrong, location=raw, type="alt")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check each page when its pictures are final."""
    app.connect("doctree-resolved", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
