"""Pictures in the figures of built pages: which there are, and whether images fill them."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, label


def count_pictures(figure: bytes) -> int:
    """Images in an SVG figure; in a PNG with a transparent background, its filled areas.

    Letters are too thin to count.
    """
    if figure.startswith(b"<svg"):
        return figure.count(b"<image ")
    opaque = np.asarray(Image.open(BytesIO(figure)).convert("RGBA"))[..., 3] > 250
    return label(binary_erosion(opaque, iterations=4))[1]


def figures_of(page: Path) -> dict[str, bytes]:
    """The drawing of each figure of a page, SVG or PNG, by its label."""
    html = page.read_text(encoding="utf-8")
    found = {}
    for figure in re.findall(r"<figure\b.*?</figure>", html, re.DOTALL):
        name, source = re.search(r'id="(fig-[^"]+)"', figure), re.search(r'src="([^"]+)"', figure)
        drawn = re.search(r"<svg\b.*</svg>", figure, re.DOTALL)
        if name and drawn:
            found[name[1]] = drawn[0].encode()
        elif name and source:
            found[name[1]] = (page.parent / source[1]).read_bytes()
    return found
