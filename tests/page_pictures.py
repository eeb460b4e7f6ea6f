"""Pictures in the figures of built pages: which there are, and whether images fill them."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, label


def count_pictures(png: bytes) -> int:
    """Filled areas of a figure whose background is transparent; letters are too thin to count."""
    opaque = np.asarray(Image.open(BytesIO(png)).convert("RGBA"))[..., 3] > 250
    return label(binary_erosion(opaque, iterations=4))[1]


def figures_of(page: Path) -> dict[str, Path]:
    """The picture file of each figure of a page, by its label."""
    html = page.read_text(encoding="utf-8")
    found = {}
    for figure in re.findall(r"<figure\b.*?</figure>", html, re.DOTALL):
        name, source = re.search(r'id="(fig-[^"]+)"', figure), re.search(r'src="([^"]+)"', figure)
        if name and source:
            found[name[1]] = page.parent / source[1]
    return found
