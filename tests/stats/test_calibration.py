"""Top-k, calibration and Brier score: by hand, against others' code, and honest intervals."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, top_k_accuracy_score

from attnlib.stats.calibration import brier_score, calibration_error, top_accuracy


def answers(count: int, overconfidence: float = 0.0, seed: int = 0):
    """Logits of two classes and labels; decisions are right as often as they claim, or less."""
    rng = np.random.default_rng(seed)
    claimed = rng.uniform(0.6 + overconfidence, 0.99, count)
    labels = np.where(rng.random(count) < claimed - overconfidence, 1, 0)
    return np.stack([np.zeros(count), np.log(claimed / (1 - claimed))], axis=1), labels


def test_top_k_is_scikit_learns():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((200, 12)), rng.integers(0, 12, 200)
    for k in (1, 2, 5, 11):
        expected = top_k_accuracy_score(labels, logits, k=k)
        assert top_accuracy(logits, labels, k).value == pytest.approx(expected)


def test_top_1_is_the_accuracy_even_where_logits_are_equal():
    logits = np.zeros((3, 4))
    labels = np.array([0, 1, 3])
    shares = [top_accuracy(logits, labels, k).value for k in (1, 2, 3, 4)]
    assert shares == [1 / 3, 2 / 3, 2 / 3, 1]
    assert (logits.argmax(axis=1) == labels).mean() == top_accuracy(logits, labels, 1).value


def test_brier_score_is_scikit_learns_and_has_its_known_ends():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((100, 3)), rng.integers(0, 3, 100)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = brier_score_loss(labels, shares, labels=[0, 1, 2], scale_by_half=False)
    found = brier_score(logits, labels)
    assert found.value == pytest.approx(expected) and found.low < expected < found.high
    sure = np.array([[50.0, 0.0], [50.0, 0.0]])
    assert brier_score(sure, [0, 0]).value == pytest.approx(0)
    assert brier_score(sure, [1, 1]).value == pytest.approx(2)
    assert brier_score(np.zeros((2, 4)), [1, 2]).value == pytest.approx(0.75)


def test_calibration_error_is_the_hand_computed_one_over_bins_of_equal_mass():
    claimed = np.array([0.6, 0.7, 0.8, 0.9])
    logits = np.stack([np.zeros(4), np.log(claimed / (1 - claimed))], axis=1)
    labels = np.array([1, 0, 1, 1])  # the first bin is half right, the second wholly
    found = calibration_error(logits, labels, bins=2)
    assert found.value == pytest.approx((abs(0.65 - 0.5) + abs(0.85 - 1)) / 2)
    one = calibration_error(logits, labels, bins=1)
    assert one.value == pytest.approx(abs(0.75 - 0.75))


@pytest.mark.parametrize("count", [300, 3000])
@pytest.mark.parametrize("overconfidence", [0.0, 0.02, 0.1])
def test_calibration_intervals_hold_the_true_error_in_nine_of_ten_samples(count, overconfidence):
    """Plain percentiles of a bootstrap hold the true error of a calibrated network in none."""
    samples = [calibration_error(*answers(count, overconfidence, seed)) for seed in range(100)]
    held = np.mean([s.low - 1e-9 <= overconfidence <= s.high for s in samples])
    assert held >= 0.9
    assert all(0 <= s.low <= s.value <= s.high <= 1 for s in samples)


def test_an_overconfident_network_is_told_from_a_calibrated_one():
    assert calibration_error(*answers(3000, 0.1)).low > 0.05
    assert calibration_error(*answers(3000)).low == 0


def test_scores_of_a_single_image_have_the_widest_interval():
    score = brier_score([[1.0, 0.0]], [0])
    assert (score.low, score.high, score.n) == (0, 2, 1)
    error = calibration_error([[1.0, 0.0]], [0])
    assert error.low == 0 and error.high > 0.9


@pytest.mark.parametrize("score", [top_accuracy, brier_score, calibration_error])
@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "not empty"),
        (np.zeros((2, 3)), np.zeros(3, int), r"\(2, 3\) and \(3,\)"),
        (np.zeros((1, 8)), np.array([8]), "0 to 7; got 8"),
        (np.full((1, 8), np.nan), np.array([1]), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(score, logits, labels, said):
    with pytest.raises(ValueError, match=said):
        score(logits, labels)


def test_more_places_than_classes_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 3"):
        top_accuracy(np.zeros((1, 3)), [0], 5)
