"""Figures of errors: what is drawn is what was counted, from 2 to 1,000 classes."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from attnlib.compare import figures, paired_tests
from attnlib.compare.comparison import Comparison
from attnlib.data.datasets import Split


def compare(classes: int, n: int = 400) -> Comparison:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    logits = {}
    for name, share in (("a model with a rather long name", 0.8), ("b", 0.6)):
        decisions = np.where(rng.random(n) < share, labels, rng.integers(0, classes, n))
        logits[name] = np.eye(classes, dtype=np.float32)[decisions]
    names = tuple(f"class {place}" for place in range(classes))
    return Comparison(dict.fromkeys(logits), logits, labels, names, {})


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_cells_hold_the_counts_and_the_diagonal_its_own_tint():
    some = compare(5)
    figure = figures.confusions(some, *some.names)
    assert len(panels(figure)) == 2
    for axes, name in zip(panels(figure), some.names, strict=True):
        counts = paired_tests.count_confusions(some, name)
        drawn = np.zeros_like(counts)
        for text in axes.texts:
            column, row = text.get_position()
            drawn[row, column] = int(text.get_text())
        np.testing.assert_array_equal(drawn, counts)
        tints = axes.images[0].get_array()
        assert all(tuple(tints[i, i]) == to_rgba(figures.RIGHT) for i in range(5))
        assert [label.get_text() for label in axes.get_xticklabels()] == list(some.class_names)


def test_an_error_is_the_deeper_the_larger_its_share_of_the_true_class():
    labels = np.repeat([0, 1], [100, 10])
    decisions = labels.copy()
    decisions[:8] = 1  # 8% of class 0
    decisions[100:104] = 0  # 40% of class 1
    logits = {name: np.eye(2, dtype=np.float32)[decisions] for name in "ab"}
    some = Comparison(dict.fromkeys("ab"), logits, labels, ("many", "few"), {})
    tints = panels(figures.confusions(some, "a", "b"))[0].images[0].get_array()
    assert tuple(tints[1, 0]) == figures.WRONG(1.0)  # the largest share on the scale
    assert tuple(tints[0, 1]) == pytest.approx(figures.WRONG(0.2), abs=0.01)


def test_a_cell_without_errors_is_empty():
    labels = np.array([0, 1, 2])
    logits = {name: np.eye(3, dtype=np.float32) for name in "ab"}
    some = Comparison(dict.fromkeys("ab"), logits, labels, ("x", "y", "z"), {})
    (axes, _) = panels(figures.confusions(some, "a", "b"))
    assert (axes.images[0].get_array()[..., 3] > 0).sum() == 3 and len(axes.texts) == 3


@pytest.mark.parametrize(("classes", "side"), [(2, 2), (16, 16), (40, 40), (41, 21), (1000, 40)])
def test_matrices_are_never_finer_than_can_be_seen(classes, side):
    some = compare(classes, 3000)
    axes = panels(figures.confusions(some, *some.names))[0]
    assert axes.images[0].get_array().shape[:2] == (side, side)
    assert bool(axes.texts) == (classes <= figures.NUMBERED)


def test_no_error_is_lost_in_blocks():
    counts = np.zeros((90, 90), dtype=np.int64)
    np.fill_diagonal(counts, 9)
    counts[3, 80] = counts[88, 89] = 1
    shares = figures._in_blocks(counts, 3)
    assert shares.shape == (30, 30) and np.count_nonzero(shares) == 2
    assert shares[1, 26] == pytest.approx(1 / 28) and shares[29, 29] == pytest.approx(1 / 28)


def test_differences_are_sorted_and_filled_only_where_they_hold():
    labels = np.repeat([0, 1, 2], 40)
    a, b = labels.copy(), labels.copy()
    a[:12] = 1  # class 0: a is surely worse
    b[80:82] = 0  # class 2: b perhaps
    logits = {k: np.eye(3, dtype=np.float32)[v] for k, v in (("a", a), ("b", b))}
    some = Comparison(dict.fromkeys("ab"), logits, labels, ("x", "y", "z"), {})
    (axes,) = figures.class_differences(paired_tests.class_tests(some, "a", "b"), "a", "b").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y", "z"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([-30, 0, 5])
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True, True]


def test_of_many_classes_the_largest_differences_are_shown_and_that_is_said():
    some = compare(200, 4000)
    tests = paired_tests.class_tests(some, *some.names)
    (axes,) = figures.class_differences(tests, *some.names).axes
    assert len(axes.get_yticklabels()) == figures.SHOWN
    assert "24 largest of 200 differences" in axes.get_title(loc="left")


def test_images_stand_below_the_truth_and_the_answers():
    some = compare(3)
    pixels = np.random.default_rng(1).integers(0, 255, (400, 8, 8, 3)).astype(np.uint8)
    split = Split(pixels, some.labels, np.arange(400))
    figure = figures.answered_images(some, split, [7, 9], *some.names, columns=3)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 2 and np.array_equal(shown[0].images[0].get_array(), pixels[7])
    assert shown[1].get_title() == paired_tests.image_titles(some, np.array([9]), *some.names)[0]


def test_no_title_runs_into_the_image_above_it():
    some = compare(3)
    split = Split(np.zeros((400, 8, 8, 3), np.uint8), some.labels, np.arange(400))
    figure = figures.answered_images(some, split, range(10), *some.names)
    FigureCanvasAgg(figure).draw()
    for above, below in zip(figure.axes[:-4], figure.axes[4:], strict=True):
        assert below.title.get_window_extent().y1 <= above.get_window_extent().y0


def test_without_images_their_places_stand_for_them():
    some = compare(3)
    figure = figures.answered_images(some, None, [7, 300], *some.names)
    assert [t.get_text() for axes in figure.axes for t in axes.texts] == ["image\n7", "image\n300"]


def test_an_empty_set_says_so():
    some = compare(3)
    figure = figures.answered_images(some, None, [], *some.names)
    assert [t.get_text() for t in figure.axes[0].texts] == ["There is no such image."]
