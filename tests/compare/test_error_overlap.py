"""Whose errors: pairs of networks, what their accuracies allow, and whether a teacher pulls."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from attnlib.compare import error_overlap, figures
from attnlib.compare.error_overlap import (
    PAIRINGS,
    STUDENTS,
    Pairing,
    Question,
    between,
    measure_overlaps,
    overlap_table,
    reply,
    reply_table,
)
from attnlib.compare.reference_runs import ReferenceRow, read_table
from attnlib.stats.consistency import error_consistency, kappa_limit, yules_y

NAMES = [name for name in read_table() if name.startswith(("deit_t", "resnet18"))]
TOWARDS = Question("towards", Pairing("deit_t_hard", "resnet18", "same"),
                   Pairing("deit_t", "resnet18", "same"))  # fmt: skip
OWN = Question("own", TOWARDS.more, Pairing("deit_t_hard", "resnet18", "different"))


def run_of(correct, seed):
    """What is read of a run: its seed, its data and two classes, of which 0 is right."""
    arrays = {"labels": np.zeros(len(correct), int), "logits": np.eye(2)[(~correct).astype(int)]}
    dataset = SimpleNamespace(sha256="0", classes=["right", "wrong"])
    record = SimpleNamespace(dataset=dataset, seeds=SimpleNamespace(run=seed))
    return SimpleNamespace(record=record, config={"epochs": 8}, arrays=lambda _: arrays)


def rows_of(outcomes):
    """Rows of the reference with these outcomes: row -> one array for each seed."""
    runs = {
        name: tuple(run_of(correct, seed) for seed, correct in enumerate(outcomes.get(name, ())))
        for name in NAMES
    }
    return {name: ReferenceRow(name, {"model": "deit_t"}, made) for name, made in runs.items()}


def draw(rng, *, images=2000, seeds=3, pull=0.0, gain=0.0, own=0.7):
    """Outcomes of teachers, and of students with and without one, from latent difficulties.

    Each image has a difficulty for all, one for each kind of network and one for each network. A
    taught student takes over ``pull`` of its teacher's, and is right more often by ``gain``.
    """
    ease, conv, attn = rng.normal(size=(3, images))
    found = {name: [] for name in ("resnet18", "deit_t", "deit_t_hard")}
    for _ in range(seeds):
        teacher = conv + own * rng.normal(size=images)
        shift = 0.05 * rng.normal(size=3)
        found["resnet18"].append(ease + teacher + 0.9 + shift[0] > 0)
        for name, taken, more in (("deit_t", 0.0, 0.0), ("deit_t_hard", pull, gain)):
            student = ease + attn + rng.normal(size=images) + taken * teacher + more
            found[name].append(student + shift[len(found["deit_t"]) % 2 + 1] > 0)
    return found


def test_measures_are_those_of_the_plain_functions_for_every_pair():
    outcomes = draw(np.random.default_rng(0), images=300, pull=0.5)
    (overlap,) = measure_overlaps(rows_of(outcomes), {"x": Pairing("deit_t_hard", "resnet18")})
    pairs = [(a, b) for a in outcomes["deit_t_hard"] for b in outcomes["resnet18"]]
    assert overlap.pairs == pytest.approx([error_consistency(a, b) for a, b in pairs])
    assert overlap.kappa.value == pytest.approx(np.mean(overlap.pairs))
    assert overlap.even.value == pytest.approx(np.mean([yules_y(a, b) for a, b in pairs]))
    limits = [kappa_limit(a.mean(), b.mean()) for a, b in pairs]
    assert overlap.limit == pytest.approx(np.mean(limits))
    assert overlap.kappa.low < overlap.kappa.value < overlap.kappa.high


def test_a_student_meets_its_own_teacher_the_others_or_all():
    networks = error_overlap._Networks.of(rows_of(draw(np.random.default_rng(0))), *OWN[1:])
    assert networks.pairs(OWN.more, (0, 1, 2)) == [(0, 0), (1, 1), (2, 2)]
    assert len(networks.pairs(OWN.less, (0, 1, 2))) == 6
    assert len(networks.pairs(Pairing("deit_t_hard", "resnet18"), (0, 1, 2))) == 9
    twins = Pairing("resnet18", "resnet18", "different")
    assert networks.pairs(twins, (0, 1, 2)) == [(0, 1), (0, 2), (1, 2)]


def test_a_teacher_that_pulls_is_found_and_so_is_whose_errors_are_taken_over():
    rows = rows_of(draw(np.random.default_rng(1), images=10_000, pull=0.6, own=1.0))
    towards, own = reply(rows, [TOWARDS, OWN])
    assert (towards.verdict, own.verdict) == ("holds", "holds")
    assert towards.difference.low > 0.05 and own.difference.low > 0.01


def test_a_student_that_is_merely_right_more_often_is_not_taken_for_one_that_errs_alike():
    """Its kappa with ResNet-18 rises all the same, with what the accuracies allow."""
    rows = rows_of(draw(np.random.default_rng(2), images=10_000, gain=1.0))
    with_gain, without = measure_overlaps(rows, {"more": TOWARDS.more, "less": TOWARDS.less})
    assert with_gain.kappa.value > without.kappa.value + 0.015
    assert with_gain.limit > without.limit + 0.2
    assert abs(with_gain.even.value - without.even.value) < 0.02
    assert [one.verdict for one in reply(rows, [TOWARDS, OWN])] == ["not decided"] * 2


def test_holm_counts_the_questions_that_could_be_tested():
    rows = rows_of(draw(np.random.default_rng(1), pull=0.3))
    (alone,) = reply(rows, [TOWARDS])
    both = {one.question: one for one in reply(rows, [TOWARDS, OWN])}
    assert alone.p_holm == alone.difference.p
    smaller = min(both[TOWARDS].difference.p, both[OWN].difference.p)
    assert min(one.p_holm for one in both.values()) == pytest.approx(2 * smaller)


COVERED = {"same": TOWARDS, "twins": Question("", Pairing("deit_t", "deit_t", "different"), None)}


@pytest.mark.parametrize("case", COVERED)
def test_intervals_cover_the_truth_about_as_often_as_they_say(case, monkeypatch):
    monkeypatch.setattr(error_overlap, "RESAMPLED", 100)
    question, rng = COVERED[case], np.random.default_rng(3)

    def networks(seeds, images):
        outcomes = draw(rng, seeds=seeds, images=images, pull=0.5)
        table = {(name, s): one for name in outcomes for s, one in enumerate(outcomes[name])}
        return error_overlap._Networks(table, range(seeds))

    many = [networks(6, 20_000) for _ in range(6)]
    truth = np.mean([n.gap(error_overlap._even, n.seeds, *question[1:])[0] for n in many])
    found = [networks(3, 500).estimate(error_overlap._even, *question[1:]) for _ in range(150)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.91 <= covered  # the jackknife over three seeds errs on the wide side
    quarter = [abs(one.value - truth) <= (one.high - one.low) / 8 for one in found]
    assert np.mean(quarter) < 0.91  # and not by as much as that


def test_yules_y_stays_where_kappa_moves_with_accuracy_alone():
    """One latent correlation, five accuracies: kappa rises by a quarter, Y by hardly anything."""
    latent = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 200_000)
    teacher = latent[:, 1] < stats.norm.ppf(0.73)
    students = [latent[:, 0] < stats.norm.ppf(share) for share in (0.45, 0.5, 0.6, 0.7, 0.75)]
    kappas = [error_consistency(one, teacher) for one in students]
    even = [yules_y(one, teacher) for one in students]
    assert max(kappas) / min(kappas) > 1.2 and max(even) / min(even) < 1.06


def test_with_one_seed_there_is_an_interval_over_images_and_no_twin():
    rows = rows_of(draw(np.random.default_rng(0), seeds=1))
    towards, own = reply(rows, [TOWARDS, OWN])
    assert towards.difference.seeds == 1 and towards.verdict != "not run"
    assert own.difference is None and own.verdict == "not run"


def test_what_was_not_run_is_named_so_and_the_rest_is_answered():
    rows = rows_of(draw(np.random.default_rng(0)))
    shown = overlap_table(measure_overlaps(rows))
    assert list(shown.index) == list(PAIRINGS)
    assert shown.loc["DeiT-T and ResNet-18", "pairs"] == 9
    assert set(shown.filter(like="pretrained", axis=0)["kappa [95%]"]) == {"not run"}
    replies = reply(rows)
    assert len(replies) == 3 * len(STUDENTS) == len(reply_table(replies))
    assert [one.verdict == "not run" for one in replies] == [False] * 3 + [True] * 6
    none = rows_of({})
    assert {one.verdict for one in reply(none)} == {"not run"}
    assert set(between(reply(none)).values()) == {"not run"}


def test_figures_show_what_was_run():
    rows = rows_of(draw(np.random.default_rng(0)))
    made = measure_overlaps(rows)
    (axes,) = figures.overlaps(made).axes
    assert len(axes.patches) == sum(one.kappa is not None for one in made) == 7
    ends = sorted(bar.get_width() for bar in axes.patches)
    assert ends == pytest.approx(sorted(one.limit for one in made if one.kappa))
    assert len(figures.overlap_differences(reply(rows)).axes[0].get_yticks()) == 3
    none = rows_of({})
    figures.overlaps(measure_overlaps(none)), figures.overlap_differences(reply(none))


@pytest.mark.parametrize(
    ("towards", "kin", "told"),
    [
        ("holds", "holds", "holds"),
        ("holds", "not decided", "not decided"),
        ("the opposite holds", "not decided", "the opposite holds"),
        ("the opposite holds", "holds", "the opposite holds"),
        ("not run", "holds", "not run"),
    ],
)
def test_a_student_is_between_if_it_is_nearer_to_either_than_they_to_each_other(towards, kin, told):
    verdicts = (towards, "not decided", kin)
    student = STUDENTS[0]
    replies = [
        error_overlap.Reply(question, None, 1.0, verdict)
        for question, verdict in zip(student.questions, verdicts, strict=True)
    ]
    assert between(replies, [student]) == {"taught hard": told}
