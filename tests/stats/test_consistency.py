"""Consistency measures against hand-computed values, other packages and their own bounds."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

from attnlib.stats.consistency import (
    classwise_errors,
    confusion_matrix,
    error_consistency,
    expected_agreement,
    interclass_errors,
    js_distance,
    kappa_limit,
    observed_agreement,
    shape_bias,
    yules_y,
)

BOUND = math.sqrt(math.log(2))
CONFUSION = [[5, 2, 0], [1, 7, 3], [0, 4, 6]]  # ten errors, of which 2, 4 and 4 in a row


def draws() -> Iterator[np.random.Generator]:
    """Two hundred generators, one a random case."""
    return map(np.random.default_rng, range(200))


def outcomes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two systems of random accuracies, from never right to always right."""
    accuracies = rng.choice([0, 0.1, 0.5, 0.9, 1, rng.random()], size=2)
    return tuple(rng.random((2, rng.integers(1, 60))) < accuracies[:, None])


def distributions(rng: np.random.Generator, count: int = 2) -> np.ndarray:
    """Random distributions of one length, from full ones to almost disjoint ones, many zeros."""
    shares = rng.random((count, rng.integers(1, 260)))
    shares *= rng.random(shares.shape) < rng.choice([0.05, 0.5, 1])
    shares[:, rng.integers(shares.shape[1])] += rng.choice([1e-12, 1])
    return shares / shares.sum(axis=1, keepdims=True)


def test_agreement_and_kappa_equal_hand_computed_values():
    a, b = [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]  # accuracies 3/5 and 2/5; wrong together twice
    assert observed_agreement(a, b) == pytest.approx(4 / 5)
    assert expected_agreement(a, b) == pytest.approx(6 / 25 + 6 / 25)
    assert error_consistency(a, b) == pytest.approx((20 / 25 - 12 / 25) / (13 / 25))


def test_kappa_agrees_with_sklearn_wherever_sklearn_defines_it():
    pairs = [pair for pair in map(outcomes, draws()) if expected_agreement(*pair) < 1]
    assert len(pairs) > 100
    for a, b in pairs:
        assert error_consistency(a, b) == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)


def test_kappa_lies_between_minus_one_and_one():
    values = [error_consistency(*outcomes(rng)) for rng in draws()]
    assert max(values) <= 1 and min(values) >= -1 - 1e-12
    assert error_consistency([0, 1], [1, 0]) == -1


def test_kappa_is_symmetric_and_does_not_depend_on_the_order_of_trials():
    for rng in draws():
        a, b = outcomes(rng)
        order = rng.permutation(len(a))
        assert error_consistency(a, b) == error_consistency(b, a)
        assert error_consistency(a[order], b[order]) == error_consistency(a, b)


def test_kappa_is_one_for_equal_observers_even_where_chance_explains_all():
    for rng in draws():
        a, _ = outcomes(rng)
        assert error_consistency(a, a) == 1
    for always in ([1, 1, 1], [0, 0, 0]):
        assert expected_agreement(always, always) == 1
        assert error_consistency(always, always) == 1


def test_kappa_is_about_zero_for_independent_observers_and_zero_beside_one_always_right():
    accuracies = np.array([[0.8], [0.3]])
    values = [error_consistency(*(rng.random((2, 1000)) < accuracies)) for rng in draws()]
    assert abs(np.mean(values)) < 0.01 and max(map(abs, values)) < 0.15
    assert error_consistency([1, 1, 1, 1], [1, 0, 0, 1]) == 0


@pytest.mark.parametrize("kind", [bool, np.int64, np.uint8, np.float32, object])
def test_outcomes_may_be_booleans_or_zeros_and_ones_of_any_kind(kind):
    a, b = np.array([1, 1, 0, 0]).astype(kind), np.array([1, 0, 0, 0]).astype(kind)
    assert error_consistency(a, b) == 0.5


def test_largest_kappa_is_that_of_nested_errors_and_no_kappa_is_above_it():
    a, b = np.arange(10) < 8, np.arange(10) < 7  # every error of a is one of b
    assert kappa_limit(0.8, 0.7) == pytest.approx(error_consistency(a, b))
    for rng in draws():
        a, b = outcomes(rng)
        assert error_consistency(a, b) <= kappa_limit(a.mean(), b.mean()) + 1e-12
    shares = np.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(kappa_limit(shares, shares), 1)
    assert kappa_limit(1.0, 0.6) == kappa_limit(0.0, 0.6) == 0


@pytest.mark.parametrize("accuracies", [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_largest_kappa_needs_accuracies(accuracies):
    with pytest.raises(ValueError, match=r"accuracy_[ab]: expected shares in \[0, 1\]"):
        kappa_limit(*accuracies)


def test_yules_y_is_the_kappa_of_the_table_with_the_same_odds_ratio_and_even_margins():
    a = np.repeat([1, 1, 0, 0], [54, 18, 6, 8])  # odds ratio 54 * 8 / (18 * 6) = 4
    b = np.repeat([1, 0, 1, 0], [54, 18, 6, 8])
    assert yules_y(a, b) == pytest.approx((2 - 1) / (2 + 1))
    even = np.repeat([1, 1, 0, 0], [2, 1, 1, 2]), np.repeat([1, 0, 1, 0], [2, 1, 1, 2])
    assert yules_y(*even) == pytest.approx(error_consistency(*even)) == pytest.approx(1 / 3)


def test_yules_y_is_defined_at_its_ends():
    assert yules_y([1, 0, 1], [1, 0, 1]) == 1 and yules_y([1, 0], [0, 1]) == -1
    assert yules_y([1, 1], [1, 1]) == 1 and yules_y([1, 1, 1], [1, 0, 1]) == 0


@pytest.mark.parametrize(
    "measure", [observed_agreement, expected_agreement, error_consistency, yules_y]
)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([], [], "correct_a: expected one axis, not empty"),
        ([[1, 0]], [[1, 0]], r"correct_a: expected one axis.*\(1, 2\)"),
        ([1, 0, 1], [1, 0], r"expected one length; got \[3, 2\]"),
        ([1, 0], [2, 0], "correct_b: expected booleans, or 0 and 1; got 2"),
        ([0.5, 1], [1, 0], "correct_a: .*got 0.5"),
        ([math.nan, 1], [1, 0], "correct_a: .*got nan"),
        (["1", "0"], [1, 0], "correct_a: .*got '1'"),
        ([None, True], [1, 0], "correct_a: .*got None"),
    ],
)
def test_outcomes_that_are_no_outcomes_are_refused(measure, a, b, message):
    with pytest.raises(ValueError, match=message):
        measure(a, b)


def test_confusion_matrix_counts_true_classes_in_rows_and_decisions_in_columns():
    matrix = confusion_matrix(["a", "a", "b", "b"], ["a", "b", "b", "b"], ["a", "b"])
    assert matrix.tolist() == [[1, 1], [0, 2]]


def test_confusion_matrix_agrees_with_sklearn_in_any_order_of_classes():
    for rng in draws():
        truth, decision = rng.integers(0, 7, size=(2, 50))
        classes = rng.permutation(7)
        expected = metrics.confusion_matrix(truth, decision, labels=classes)
        assert np.array_equal(confusion_matrix(truth, decision, classes), expected)


def test_confusion_matrix_leaves_out_unknown_decisions():
    matrix = confusion_matrix(["cat", "cat", "airplane"], ["na", "cat", "ariplane"],
                              ["airplane", "cat"])  # fmt: skip
    assert matrix.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("truth", "decision", "classes", "message"),
    [
        ([], [], ["a"], "truth: expected one axis, not empty"),
        (["a"], ["a", "a"], ["a"], r"truth, decision: expected one length; got \[1, 2\]"),
        (["a", "x"], ["a", "a"], ["a", "b"], r"unknown class 'x'. Valid: \['a', 'b'\]"),
        (["1"], ["1"], [1], "unknown class '1'"),
        (["a"], ["a"], ["a", "a"], "classes: expected each one once"),
        (["a"], ["a"], [], "classes: expected one axis, not empty"),
    ],
)
def test_trials_that_fit_no_confusion_matrix_are_refused(truth, decision, classes, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(truth, decision, classes)


def test_errors_equal_hand_computed_shares():
    assert classwise_errors(CONFUSION) == pytest.approx([0.2, 0.4, 0.4])
    assert interclass_errors(CONFUSION) == pytest.approx([0.2, 0.0, 0.1, 0.3, 0.0, 0.4])


@pytest.mark.parametrize("errors", [classwise_errors, interclass_errors])
def test_errors_ignore_correct_decisions_and_leave_the_matrix_as_it_was(errors):
    matrix = np.array(CONFUSION) + np.diag([10.0, 0.0, 3.0])
    before = matrix.copy()
    assert np.array_equal(errors(matrix), errors(CONFUSION))
    assert np.array_equal(matrix, before)


def test_errors_are_distributions_and_the_classwise_one_sums_the_other_by_row():
    for rng in draws():
        K = rng.integers(2, 17)
        matrix = rng.poisson(0.5, size=(K, K))
        matrix[0, K - 1] += 1
        rows, cells = classwise_errors(matrix), interclass_errors(matrix)
        assert rows.shape == (K,) and cells.shape == (K * (K - 1),)
        assert rows.min() >= 0 and cells.min() >= 0
        assert rows.sum() == pytest.approx(1) and cells.sum() == pytest.approx(1)
        assert cells.reshape(K, K - 1).sum(axis=1) == pytest.approx(rows)


def test_errors_follow_their_classes_into_another_order():
    matrix, order = np.array(CONFUSION), [2, 0, 1]
    turned = matrix[np.ix_(order, order)]
    assert np.array_equal(classwise_errors(turned), classwise_errors(matrix)[order])
    assert sorted(interclass_errors(turned)) == sorted(interclass_errors(matrix))


def test_a_class_without_trials_has_no_share_of_the_errors():
    matrix = [[3, 1, 0], [0, 0, 0], [1, 0, 4]]
    assert classwise_errors(matrix).tolist() == [0.5, 0, 0.5]
    assert interclass_errors(matrix).tolist() == [0.5, 0, 0, 0, 0.5, 0]


@pytest.mark.parametrize("errors", [classwise_errors, interclass_errors])
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[3, 0], [0, 2]], "expected an error; got none"),
        ([[0, 0], [0, 0]], "expected an error; got none"),
        (np.zeros((0, 0)), r"expected a square matrix.*\(0, 0\)"),
        ([[1, 2, 3], [4, 5, 6]], r"expected a square matrix.*\(2, 3\)"),
        ([1, 2], r"expected a square matrix.*\(2,\)"),
        ([[1, -2], [3, 4]], "confusion: expected finite numbers >= 0; got -2"),
        ([[-1, 2], [3, 4]], "got -1"),
        ([[1, math.nan], [3, 4]], "got nan"),
        ([[1, 2], [math.inf, 4]], "got inf"),
    ],
)
def test_matrices_without_a_distribution_of_errors_are_refused(errors, matrix, message):
    with pytest.raises(ValueError, match=message):
        errors(matrix)


def test_js_distance_equals_hand_computed_value():
    p, q = [0.5, 0.5], [1.0, 0.0]  # m = (0.75, 0.25)
    d_p, d_q = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), math.log(1 / 0.75)
    assert js_distance(p, q) == pytest.approx(math.sqrt((d_p + d_q) / 2))


@pytest.mark.parametrize("base", [None, 2, 10])
def test_js_distance_agrees_with_scipy_in_every_base(base):
    for rng in draws():
        p, q = distributions(rng)
        squared = jensenshannon(p, q, base) ** 2  # near 0 the root magnifies rounding
        assert js_distance(p, q, base) ** 2 == pytest.approx(squared, rel=1e-12, abs=1e-15)


def test_js_distance_lies_between_zero_and_the_root_of_log_two_and_disjoint_ones_reach_it():
    for rng in draws():
        p, q = distributions(rng)
        apart = np.append(p, 0 * q), np.append(0 * p, q)
        assert 0 <= js_distance(p, q) <= BOUND and 0 <= js_distance(p, q, base=2) <= 1
        assert BOUND - 1e-12 <= js_distance(*apart) <= BOUND
        assert 1 - 1e-12 <= js_distance(*apart, base=2) <= 1


def test_js_distance_is_zero_for_equal_distributions_and_for_no_others():
    for rng in draws():
        p, q = distributions(rng)
        assert js_distance(p, p) == 0
        assert js_distance(p, q) > 0 or np.allclose(p, q, atol=1e-9)


def test_js_distance_is_symmetric_and_does_not_depend_on_the_order_of_entries():
    for rng in draws():
        p, q = distributions(rng)
        order = rng.permutation(len(p))
        assert js_distance(p, q) == js_distance(q, p)
        turned = js_distance(p[order], q[order])
        assert turned**2 == pytest.approx(js_distance(p, q) ** 2, rel=1e-12, abs=1e-15)


def test_js_distance_obeys_the_triangle_inequality():
    for rng in draws():
        p, q, r = distributions(rng, count=3)
        assert js_distance(p, r) <= js_distance(p, q) + js_distance(q, r) + 1e-7


def test_js_distance_of_nearly_equal_distributions_is_a_number_where_scipys_is_not():
    undefined = 0
    for rng in draws():
        p, _ = distributions(rng)
        q = p * (1 + 1e-15 * rng.standard_normal(len(p)))
        with np.errstate(invalid="ignore"):
            undefined += np.isnan(jensenshannon(p, q))
        assert 0 <= js_distance(p, q) < 1e-7
    assert undefined, "scipy's now serves as well: take it instead"


def test_js_distance_takes_the_smallest_shares_there_are_and_single_precision():
    assert js_distance([1.0, 5e-324], [1.0, 0.0]) == 0  # half of 5e-324 is 0
    p, q = [1 / 3, 2 / 3], [0.9, 0.1]
    assert js_distance(np.float32(p), np.float32(q)) == pytest.approx(js_distance(p, q), rel=1e-6)


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([], [], "p: expected one axis, not empty"),
        ([[0.5, 0.5]], [[0.5, 0.5]], r"p: expected one axis.*\(1, 2\)"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], "p and q: expected one length; got 2 and 3"),
        ([1.5, -0.5], [0.5, 0.5], "p: expected finite numbers >= 0; got -0.5"),
        ([0.5, 0.5], [math.nan, 1], "q: expected finite numbers >= 0; got nan"),
        ([math.inf, 0], [0.5, 0.5], "p: expected finite numbers >= 0; got inf"),
        ([3, 1], [0.5, 0.5], "p: expected a sum of 1; got 4"),
        ([0.5, 0.5], [0.5, 0.4999], "q: expected a sum of 1; got 0.9999"),
    ],
)
def test_what_is_no_pair_of_distributions_is_refused(p, q, message):
    with pytest.raises(ValueError, match=message):
        js_distance(p, q)


@pytest.mark.parametrize("base", [1, 0.5, 0, -2, math.nan, math.inf])
def test_bases_of_no_use_are_refused(base):
    with pytest.raises(ValueError, match="base: expected a number > 1"):
        js_distance([1.0], [1.0], base)


def test_shape_bias_equals_hand_computed_value():
    shape, texture = ["cat", "cat", "dog", "car"], ["dog", "car", "cat", "dog"]
    assert shape_bias(shape, texture, ["cat", "cat", "dog", "dog"]) == 3 / 4


def test_shape_bias_leaves_out_images_whose_shape_is_their_texture():
    shape, texture = ["cat", "dog", "car", "dog"], ["dog", "cat", "cat", "dog"]
    assert shape_bias(shape, texture, ["cat", "cat", "car", "dog"]) == 2 / 3


@pytest.mark.parametrize("answer", ["na", "ariplane", None])
def test_shape_bias_counts_no_answer_and_unknown_answers_in_neither(answer):
    assert shape_bias(["cat", "dog", "car"], ["dog", "cat", "dog"], ["cat", "cat", answer]) == 1 / 2


def test_shape_bias_and_its_complement_swap_with_shape_and_texture():
    for rng in draws():
        shape, texture, decision = rng.integers(0, 4, size=(3, 100))
        bias, order = shape_bias(shape, texture, decision), rng.permutation(100)
        assert 0 <= bias <= 1
        assert shape_bias(texture, shape, decision) == pytest.approx(1 - bias)
        assert shape_bias(shape[order], texture[order], decision[order]) == bias
        names = np.array(["cat", "dog", "car", "boat"])
        assert shape_bias(names[shape], names[texture], names[decision]) == bias


@pytest.mark.parametrize(
    ("shape", "texture", "decision", "message"),
    [
        ([], [], [], "shape: expected one axis, not empty"),
        (["a"], ["b"], ["a", "b"], r"expected one length; got \[1, 1, 2\]"),
        (["a", "b"], ["b", "a"], ["c", "na"], "got none in 2 such images of 2"),
        (["a", "b"], ["a", "b"], ["a", "b"], "got none in 0 such images of 2"),
        ([0, 1], [1, 0], ["0", "1"], "got none in 2 such images of 2"),
    ],
)
def test_answers_without_a_shape_or_texture_hit_are_refused(shape, texture, decision, message):
    with pytest.raises(ValueError, match=message):
        shape_bias(shape, texture, decision)


def test_accuracy_caps_kappa():
    people, vit, resnet = 0.77554688, 0.296875, 0.18203125  # of the published decisions
    assert kappa_limit(people, vit) == pytest.approx(0.218, abs=5e-4)
    assert kappa_limit(people, resnet) == pytest.approx(0.121, abs=5e-4)
    assert kappa_limit(0.8, 0.8) == kappa_limit(1, 1) == 1
