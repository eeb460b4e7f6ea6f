"""CIFAR-10 runs beside people's votes: the join, its refusals, and what is compared."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from attnlib.data.downloads import cache_dir
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.human import cifar10h, figures, run_study
from attnlib.human.cifar10h import (
    FIRST,
    GROUPS,
    check_official_order,
    compare_votes,
    find_crowds,
    fitting_runs,
    label_observers,
    load_test_images,
    uncertainty,
    votes_table,
)
from attnlib.human.sources import VOTES, load_votes
from attnlib.stats.consistency import (
    classwise_errors,
    confusion_matrix,
    error_consistency,
    interclass_errors,
    js_distance,
)

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(10), 40)
COUNTS = RNG.multinomial(50, np.full(10, 0.1), size=400) // 4
COUNTS[np.arange(400), LABELS] += 30
COUNTS[:120] = 0
COUNTS[np.arange(120), LABELS[:120]] = 50  # of one voice
COUNTS[200:210] = 0
COUNTS[np.arange(200, 210), (LABELS[200:210] + 1) % 10] = 50  # of one voice, and wrong
DECISIONS = np.where(RNG.random(400) < 0.8, LABELS, RNG.integers(0, 10, 400))


class Stub:
    """As much of a run as the join looks at."""

    def __init__(self, name, labels, classes=CIFAR10_CLASSES, decisions=None):
        self.name = self.title = name
        self.settings = {}
        dataset = SimpleNamespace(classes=tuple(classes), title="CIFAR-10")
        self.record = SimpleNamespace(dataset=dataset)
        logits = np.eye(10, dtype=np.float16)[labels if decisions is None else decisions]
        self.held = {"labels": labels, "logits": logits}

    def arrays(self, name):
        if self.held is None:
            raise ValueError(f"{self.name} has no {name}.npz")
        return self.held


@pytest.fixture
def official(monkeypatch) -> np.ndarray:
    """Official labels of the test's own."""
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 1000))
    digest = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
    monkeypatch.setattr(cifar10h, "LABELS_SHA256", digest)
    return labels


def test_comparison_equals_the_plain_functions():
    one = compare_votes("run", LABELS, DECISIONS, COUNTS, resamples=20)
    right, majority = DECISIONS == LABELS, COUNTS.argmax(axis=1) == LABELS
    assert one.accuracy.value == right.mean() and one.majority_accuracy == majority.mean()
    assert one.kappa.value == pytest.approx(error_consistency(right, majority))
    model = confusion_matrix(LABELS, DECISIONS, range(10))
    people = np.stack([COUNTS[LABELS == label].sum(axis=0) for label in range(10)])
    pairs = [(errors(model), errors(people)) for errors in (classwise_errors, interclass_errors)]
    assert one.class_js.value == pytest.approx(js_distance(*pairs[0]), abs=1e-7)
    assert one.inter_js.value == pytest.approx(js_distance(*pairs[1]), abs=1e-7)
    for interval in (one.accuracy, one.kappa, one.class_js, one.inter_js):
        assert interval.low < interval.value < interval.high


def test_groups_run_from_one_voice_to_the_most_divided_and_hold_each_image_once():
    one = compare_votes("run", LABELS, DECISIONS, COUNTS, resamples=20)
    assert tuple(group.name for group in one.groups) == GROUPS
    assert [group.images for group in one.groups] == [130, 90, 90, 90]
    assert sum(group.images * group.model.value for group in one.groups) == pytest.approx(
        (DECISIONS == LABELS).sum()
    )
    shares = [crowd.agreement for crowd in find_crowds(COUNTS)]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True)
    assert one.groups[0].votes_right == pytest.approx(120 / 130)


def test_images_where_one_side_alone_is_wrong_are_named_by_their_place():
    one = compare_votes("run", LABELS, DECISIONS, COUNTS, resamples=2)
    wrong = DECISIONS != LABELS
    said = np.stack([np.arange(400), LABELS, DECISIONS, COUNTS.argmax(axis=1)], axis=1).tolist()
    alone = [said[k] for k in range(120) if wrong[k]]
    assert one.model_alone_wrong.total == len(alone) > FIRST
    assert [list(image) for image in one.model_alone_wrong.first] == alone[:FIRST]
    majority = COUNTS.argmax(axis=1) != LABELS
    alone = [said[k] for k in range(400) if majority[k] and not wrong[k]]
    assert one.majority_alone_wrong.total == len(alone)
    assert [list(image) for image in one.majority_alone_wrong.first] == alone[:FIRST]
    assert {image[0] for image in alone} & set(range(200, 210))


def test_uncertainty_is_the_entropy_of_the_votes_in_nats():
    found = uncertainty(np.array([[50, 0], [25, 25], [10, 30]]))
    expected = [0, np.log(2), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "decisions", "counts"),
    [
        (LABELS[:-1], DECISIONS, COUNTS),
        (LABELS, DECISIONS[:-1], COUNTS),
        (LABELS, DECISIONS, COUNTS[:-1]),
        (LABELS, DECISIONS, COUNTS * (np.arange(400) > 0)[:, None]),
    ],
)
def test_images_without_partner_or_votes_are_refused(labels, decisions, counts):
    with pytest.raises(ValueError, match="expected labels, decisions and votes on the same"):
        compare_votes("run", labels, decisions, counts, resamples=2)


def test_labels_in_the_official_order_are_joined_and_all_others_refused(official):
    check_official_order(official, CIFAR10_CLASSES)
    with pytest.raises(ValueError, match="another order"):
        check_official_order(np.sort(official), CIFAR10_CLASSES)
    swapped = official.copy()
    a, b = 0, int(np.flatnonzero(official != official[0])[0])
    swapped[[a, b]] = swapped[[b, a]]
    with pytest.raises(ValueError, match=r"official order; got 10000 .*another order"):
        check_official_order(swapped, CIFAR10_CLASSES)
    with pytest.raises(ValueError, match="other images"):
        check_official_order(official[:-1], CIFAR10_CLASSES)
    for wrapping in (official.astype(np.int64) - 256, official + 0.5):
        with pytest.raises(ValueError, match="other images"):
            check_official_order(wrapping, CIFAR10_CLASSES)
    with pytest.raises(ValueError, match="classes: expected"):
        check_official_order(official, CIFAR10_CLASSES[::-1])


def test_runs_in_another_order_are_refused_aloud_and_other_data_sets_passed_over(official):
    fits = Stub("fits", official)
    turned, digits = Stub("turned", official[::-1].copy()), Stub("digits", LABELS, "0123456789")
    bare = Stub("bare", official)
    bare.held = None
    half, cut = Stub("half", official), Stub("cut", official)
    del half.held["logits"]
    cut.held["logits"] = cut.held["logits"][:-1]
    found, lines = fitting_runs([fits, turned, digits, bare, half, cut])
    assert [run.name for run, _ in found] == ["fits"]
    assert lines[0] == "Runs on CIFAR-10's test images: 1."
    assert "turned is refused: labels" in lines[1] and "bare is refused" in lines[2]
    assert lines[3] == "half is refused: its predictions lack logits"
    assert lines[4] == "cut is refused: its logits have the shape (9999, 10), not (10000, 10)"
    assert not any("digits" in line for line in lines)


def test_labels_of_runs_tell_them_apart_and_all_name_their_data(official):
    runs = [Stub(name, official) for name in ("one-s0", "one-s1", "two")]
    for run, alpha in zip(runs[:2], (0.5, 0.1), strict=True):
        run.title, run.settings = "One", {"alpha": alpha, "temperature": 3.0}
    assert label_observers(runs) == [
        "One, alpha 0.5, CIFAR-10", "One, alpha 0.1, CIFAR-10", "two, CIFAR-10"
    ]  # fmt: skip
    runs[2].record.dataset.title = "Other"
    runs[2].title = "One"
    assert label_observers(runs)[2] == "One, Other"


def test_every_fitting_run_is_compared_in_one_study(official, monkeypatch):
    voted = np.zeros((10000, 10), dtype=np.int64)
    voted[np.arange(10000), official] = 50
    monkeypatch.setattr(run_study, "load_votes", lambda: voted)
    wrong = np.where(np.arange(10000) < 5, (official + 1) % 10, official)
    runs = [Stub("a", official), Stub("b", official, decisions=wrong), Stub("c", official[::-1])]
    study = run_study.study_votes(runs, resamples=3)
    assert [one.title for one in study.compared] == ["a, CIFAR-10", "b, CIFAR-10"]
    assert [one.accuracy.value for one in study.compared] == [1, 0.9995]
    alone = study.compared[1].model_alone_wrong
    assert (alone.total, [image.image for image in alone.first]) == (5, [0, 1, 2, 3])
    assert "c is refused" in study.told


def archive(path, labels):
    """An archive with twenty training images and, as test images, their own places as colours."""
    places = np.arange(len(labels))
    pixels = np.zeros((len(labels), 2, 2, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = (places // 256)[:, None, None], (places % 256)[:, None, None]
    train = np.zeros((20, 2, 2, 3), np.uint8), np.arange(20) % 10
    keys = ("train_images", "train_labels", "test_images", "test_labels", "class_names")
    np.savez(path, **dict(zip(keys, (*train, pixels, labels, CIFAR10_CLASSES), strict=True)))
    return str(path)


def test_disputed_images_are_shown_by_their_place(official, tmp_path):
    voted = np.eye(10, dtype=np.int64)[official] * 50
    wrong = np.where(np.arange(10000) % 3000 == 2999, (official + 1) % 10, official)
    voted[[5, 7]] = np.roll(voted[[5, 7]], 1, axis=1)
    study = cifar10h.VotesStudy("", [], [compare_votes("a", official, wrong, voted, resamples=2)])
    split, note = load_test_images(study, archive(tmp_path / "own.npz", official))
    assert note == "Images from own, by their place in the test set."
    figure = figures.disputed_images(study, split)
    shown = [axes.get_images()[0].get_array()[0, 0] for axes in figure.axes if axes.get_images()]
    assert [256 * int(red) + int(green) for red, green, _ in shown] == [2999, 5999, 8999, 5, 7]
    names = [CIFAR10_CLASSES[label] for label in (*official[[2999, 2999]], *official[[5, 5]])]
    following = [CIFAR10_CLASSES[(CIFAR10_CLASSES.index(name) + 1) % 10] for name in names]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == f"{names[0]}\n> {following[0]}"
    assert titles[4] == f"{names[2]}\n> {following[2]}"
    words = [part.get_suptitle() for part in figure.subfigs]
    assert "network wrong, 3 images" in words[0]
    assert "most frequent answer wrong, 2 images" in words[1]
    assert figure.finding.startswith("a is wrong about 3 images that all people name correctly")
    bare = figures.disputed_images(study, None)
    assert [axes.texts[0].get_text() for axes in bare.axes[:1]] == ["image\n2999"]


def test_images_that_are_not_at_hand_are_neither_fetched_nor_taken_from_other_data(
    official, tmp_path, monkeypatch
):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    voted = np.eye(10, dtype=np.int64)[official] * 50
    study = cifar10h.VotesStudy(
        "", [], [compare_votes("a", official, official, voted, resamples=2)]
    )
    turned = archive(tmp_path / "turned.npz", official[::-1])
    cases = {
        None: "cifar-10-python.tar.gz is not in the cache. Running notebooks/data.ipynb",
        turned: "turned.npz: labels: expected CIFAR-10's 10000 test labels in the official order",
        str(tmp_path): "The images are not shown",
    }
    for path, told in cases.items():
        split, note = load_test_images(study, path)
        assert split is None and told in note
    nothing = cifar10h.VotesStudy("", [], [])
    assert "no image to show" in load_test_images(nothing)[1]
    assert "No run" in figures.disputed_images(nothing, None).axes[0].texts[0].get_text()


def test_table_has_people_and_a_column_for_each_run():
    compared = [compare_votes(name, LABELS, DECISIONS, COUNTS, resamples=5) for name in "ab"]
    table = votes_table(cifar10h.VotesStudy("", find_crowds(COUNTS), compared))
    assert list(table.columns)[1:] == ["a", "b"] and len(table) == 4 + 6
    assert table.loc["accuracy, unanimous"].iloc[0] == "130, 100.0%"
    alone = votes_table(cifar10h.VotesStudy("", find_crowds(COUNTS), []))
    assert alone.shape == (4, 1)


def test_votes_of_cifar10h_are_those_that_were_published():
    if not (cache_dir() / VOTES).is_file():
        pytest.skip("CIFAR-10H's votes are not in the cache: set ATTNLIB_DATA")
    counts = load_votes()
    assert counts.shape == (10000, 10) and counts.sum() == 511_000
    totals = counts.sum(axis=1)
    assert (totals.min(), totals.max()) == (47, 63)
    assert uncertainty(counts).mean() == pytest.approx(0.1545, abs=5e-5)
    assert find_crowds(counts)[0].images / 10000 == pytest.approx(0.439, abs=5e-4)
