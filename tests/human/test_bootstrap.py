"""Agreement with people, vectorised over resamples, against the plain functions, one by one."""

from dataclasses import replace

import numpy as np
import pytest

from attnlib.human.bootstrap import (
    MEASURES,
    PEOPLE,
    difference,
    draw_counts,
    error_rows,
    js_rows,
    kappa_rows,
    make_interval,
    measure_agreement,
)
from attnlib.human.claims import (
    CLAIMS,
    Interval,
    judge,
    judge_claims,
    measure_gaps,
    measure_shifts,
)
from attnlib.human.decisions import CATEGORIES, Decisions, make_decisions
from attnlib.stats.consistency import (
    classwise_errors,
    confusion_matrix,
    error_consistency,
    interclass_errors,
    js_distance,
    shape_bias,
)
from attnlib.stats.intervals import HOLDS, NOT_RUN, OPEN, OPPOSITE

IMAGES = [
    f"{shape}{k}-{CATEGORIES[(place + step) % 16]}{k}.png"
    for place, shape in enumerate(CATEGORIES)
    for k, step in enumerate((0, 1, 3, 7))
]


def observer(name: str, seed: int, right: float, texture: float = 0.3) -> Decisions:
    """One who says shape, else texture, else anything, with these chances."""
    rng = np.random.default_rng(seed)
    blank = make_decisions(name, IMAGES, IMAGES)
    chance = rng.random(len(IMAGES))
    other = rng.choice([*CATEGORIES, "na"], size=len(IMAGES))
    said = np.where(chance < right + texture, blank.textures, other)
    return replace(blank, responses=np.where(chance < right, blank.shapes, said))


SYSTEMS = [
    observer("network", 1, 0.3),
    *(observer(f"subject-{k:02d}", 10 + k, 0.7) for k in range(3)),
    observer("other", 2, 0.5),
]


def slow(network: Decisions, person: Decisions) -> tuple[float, float, float]:
    pair = [confusion_matrix(one.shapes, one.responses, CATEGORIES) for one in (network, person)]
    return (
        error_consistency(network.correct, person.correct),
        js_distance(*map(classwise_errors, pair)),
        js_distance(*map(interclass_errors, pair)),
    )


def resampled(one: Decisions, counts: np.ndarray) -> Decisions:
    """The decisions with each image as often as counted."""
    places = np.repeat(np.arange(len(IMAGES)), counts.astype(int))
    return Decisions(one.system, one.images[places], one.responses[places])


def test_measures_equal_the_plain_functions_in_the_sample_and_in_every_resample():
    people, network, _ = measure_agreement(SYSTEMS, resamples=15, seed=3)
    assert people.system == PEOPLE and network.system == "network"
    counts = draw_counts(len(IMAGES), 15, 3)
    observers = SYSTEMS[1:4]
    for row, weights in enumerate(counts):
        one, *others = (resampled(s, weights) for s in (SYSTEMS[0], *observers))
        expected = np.array([slow(one, person) for person in others])
        found = [network.kappa[row], network.class_js[row], network.inter_js[row]]
        assert np.array(found).T == pytest.approx(expected, abs=1e-7)
        assert network.values("accuracy")[row] == pytest.approx(one.correct.mean())
        bias = shape_bias(one.shapes, one.textures, one.responses)
        assert network.values("shape_bias")[row] == pytest.approx(bias)
        between = [slow(others[a], others[b]) for a, b in ((1, 0), (2, 0), (2, 1))]
        found = [people.kappa[row], people.class_js[row], people.inter_js[row]]
        assert np.array(found).T == pytest.approx(np.array(between), abs=1e-7)


def test_peoples_accuracy_is_a_mean_and_their_shape_bias_is_pooled():
    people = measure_agreement(SYSTEMS, resamples=10)[0]
    observers = SYSTEMS[1:4]
    assert people.estimate("accuracy").value == pytest.approx(
        np.mean([one.correct.mean() for one in observers])
    )
    pooled = [
        np.concatenate([getattr(one, name) for one in observers])
        for name in ("shapes", "textures", "responses")
    ]
    assert people.estimate("shape_bias").value == pytest.approx(shape_bias(*pooled))


def test_every_system_meets_the_same_resamples_whatever_else_is_measured():
    alone = measure_agreement(SYSTEMS[:4], resamples=20, seed=5)[1]
    together = measure_agreement(SYSTEMS[::-1], resamples=20, seed=5)[-1]
    assert alone.system == together.system == "network"
    for measure in MEASURES:
        assert alone.values(measure) == pytest.approx(together.values(measure))
    other = measure_agreement(SYSTEMS[:4], resamples=20, seed=6)[1]
    assert not np.allclose(alone.values("kappa"), other.values("kappa"))


def test_a_paired_difference_is_narrower_than_two_intervals_and_zero_against_itself():
    twin = replace(observer("twin", 1, 0.3), responses=SYSTEMS[0].responses.copy())
    twin.responses[:3] = "clock"
    network, near = measure_agreement([*SYSTEMS[:4], twin], resamples=200)[1:]
    gap = difference(network, near, "kappa")
    interval = network.estimate("kappa")
    assert gap.high - gap.low < (interval.high - interval.low) / 2
    assert difference(network, network, "kappa") == (0, 0, 0)


def test_interval_has_the_spread_of_the_resamples_around_the_estimate():
    moved = 5 + np.random.default_rng(0).normal(size=20_000)  # by resampling itself
    interval = make_interval(np.append(2.0, moved))
    assert interval.value == 2
    assert (interval.low, interval.high) == pytest.approx((2 - 1.96, 2 + 1.96), abs=0.06)


def test_interval_leaves_out_resamples_without_a_value_and_is_undefined_without_an_estimate():
    nan = float("nan")
    assert make_interval(np.array([1.0, nan, 0.5, 1.5])).high > 1
    assert np.isnan(make_interval(np.array([nan, 1.0, 2.0]))).all()
    assert np.isnan(make_interval(np.array([1.0, nan, nan]))[1:]).all()


def test_interval_of_a_share_is_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    right = rng.random(1000) < 0.3
    counts = draw_counts(1000, 2000, 0)
    interval = make_interval(counts @ right / 1000)
    width = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 1000)
    assert interval.high - interval.low == pytest.approx(width, rel=0.08)
    assert counts[0].tolist() == [1] * 1000 and (counts.sum(axis=1) == 1000).all()


def test_a_network_that_never_errs_has_no_distances_and_people_alone_no_network():
    perfect = observer("perfect", 0, 1.0)
    people, network = measure_agreement([perfect, *SYSTEMS[1:4]], resamples=10)
    assert network.estimate("accuracy") == (1, 1, 1) and network.estimate("kappa").value == 0
    assert np.isnan(network.estimate("class_js").value)
    assert str(network.estimate("inter_js")) == "undefined"
    assert [one.system for one in measure_agreement(SYSTEMS[1:4], resamples=10)] == [PEOPLE]
    assert people.estimate("class_js").value > 0


def test_a_network_without_people_has_accuracy_and_shape_bias_alone():
    (network,) = measure_agreement(SYSTEMS[:1], resamples=10)
    assert network.estimate("accuracy").value == SYSTEMS[0].correct.mean()
    assert network.estimate("shape_bias").value > 0
    assert np.isnan(network.estimate("kappa").value)


def test_shape_bias_in_a_category_counts_its_own_images_and_never_lacks_a_width():
    network = measure_agreement(SYSTEMS, resamples=10)[1]
    one = SYSTEMS[0]
    for place, (category, bias) in enumerate(zip(CATEGORIES, network.category_bias(), strict=True)):
        own = one.shapes == category
        hits = network.hits[0, place]
        if hits.sum():
            cues = (one.shapes[own], one.textures[own], one.responses[own])
            assert bias.value == pytest.approx(shape_bias(*cues))
            assert bias.low < bias.high
        else:
            assert np.isnan(bias.value)


def test_margin_over_people_is_the_t_interval_and_undefined_without_partners():
    network = measure_agreement(SYSTEMS, resamples=10)[1]
    kappas = network.kappa[0]
    assert network.people_margin("kappa") == pytest.approx(4.302653 * kappas.std(ddof=1) / 3**0.5)
    assert np.isnan(network.people_margin("accuracy"))
    (alone,) = measure_agreement(SYSTEMS[:1], resamples=10)
    assert np.isnan(alone.people_margin("kappa"))


def test_observers_that_always_agree_have_kappa_one():
    ones, counts = np.ones(5, dtype=bool), np.ones((2, 5))
    assert kappa_rows(ones, ones, counts).tolist() == [1, 1]


def test_error_shares_take_counts_as_well_as_single_answers():
    votes = np.zeros((2, 3, 3))
    votes[0, 0] = [40, 10, 0]
    votes[1, 2] = [5, 5, 30]
    rows, cells = error_rows(votes, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert rows.tolist() == [[0.5, 0, 0.5], [1, 0, 0]]
    assert cells[0].tolist() == [0, 0.5, 0, 0, 0, 0, 0.25, 0.25, 0]
    assert js_rows(rows[:1], rows[1:])[0] == pytest.approx(js_distance(rows[0], rows[1]))


@pytest.mark.parametrize(("systems", "resamples"), [([], 10), (SYSTEMS, 0)])
def test_nothing_to_measure_is_refused(systems, resamples):
    with pytest.raises(ValueError, match="expected systems and resamples >= 1"):
        measure_agreement(systems, resamples=resamples)


@pytest.mark.parametrize(
    ("gap", "sign", "verdict"),
    [
        ((0.2, 0.1, 0.3), 1, HOLDS),
        ((0.2, 0.1, 0.3), -1, OPPOSITE),
        ((-0.2, -0.3, -0.1), -1, HOLDS),
        ((-0.2, -0.3, -0.1), 1, OPPOSITE),
        ((0.1, -0.1, 0.3), 1, OPEN),
        ((0.1, 0.0, 0.3), 1, OPEN),
    ],
)
def test_a_claim_holds_where_the_whole_interval_has_its_sign(gap, sign, verdict):
    assert judge(Interval(*gap), sign) == verdict


def test_claims_about_systems_that_are_not_there_are_not_run():
    findings = judge_claims(measure_agreement(SYSTEMS, resamples=10))
    assert len(findings) == len(CLAIMS)
    assert {finding.verdict for finding in findings} == {NOT_RUN}
    assert all(finding.difference is None for finding in findings)


def test_a_reader_s_deit_is_judged_by_whatever_protocol_it_was_run():
    named = [
        replace(SYSTEMS[0], system="resnet50"),
        replace(SYSTEMS[4], system="ViT-B_32"),
        replace(observer("", 8, 0.4), system="deit_b-bgr-sum"),
    ]
    measured = measure_agreement([*SYSTEMS[1:4], *named], resamples=50)
    findings = judge_claims(measured)
    between = [finding for finding in findings if "between" in finding.text]
    assert len(between) == 8 and all(finding.difference for finding in between)
    first = next(f for f in findings if (f.first, f.measure) == ("ViT-B_32", "kappa"))
    expected = difference(measured[2], measured[1], "kappa")
    assert first.difference == expected and (first.second, expected.value > 0) == ("resnet50", True)
    for claim, finding in zip(CLAIMS, findings, strict=True):
        if finding.difference:
            assert finding.verdict == judge(finding.difference, claim.sign)
    gaps = measure_gaps(measured, ["kappa"])
    assert [(gap.text, gap.difference) for gap in gaps] == [("ViT-B/32 - ResNet-50", expected)]


def test_a_claim_that_something_falls_holds_where_it_falls():
    people = SYSTEMS[1:4]
    alike = replace(people[0], system="resnet50")  # one of the people
    apart = replace(observer("", 9, 0.1), system="resnet50_ft")
    findings = judge_claims(measure_agreement([*people, alike, apart], resamples=100))
    fallen = next(f for f in findings if (f.first, f.measure) == ("resnet50_ft", "kappa"))
    assert fallen.difference.high < 0 and fallen.verdict == HOLDS


def test_a_shift_is_what_comes_after_minus_what_came_before():
    before, after = (
        replace(SYSTEMS[k], system=f"net-{protocol}")
        for k, protocol in ((0, "rgb-mean"), (4, "bgr-sum"))
    )
    measured = measure_agreement([before, after], resamples=50)
    (shift,) = measure_shifts(measured, "net", ["accuracy"])
    assert (shift.first, shift.second) == ("net-bgr-sum", "net-rgb-mean")
    assert shift.difference.value == pytest.approx(after.correct.mean() - before.correct.mean())
