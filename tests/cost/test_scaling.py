"""The scaling law: power laws are found, memory's exponents are exact, rows are whole."""

import numpy as np
import pytest

from attnlib.cost import scaling
from attnlib.cost.memory_replay import replay
from attnlib.records.measurements import select


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_fit_finds_the_exponent_of_a_power_law(power):
    tokens = np.array([64, 256, 1024, 3136])
    fit = scaling.fit_exponent(tokens, 3e-6 * tokens**power)
    assert fit[:3] == pytest.approx((power, power, power), abs=1e-6) and fit.n == 4


def test_interval_of_the_exponent_holds_the_truth_as_often_as_it_says():
    rng, tokens = np.random.default_rng(0), np.array([64, 144, 256, 576, 1024, 1764])
    noise = np.exp(rng.normal(0, 0.1, (500, len(tokens))))
    fits = [scaling.fit_exponent(tokens, tokens**2 * factor) for factor in noise]
    assert 0.92 <= np.mean([fit.low <= 2 <= fit.high for fit in fits]) <= 0.98


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2]), ([1, 2, 3], [1])])
def test_fit_refuses_what_has_no_line(x, y):
    with pytest.raises(ValueError, match="expected three or more pairs above 0"):
        scaling.fit_exponent(x, y)


@pytest.mark.parametrize(
    ("layer", "power"), [("explicit", 2), ("fused", 1), ("class_token", 1), ("projections", 1)]
)
def test_memory_grows_with_the_power_of_the_theory(layer, power):
    tokens = (784, 1764, 3136)
    peaks = [replay(lambda n=n: scaling.prepare_layer(layer, n, 2)).peak_bytes for n in tokens]
    assert scaling.fit_exponent(tokens, peaks).value == pytest.approx(power, abs=0.01)


def test_explicit_attention_holds_two_matrices_of_weights():
    peak = replay(lambda: scaling.prepare_layer("explicit", 1024, 2)).peak_bytes
    assert peak == 2 * (2 * 3 * 1024**2 * 4)


def test_measuring_gives_a_row_of_time_and_one_of_memory_for_each_point():
    rows = scaling.measure_scaling(("fused", "class_token"), (4, 16, 36), batch_size=1, repeats=3)
    assert len(rows) == 2 * 3 * 2
    timed = select(rows, quantity="seconds")
    assert all(0 < row["value"] <= row["low"] <= row["high"] for row in timed)
    assert {row["repeats"] for row in timed} == {3}
    assert {row["basis"] for row in select(rows, quantity="peak_bytes")} == {"replayed"}
    fits = scaling.exponents(rows, fit_from=4)
    assert set(fits) == {(layer, q) for layer in ("fused", "class_token")
                         for q in ("seconds", "peak_bytes")}  # fmt: skip
    table = scaling.exponent_table(fits)
    assert table.loc["self-attention, fused", "memory: exponent"].startswith("1.00 [")


def test_exponents_are_fitted_from_the_given_number_of_tokens_on():
    tokens = (10, 100, 1000, 10_000)
    values = (5.0, 1e4, 1e6, 1e8)  # the first point lies off the square
    rows = [
        {"layer": "fused", "tokens": n, "quantity": "seconds", "value": value}
        for n, value in zip(tokens, values, strict=True)
    ]
    fit = scaling.exponents(rows, fit_from=100)["fused", "seconds"]
    assert fit.value == pytest.approx(2) and fit.n == 3


def test_unknown_layer_is_refused_by_the_names_of_the_valid_ones():
    with pytest.raises(ValueError, match="expected one of explicit, fused, class_token"):
        scaling.prepare_layer("linear", 4, 1)
