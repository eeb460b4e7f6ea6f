"""Errors: counted by hand on few images, and on a thousand classes."""

from pathlib import Path

import numpy as np
import pytest

from attnlib.compare import paired_tests
from attnlib.compare.comparison import Comparison
from attnlib.records.run import Run
from attnlib.stats.consistency import confusion_matrix, error_consistency


def compare(labels, classes, **decisions) -> Comparison:
    logits = {name: np.eye(classes, dtype=np.float32)[own] for name, own in decisions.items()}
    names = tuple(f"class {place}" for place in range(classes))
    runs = {
        name: Run(Path(name), {"model": name.rstrip("0123456789")}, [], None) for name in decisions
    }
    return Comparison(runs, logits, np.asarray(labels), names, {})


FEW = compare([0, 0, 0, 1, 1, 1, 2, 2], 3, a=[0, 0, 1, 1, 1, 0, 2, 0], b=[0, 1, 0, 1, 0, 2, 1, 0])


def test_sets_share_out_all_images_by_who_is_right():
    sets = paired_tests.error_sets(FEW.correct("a"), FEW.correct("b"))
    assert [places.tolist() for places in sets] == [[1, 4, 6], [2], [5, 7], [0, 3]]


def test_sets_need_the_same_images():
    with pytest.raises(ValueError, match="expected two equally long arrays"):
        paired_tests.error_sets([True], [True, False])


def test_confusions_are_those_of_the_plain_definition():
    for name in ("a", "b"):
        ours = paired_tests.count_confusions(FEW, name)
        np.testing.assert_array_equal(
            ours, confusion_matrix(FEW.labels, FEW.decisions(name), range(3))
        )
    assert paired_tests.count_confusions(FEW, "a").tolist() == [[2, 1, 0], [1, 2, 0], [1, 0, 1]]


def test_each_class_is_tested_on_its_own_images():
    tests = paired_tests.class_tests(FEW, "a", "b")
    assert [(t.name, t.n, t.only_a, t.only_b) for t in tests] == [
        ("class 0", 3, 1, 1),
        ("class 1", 3, 1, 0),
        ("class 2", 2, 1, 0),
    ]
    assert tests[2].accuracy_a == 0.5 and tests[2].accuracy_b == 0
    assert tests[2].difference.value == 0.5


def test_a_class_without_images_is_passed_over():
    some = compare([0, 0, 2], 3, a=[0, 0, 2], b=[0, 1, 2])
    assert [t.name for t in paired_tests.class_tests(some, "a", "b")] == ["class 0", "class 2"]


def test_the_correction_counts_the_classes():
    n, classes = 40, 10
    labels = np.repeat(np.arange(classes), n)
    worse = labels.copy()
    worse[:10] = 1  # ten of class 0, p = 2 / 1024
    worse[n : n + 6] = 0  # six of class 1, p = 2 / 64
    tests = paired_tests.class_tests(compare(labels, classes, a=labels, b=worse), "a", "b")
    assert tests[0].p == pytest.approx(2 / 1024) and tests[0].p_holm == pytest.approx(20 / 1024)
    assert tests[1].p == pytest.approx(2 / 64) and tests[1].p_holm == pytest.approx(18 / 64)
    assert [t.verdict for t in tests[:3]] == ["first is better", *["can't be told apart"] * 2]
    turned = paired_tests.class_tests(compare(labels, classes, a=worse, b=labels), "a", "b")
    assert turned[0].verdict == "second is better"
    table = paired_tests.class_table(tests)
    assert table.index[0] == "class 0" and table.loc["class 0", "p (Holm)"] == "0.020"
    assert table.loc["class 0", "difference, points [95%]"].startswith("+25.0 [")


def test_all_pairs_are_tested_with_kappa():
    three = compare(FEW.labels, 3, a=FEW.decisions("a"), b=FEW.decisions("b"), c=FEW.labels)
    pairs = paired_tests.pair_tests(three)
    assert [(a, b) for a, b, *_ in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs[0][3] == error_consistency(FEW.correct("a"), FEW.correct("b"))
    assert pairs[0][2].difference.value == pytest.approx(2 / 8)
    assert pairs[2][2].p == pytest.approx(2 / 32) and pairs[2][2].p_holm == pytest.approx(6 / 32)
    table = paired_tests.pair_table(pairs)
    assert table.shape == (3, 7) and table["kappa"][0] == f"{pairs[0][3]:.2f}"


def test_seeds_are_paired_with_each_other_and_the_first_with_other_recipes():
    runs = compare([0, 1], 2, a0=[0, 1], a1=[0, 1], a2=[0, 0], b0=[0, 1], b1=[1, 1])
    pairs = [(a, b) for a, b, *_ in paired_tests.pair_tests(runs)]
    assert pairs == [("a0", "a1"), ("a0", "a2"), ("a0", "b0"), ("a1", "a2"), ("b0", "b1")]


def test_of_many_pairs_those_of_the_named_runs_and_of_one_recipe_are_chosen():
    runs = compare([0, 1], 2, a0=[0, 1], a1=[0, 0], b0=[0, 1], c0=[1, 1])
    pairs = paired_tests.pair_tests(runs)
    assert len(pairs) == 4
    chosen = [(a, b) for a, b, *_ in paired_tests.choose_pairs(runs, pairs, "c0")]
    assert chosen == [("a0", "a1"), ("a0", "c0"), ("b0", "c0")]


def test_hardest_images_are_those_most_runs_get_wrong_then_the_least_believed():
    logits = {
        "a": np.array([[5, 0], [0, 9], [0, 2], [3, 0]], dtype=np.float32),
        "b": np.array([[0, 1], [0, 9], [0, 1], [3, 0]], dtype=np.float32),
    }
    some = Comparison(dict.fromkeys(logits), logits, np.zeros(4, dtype=np.int64), ("x", "y"), {})
    assert paired_tests.hardest_images(some, 3).tolist() == [1, 2, 0]
    assert paired_tests.hardest_images(some, 99).tolist() == [1, 2, 0, 3]


def test_most_frequent_confusions_come_first_without_the_right_answers():
    labels = np.repeat([0, 1, 2], [50, 20, 10])
    decisions = labels.copy()
    decisions[:4] = 2
    decisions[50:57] = 0
    table = paired_tests.common_confusions(compare(labels, 3, a=decisions), "a")
    assert table["images"].tolist() == [7, 4]
    assert table.iloc[0].tolist() == ["class 1", "class 0", 7, "35.0%"]


def test_titles_say_the_truth_and_then_each_answer():
    assert paired_tests.image_titles(FEW, np.array([5]), "a", "b") == [
        "class 1\n> class 0\n> class 2"
    ]


def test_a_thousand_classes_are_no_burden():
    rng, classes, n = np.random.default_rng(0), 1000, 20_000
    labels = rng.integers(0, classes, n)
    a = np.where(rng.random(n) < 0.8, labels, rng.integers(0, classes, n))
    b = np.where(rng.random(n) < 0.7, labels, rng.integers(0, classes, n))
    many = compare(labels, classes, a=a, b=b)
    assert paired_tests.count_confusions(many, "a").sum() == n
    tests = paired_tests.class_tests(many, "a", "b")
    assert len(tests) == classes and sum(t.n for t in tests) == n
    assert all(t.p <= t.p_holm <= 1 for t in tests)
