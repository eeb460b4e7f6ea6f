"""A confusion matrix whose cells open the images behind them: HTML with its data, no kernel.

In the book, ``book/_static/confusion.js`` makes a grid of it; elsewhere it stays a plain table.
"""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from attnlib import escaping
from attnlib.compare.comparison import Comparison, Ints
from attnlib.compare.paired_tests import count_confusions, error_sets
from attnlib.data.datasets import Split
from attnlib.stats.intervals import mcnemar

CLASSES = 20  # up to which a table can be read
LONG = 3  # letters; longer names of columns stand upright
PICTURES = 1500  # at most; half a kB each for images of 32 pixels
RIGHT_A_CLASS = 5  # pictures of images that both get right, of each class
PICTURE_SIDE = 48  # pixels of a picture at most
SHEET_COLUMNS = 25  # pictures in a row of the sheet


def linked_confusion(
    comparison: Comparison, split: Split | None, first: str, second: str, note: str = ""
) -> str:
    """Confusion matrix of ``first`` with all that a reader may ask of its cells, as HTML.

    Args:
        comparison: The runs and their answers.
        split: The test images; without them a cell opens their numbers.
        first: Whose decisions the table shows.
        second: The other one.
        note: Where the images come from, or why they are not here.
    """
    names = comparison.class_names
    sets = error_sets(comparison.correct(first), comparison.correct(second))
    p = mcnemar(len(sets.only_a), len(sets.only_b))
    told = (
        f"<p>Only {escaping.html(first)} is right about {len(sets.only_a):,} images, only "
        f"{escaping.html(second)} about {len(sets.only_b):,}; both are wrong about "
        f"{len(sets.both_wrong):,} and right about {len(sets.both_right):,}. McNemar's exact test "
        f"of the first two counts: p {'&lt; 0.001' if p < 0.001 else f'= {p:.3f}'}. "
        f"{escaping.html(note)}</p>"
    )
    if len(names) > CLASSES:
        told += f"<p>A table of {len(names)} classes could not be read, so there is none.</p>"
        return f'<div class="confusion">{told}</div>'
    data: dict[str, Any] = {
        "runs": [first, second],
        "classes": names,
        "labels": _base64(comparison.labels),
        "decisions": [_base64(comparison.decisions(name)) for name in (first, second)],
    }
    if split is not None:
        chosen = choose_pictures(comparison, first, second)
        data |= {"places": chosen.tolist(), "columns": SHEET_COLUMNS, "sheet": sheet(split, chosen)}
    shape = "confusion long" if max(map(len, names)) > LONG else "confusion"
    return (
        f'<div class="{shape}">{told}{_table(comparison, first)}'
        f'<script type="application/json">{escaping.script(data)}</script></div>'
    )


def choose_pictures(comparison: Comparison, first: str, second: str) -> Ints:
    """Places of the images that get a picture: of every kind of error some before one gets all.

    Images that both runs get right come last, and few of each class.
    """
    a, b, labels = comparison.decisions(first), comparison.decisions(second), comparison.labels
    kinds = np.stack([labels, a, b], axis=1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    order = np.argsort(kind, kind="stable")
    starts = np.searchsorted(kind[order], kind[order])
    rank = np.empty(len(kind), np.int64)
    rank[order] = np.arange(len(kind)) - starts  # of an image among those of its kind
    right = (a == labels) & (b == labels)
    wanted = np.flatnonzero(~right | (rank < RIGHT_A_CLASS))
    best = wanted[np.lexsort((wanted, rank[wanted], right[wanted]))][:PICTURES]
    return np.sort(best)


def sheet(split: Split, places: npt.NDArray[Any]) -> str:
    """Small pictures of the images side by side, as the address of one JPEG."""
    pictures = [Image.fromarray(np.asarray(image)) for image in split.subset(places).images]
    side = min(PICTURE_SIDE, max((picture.height for picture in pictures), default=1))
    rows = max(1, -(-len(pictures) // SHEET_COLUMNS))
    whole = Image.new("RGB", (side * SHEET_COLUMNS, side * rows))
    for place, picture in enumerate(pictures):
        small = picture.resize((side, side), Image.Resampling.BILINEAR)
        whole.paste(small, (side * (place % SHEET_COLUMNS), side * (place // SHEET_COLUMNS)))
    buffer = BytesIO()
    whole.save(buffer, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(comparison: Comparison, name: str) -> str:
    names = [escaping.html(each) for each in comparison.class_names]
    head = "".join(f'<th scope="col">{each}</th>' for each in ("true class", *names))
    span = f'colspan="{len(names) + 1}" scope="colgroup"'
    over = f"<th {span}>decision</th>"
    rows = [
        f'<tr><th scope="row">{each}</th>{"".join(f"<td>{count}</td>" for count in counts)}</tr>'
        for each, counts in zip(names, count_confusions(comparison, name), strict=True)
    ]
    return (
        f'<table class="linked-confusion"><caption>Decisions of {escaping.html(name)}: a row '
        "for each true class, a column for each decision, numbers of images.</caption>"
        f"<thead><tr>{over}</tr><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _base64(numbers: Ints) -> str:
    return base64.b64encode(numbers.astype(np.uint8).tobytes()).decode()
