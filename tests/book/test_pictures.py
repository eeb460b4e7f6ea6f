"""Figures of images in the built book are drawn with images, not with words in their place."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from page_pictures import count_pictures, figures_of

from attnlib.compare import figures
from attnlib.compare.comparison import Comparison
from attnlib.data.datasets import Split

# Each figure of images, by page, with the pictures that it must hold at least.
PICTURES = {
    "errors": {
        "fig-errors-only-first": 8,
        "fig-errors-only-second": 8,
        "fig-errors-both": 8,
        "fig-errors-hardest": 8,
    },
    "human": {"fig-human-stimuli": 4, "fig-human-disputed": 8},
    "attention": {
        "fig-attention-kinds": 9,
        "fig-attention-layers": 12,
        "fig-attention-gradcam": 4,
        "fig-attention-spatial": 4,
        "fig-attention-record": 8,
    },
    "features": {
        "fig-features-chained-transformer": 8,
        "fig-features-chained-resnet": 8,
        "fig-features-real-transformer": 8,
        "fig-features-real-resnet": 8,
    },
}


@pytest.mark.parametrize("page", PICTURES)
def test_every_figure_of_images_in_the_built_book_holds_images(html: Path, page: str):
    drawn = figures_of(html / "runs" / f"{page}.html")
    if not drawn:
        pytest.skip("this book has stubs in place of executed pages: set ATTNLIB_BOOK_HTML")
    held = {name: count_pictures(drawn[name]) for name in PICTURES[page]}
    lacking = {name: n for name, n in held.items() if n < PICTURES[page][name]}
    assert not lacking, f"drawn without images, or with fewer: {lacking}"


@pytest.mark.parametrize("at_hand", [0, 5, 8])
def test_pictures_are_counted_and_words_are_not(at_hand: int):
    rng = np.random.default_rng(0)
    labels, logits = np.zeros(8, np.int64), np.eye(2, dtype=np.float32)[np.zeros(8, np.int64)]
    comparison = Comparison({}, {"a": logits, "b": logits}, labels, ("cat", "dog"), {})
    images = rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    split = Split(images, labels, np.arange(8)).subset(range(at_hand))
    drawn = figures.answered_images(comparison, split, np.arange(8), "a", "b")
    file = BytesIO()
    drawn.savefig(file, transparent=True)
    assert count_pictures(file.getvalue()) == at_hand
