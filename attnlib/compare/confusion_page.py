"""A confusion matrix in HTML whose cells open their images, without a kernel.

In the book, ``book/_static/confusion.js`` makes it interactive; elsewhere it is a plain table.
"""

import base64
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from attnlib import escaping
from attnlib.compare.comparison import Comparison, Ints
from attnlib.compare.paired_tests import count_confusions, error_sets
from attnlib.data.datasets import Split
from attnlib.stats.intervals import mcnemar, p_words

CLASSES = 20  # classes up to which a table is legible
LONG = 3  # letters; longer column names are vertical
PICTURES = 1500  # maximum; half a kB each for images of 32 pixels
RIGHT_A_CLASS = 5  # pictures per class of images that both get right
PICTURE_SIDE = 48  # maximum side of a picture in pixels
SHEET_COLUMNS = 25  # pictures in a row of the sheet


def linked_confusion(
    comparison: Comparison, split: Split | None, first: str, second: str, note: str = ""
) -> str:
    """Confusion matrix of ``first`` as HTML, with the data for opening its cells.

    Args:
        comparison: The runs and their predictions.
        split: The test images, all or some; for others a cell shows their numbers.
        first: The run whose decisions the table shows.
        second: The other run.
        note: Where the images come from, or why they are missing.
    """
    names = comparison.class_names
    sets = error_sets(comparison.correct(first), comparison.correct(second))
    p = mcnemar(len(sets.only_a), len(sets.only_b))
    told = (
        f"<p>Only {escaping.html(first)} is right about {len(sets.only_a):,} images, only "
        f"{escaping.html(second)} about {len(sets.only_b):,}; both are wrong about "
        f"{len(sets.both_wrong):,} and right about {len(sets.both_right):,}. McNemar's exact test "
        f"of the first two counts, p-value: {escaping.html(p_words(p))}. "
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
        is_whole = len(split) == len(comparison.labels)
        chosen = choose_pictures(comparison, first, second) if is_whole else split.indices
        shown = split.subset(np.searchsorted(split.indices, chosen))
        data |= {"places": chosen.tolist(), "columns": SHEET_COLUMNS, "sheet": sheet(shown)}
    shape = "confusion long" if max(map(len, names)) > LONG else "confusion"
    return (
        f'<div class="{shape}">{told}{_table(comparison, first)}'
        f'<script type="application/json">{escaping.script(data)}</script></div>'
    )


def choose_pictures(
    comparison: Comparison,
    first: str,
    second: str,
    most: int = PICTURES,
) -> Ints:
    """Positions of the images to show, spread evenly over the kinds of error.

    Images that both runs get right come last, with few of each class.

    Args:
        comparison: The runs and their predictions.
        first: One run.
        second: The other.
        most: Images to choose.
    """
    a, b, labels = comparison.decisions(first), comparison.decisions(second), comparison.labels
    kinds = np.stack([labels, a, b], axis=1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    order = np.argsort(kind, kind="stable")
    starts = np.searchsorted(kind[order], kind[order])
    rank = np.empty(len(kind), np.int64)
    rank[order] = np.arange(len(kind)) - starts  # rank of an image among those of its kind
    right = (a == labels) & (b == labels)
    wanted = np.flatnonzero(~right | (rank < RIGHT_A_CLASS))
    best = wanted[np.lexsort((wanted, rank[wanted], right[wanted]))][:most]
    return np.sort(best)


def sheet(split: Split) -> str:
    """Thumbnails of the images side by side, as the data URL of one JPEG."""
    pictures = [Image.fromarray(np.asarray(image)) for image in split.images]
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
