"""Comparison of CIFAR-10 runs with people's votes on the same images (CIFAR-10H).

Peterson et al. (2019), arXiv:1908.07086: about fifty people labelled each of 10,000 test images.
Votes and predictions are joined by position, so both must be in the official order. The labels
are checked for this.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from attnlib.arrays import Flags, Integers
from attnlib.data.datasets import Split, load_dataset
from attnlib.data.readers import CIFAR10_ARCHIVE, CIFAR10_CLASSES
from attnlib.human.bootstrap import (
    Interval,
    draw_counts,
    error_rows,
    js_rows,
    kappa_rows,
    make_interval,
)
from attnlib.records.answers import is_cifar10_cached, read_answers
from attnlib.records.labels import label_runs
from attnlib.records.run import Run
from attnlib.records.thumbnails import read_thumbnails
from attnlib.training.predict import Predictions

if TYPE_CHECKING:
    import pandas as pd

# SHA-256 of the official test labels, as 10,000 bytes in the official order.
LABELS_SHA256 = "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"
FIRST = 4  # images kept of those that one side alone gets wrong
GROUPS = ("unanimous", "least divided third", "middle third", "most divided third")


class Crowd(NamedTuple):
    """Images with similar agreement among people, and that agreement."""

    name: str
    images: int
    agreement: float  # mean share of votes for the most frequent class


class Disputed(NamedTuple):
    """An image that only one side gets wrong: its position in the test set and both answers."""

    image: int
    truth: int
    network: int
    people: int  # the majority's answer


class AloneWrong(NamedTuple):
    """How many images one side alone gets wrong, and the first of them."""

    total: int
    first: Sequence[Disputed]  # FIRST at most, in the test set's order


class ImageGroup(NamedTuple):
    """A model's accuracy on such a group of images."""

    name: str
    images: int
    votes_right: float  # mean share of people's votes for the label
    model: Interval  # accuracy of the model


@dataclass(frozen=True)
class VotesComparison:
    """One run compared with people; intervals are over images, distances in natural logarithms.

    Attributes:
        title: The run's title.
        accuracy: The model's.
        majority_accuracy: Of the majority's answers; ties go to the first class.
        kappa: Error consistency of the model and the majority, eq. 5.6.
        class_js: Distance between the model's errors and people's wrong votes, by true class.
        inter_js: The same by confusion.
        groups: The model's accuracy by people's agreement.
        model_alone_wrong: Images that all people get right and the model gets wrong.
        majority_alone_wrong: Images that the model gets right and the majority gets wrong.
    """

    title: str
    accuracy: Interval
    majority_accuracy: float
    kappa: Interval
    class_js: Interval
    inter_js: Interval
    groups: Sequence[ImageGroup]
    model_alone_wrong: AloneWrong
    majority_alone_wrong: AloneWrong


def check_official_order(labels: NDArray[np.integer], class_names: Sequence[str]) -> None:
    """Refuse labels that are not those of CIFAR-10's test images in the official order.

    Raises:
        ValueError: With what differs.
    """
    if tuple(class_names) != CIFAR10_CLASSES:
        raise ValueError(f"classes: expected {CIFAR10_CLASSES}; got {tuple(class_names)}")
    as_bytes = np.asarray(labels).astype(np.uint8)
    digest = hashlib.sha256(as_bytes.tobytes()).hexdigest()
    if digest != LABELS_SHA256 or not np.array_equal(as_bytes, labels):
        same = np.array_equal(np.sort(labels), np.repeat(np.arange(10), 1000))
        why = "another order" if same else "other images"
        raise ValueError(
            f"labels: expected CIFAR-10's 10000 test labels in the official order; got "
            f"{len(labels)} with SHA-256 {digest[:16]}...: {why}"
        )


def compare_votes(
    title: str,
    labels: Integers,
    decisions: Integers,
    votes: Integers,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> VotesComparison:
    """Compare a model's decisions with people's votes on the same images.

    Args:
        title: Of the run.
        labels: True classes (n,).
        decisions: The model's (n,).
        votes: Number of votes for each class (n, K), at least one per row.
        resamples: Of the images, for the intervals.
        seed: Seed of the resamples.

    Raises:
        ValueError: If the lengths differ, or an image has no votes.
    """
    n, K = votes.shape
    if not len(labels) == len(decisions) == n or (votes.sum(axis=1) < 1).any():
        raise ValueError(
            f"expected labels, decisions and votes on the same images; got {len(labels)}, "
            f"{len(decisions)} and {n}, {int((votes.sum(axis=1) < 1).sum())} without votes"
        )
    counts, rows = draw_counts(n, resamples, seed), np.arange(n)
    majority = votes.argmax(axis=1)
    right, majority_right = decisions == labels, majority == labels
    model_answers, people_answers = np.zeros((n, K, K)), np.zeros((n, K, K))
    model_answers[rows, labels, decisions] = 1
    people_answers[rows, labels] = votes
    model_rows, model_cells = error_rows(model_answers, counts)
    people_rows, people_cells = error_rows(people_answers, counts)
    accuracy = counts @ right / counts.sum(axis=1)
    unanimous = votes[rows, labels] == votes.sum(axis=1)

    def dispute(places: Flags) -> AloneWrong:
        columns = np.stack([rows, labels, decisions, majority], axis=1)[places]
        return AloneWrong(len(columns), [Disputed(*row) for row in columns[:FIRST].tolist()])

    return VotesComparison(
        title,
        make_interval(accuracy),
        float(majority_right.mean()),
        make_interval(kappa_rows(right, majority_right, counts)),
        make_interval(js_rows(model_rows, people_rows)),
        make_interval(js_rows(model_cells, people_cells)),
        groups=_group(labels, right, votes, counts),
        model_alone_wrong=dispute(unanimous & ~right),
        majority_alone_wrong=dispute(right & ~majority_right),
    )


def uncertainty(votes: Integers) -> NDArray[np.float64]:
    """Entropy of people's votes on each image, nats: (n, K) -> (n,)."""
    return entr(votes / votes.sum(axis=1, keepdims=True)).sum(axis=1)


def _places(votes: Integers) -> list[Integers]:
    """Positions of the images of each of ``GROUPS``."""
    entropy = uncertainty(votes)
    divided = np.flatnonzero(entropy > 0)
    ranked = divided[np.argsort(entropy[divided], kind="stable")]
    return [np.flatnonzero(entropy == 0), *np.array_split(ranked, 3)]


def find_crowds(votes: Integers) -> list[Crowd]:
    """The images in four groups, by people's agreement."""
    shares = votes.max(axis=1) / votes.sum(axis=1)
    named = zip(GROUPS, _places(votes), strict=True)
    return [Crowd(name, len(at), float(shares[at].mean())) for name, at in named if len(at)]


def _group(
    labels: Integers,
    right: Flags,
    votes: Integers,
    counts: NDArray[np.float64],
) -> list[ImageGroup]:
    """Accuracy where all people agree, and in thirds of the other images by their entropy."""
    shares = votes[np.arange(len(labels)), labels] / votes.sum(axis=1)
    groups = []
    for name, place in zip(GROUPS, _places(votes), strict=True):
        if len(place):
            part = counts[:, place]
            with np.errstate(invalid="ignore"):
                values = part @ right[place] / part.sum(axis=1)
            share = float(shares[place].mean())
            groups.append(ImageGroup(name, len(place), share, make_interval(values)))
    return groups


@dataclass(frozen=True)
class VotesStudy:
    """People's votes by group, and each run that could be compared with them.

    Attributes:
        told: Lines on what is available, and what is missing and why.
        people: The images in four groups, by people's agreement; empty if neither the
            votes nor a record of them is available.
        compared: Runs on CIFAR-10's test images.
    """

    told: str
    people: Sequence[Crowd]
    compared: Sequence[VotesComparison]


def fitting_runs(
    runs: Sequence[Run],
) -> tuple[list[tuple[Run, Predictions]], list[str]]:
    """Runs on the official test images with their predictions, and notes on the others."""
    fitting, lines = [], []
    for run in runs:
        classes = tuple(run.record.dataset.classes)
        try:
            answers = read_answers(run)
            check_official_order(answers.labels, classes)
            fitting.append((run, answers))
        except ValueError as error:
            if classes == CIFAR10_CLASSES:  # otherwise it is another data set
                lines.append(f"{run.name} is refused: {error}")
    return fitting, [f"Runs on CIFAR-10's test images: {len(fitting)}.", *lines]


def label_observers(runs: Sequence[Run]) -> list[str]:
    """Labels of runs that all name their data set, since people saw the original images."""
    data = [run.record.dataset.title for run in runs]
    return [
        label if title in label else f"{label}, {title}"
        for label, title in zip(label_runs(runs), data, strict=True)
    ]


def load_test_images(study: VotesStudy, path: str | None = None) -> tuple[Split | None, str]:
    """CIFAR-10's test images for display, or None if not available, and a sentence.

    Nothing is downloaded. The labels must be in the official order.

    Args:
        study: If it has no runs, no images are loaded.
        path: The official archive or its folder, or an ``.npz`` file; None for the archive in the
            cache.
    """
    if not study.compared:
        return None, "No run on CIFAR-10's test images is here, so there is no image to show."
    if path is None and not is_cifar10_cached():
        kept = read_thumbnails()
        shown = "not shown" if kept is None else f"shown as far as the {len(kept)} kept ones go"
        return kept, (
            f"The images are {shown}: {CIFAR10_ARCHIVE} is not in the cache. Running "
            "notebooks/data.ipynb with -p dataset cifar10 fetches it; -p cifar10_path FILE shows "
            "those of an .npz file in the official order."
        )
    try:
        data = load_dataset("npz" if path and path.endswith(".npz") else "cifar10", path)
        check_official_order(data.test.labels, data.class_names)
    except (ValueError, OSError) as fault:
        return None, f"The images are not shown: {path or 'cache'}: {fault}"
    return data.test, f"Images from {data.title}, by their place in the test set."


def votes_table(study: VotesStudy) -> "pd.DataFrame":
    """Table of people by groups of images, and of all compared runs, with intervals over images."""
    import pandas as pd

    columns = {
        "people: images, share of the most frequent answer": {
            f"accuracy, {crowd.name}": f"{crowd.images:,}, {crowd.agreement:.1%}"
            for crowd in study.people
        }
    }
    for one in study.compared:
        columns[one.title] = {
            "accuracy": str(one.accuracy),
            **{f"accuracy, {group.name}": str(group.model) for group in one.groups},
            "kappa with their most frequent answer": str(one.kappa),
            "class-wise JS distance": str(one.class_js),
            "inter-class JS distance": str(one.inter_js),
            "wrong where all people are right": str(one.model_alone_wrong.total),
            "right where their most frequent answer is wrong": str(one.majority_alone_wrong.total),
        }
    return pd.DataFrame(columns).fillna("")
