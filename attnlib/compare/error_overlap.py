"""Whose errors a network makes: error consistency between the rows of the reference.

Kappa (eq. 5.6) of every pair of networks, beside the largest that their accuracies allow. A
taught network is more accurate, which alone changes kappa, so questions are asked of Yule's Y, the
kappa of accuracies made even. Intervals are over seeds and images: the jackknife over seeds gives
each seed's part (Arvesen 1969), the bootstrap over images what they share (Klein et al. 2025,
arXiv:2507.06645), and ``crossed_interval`` puts the two together.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from attnlib.arrays import Flags, Floats
from attnlib.compare.reference_runs import (
    ReferenceRow,
    pair_runs,
    seed_of,
    verdict_on,
)
from attnlib.human.bootstrap import kappa_rows
from attnlib.records.answers import read_answers
from attnlib.seeding import make_rng
from attnlib.stats.consistency import kappa_limit
from attnlib.stats.crossed import CrossedMean, crossed_interval
from attnlib.stats.intervals import HOLDS, NOT_RUN, OPEN, OPPOSITE, holm, p_words

if TYPE_CHECKING:
    import pandas as pd

RESAMPLED = 1000  # resamples of the images


class Pairing(NamedTuple):
    """Networks of two rows that are set beside each other.

    ``seeds`` says which: "same", so that a student meets its own teacher; "different", so that it
    meets others of its teacher's kind, or networks of one row meet each other; or "all".
    """

    first: str
    second: str
    seeds: str = "all"


class Overlap(NamedTuple):
    """Kappa of a pairing beside its limit; None if not run."""

    text: str
    pairing: Pairing
    kappa: CrossedMean | None
    limit: float  # the largest kappa, mean over pairs of networks
    even: CrossedMean | None  # Yule's Y
    pairs: tuple[float, ...]  # kappa of each pair of networks


class Question(NamedTuple):
    """A claim that the errors of one pairing have more in common than those of another."""

    text: str
    more: Pairing
    less: Pairing


class Reply(NamedTuple):
    """A question, the difference in Yule's Y (None if not run), and the verdict."""

    question: Question
    difference: CrossedMean | None
    p_holm: float
    verdict: str


class Student(NamedTuple):
    """A taught DeiT-T between two kinds: its teacher's, and DeiT-T without a teacher."""

    text: str
    taught: str
    untaught: str
    teacher: str

    @property
    def questions(self) -> tuple[Question, Question, Question]:
        """Whether it errs more like its teacher, like its own, and still like a transformer."""
        own = Pairing(self.taught, self.teacher, "same")
        return (
            Question(
                f"{self.text}: errs more like its teacher than untaught",
                own,
                Pairing(self.untaught, self.teacher, "same"),
            ),
            Question(
                f"{self.text}: errs more like its teacher than like another ResNet-18",
                own,
                Pairing(self.taught, self.teacher, "different"),
            ),
            Question(
                f"{self.text}: errs more like an untaught DeiT-T than ResNet-18 does",
                Pairing(self.taught, self.untaught, "different"),
                Pairing(self.teacher, self.untaught, "different"),
            ),
        )


STUDENTS = (
    Student("taught hard", "deit_t_hard", "deit_t", "resnet18"),
    Student("taught softly", "deit_t_soft", "deit_t", "resnet18"),
    Student("pretrained and taught hard", "deit_t_dp", "deit_t_p", "resnet18_p"),
)
PAIRINGS = {
    "ResNet-18, two seeds": Pairing("resnet18", "resnet18", "different"),
    "DeiT-T, two seeds": Pairing("deit_t", "deit_t", "different"),
    "DeiT-T taught hard, two seeds": Pairing("deit_t_hard", "deit_t_hard", "different"),
    "DeiT-T taught softly, two seeds": Pairing("deit_t_soft", "deit_t_soft", "different"),
    "DeiT-T and ResNet-18": Pairing("deit_t", "resnet18"),
    "DeiT-T taught hard, and its teacher": Pairing("deit_t_hard", "resnet18", "same"),
    "DeiT-T taught hard, and another ResNet-18": Pairing("deit_t_hard", "resnet18", "different"),
    "DeiT-T taught softly, and its teacher": Pairing("deit_t_soft", "resnet18", "same"),
    "DeiT-T taught softly, and another ResNet-18": Pairing("deit_t_soft", "resnet18", "different"),
    "DeiT-T taught hard, and one untaught": Pairing("deit_t_hard", "deit_t", "different"),
    "DeiT-T taught softly, and one untaught":
        Pairing("deit_t_soft", "deit_t", "different"),
    "pretrained ResNet-18, two seeds": Pairing("resnet18_p", "resnet18_p", "different"),
    "pretrained DeiT-T, two seeds": Pairing("deit_t_p", "deit_t_p", "different"),
    "pretrained DeiT-T and pretrained ResNet-18": Pairing("deit_t_p", "resnet18_p"),
    "pretrained DeiT-T taught hard, and its teacher": Pairing("deit_t_dp", "resnet18_p", "same"),
    "pretrained DeiT-T taught hard, and another pretrained ResNet-18":
        Pairing("deit_t_dp", "resnet18_p", "different"),
    "pretrained DeiT-T taught hard, and one untaught":
        Pairing("deit_t_dp", "deit_t_p", "different"),
}  # fmt: skip


def measure_overlaps(
    rows: Mapping[str, ReferenceRow], pairings: Mapping[str, Pairing] | None = None
) -> list[Overlap]:
    """Kappa of each pairing beside its limit, and Yule's Y, with intervals."""
    return [
        _overlap(text, pairing, rows)
        for text, pairing in (PAIRINGS if pairings is None else pairings).items()
    ]


def reply(
    rows: Mapping[str, ReferenceRow], questions: Sequence[Question] | None = None
) -> list[Reply]:
    """A verdict on each question, with p-values corrected for those that could be tested."""
    if questions is None:
        questions = [question for student in STUDENTS for question in student.questions]
    gaps = {}
    for question in questions:
        networks = _Networks.of(rows, question.more, question.less)
        if networks and (gap := networks.estimate(_even, question.more, question.less)):
            gaps[question] = gap
    corrected = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    replies = []
    for question in questions:
        if question not in gaps:
            replies.append(Reply(question, None, 1.0, NOT_RUN))
            continue
        gap, p = gaps[question], float(corrected[question])
        replies.append(Reply(question, gap, p, verdict_on(gap.value, p)))
    return replies


def between(replies: Sequence[Reply], students: Sequence[Student] = STUDENTS) -> dict[str, str]:
    """Whether each student lies between its teacher's kind and DeiT-T without a teacher.

    It does if it errs more like either than the two err like each other; it does not if one of
    these is surely the other way round.
    """
    verdicts = {one.question: one.verdict for one in replies}
    found = {}
    for student in students:
        towards, _, kin = student.questions
        both = {verdicts[towards], verdicts[kin]}
        found[student.text] = next(
            (verdict for verdict in (NOT_RUN, OPPOSITE, OPEN) if verdict in both), HOLDS
        )
    return found


def overlap_table(overlaps: Sequence[Overlap]) -> "pd.DataFrame":
    """Table of kappas beside their limits."""
    import pandas as pd

    lines = {}
    for one in overlaps:
        lines[one.text] = {
            "kappa [95%]": _numbers(one.kappa),
            "largest possible": f"{one.limit:.2f}" if one.kappa else "",
            "Yule's Y [95%]": _numbers(one.even),
            "pairs": len(one.pairs),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("networks")


def reply_table(replies: Sequence[Reply]) -> "pd.DataFrame":
    """Table of questions, differences and verdicts."""
    import pandas as pd

    lines = {}
    for question, gap, p, verdict in replies:
        lines[question.text] = {
            "difference in Y [95%]": _numbers(gap, "+"),
            "seeds": gap.seeds if gap else "",
            "p (Holm)": p_words(p) if gap else "",
            "verdict": verdict,
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("question")


def _numbers(mean: CrossedMean | None, sign: str = "") -> str:
    if mean is None:
        return NOT_RUN
    value, low, high = (format(number, f"{sign}.3f") for number in mean[:3])
    return f"{value} [{low}, {high}]"


Measure = Callable[[Flags, Flags, Floats], Floats]


def _limit(a: Flags, b: Flags, counts: Floats) -> Floats:
    """The largest kappa in each row of ``counts``."""
    trials = counts.sum(axis=1)
    return kappa_limit(counts @ a / trials, counts @ b / trials)


def _even(a: Flags, b: Flags, counts: Floats) -> Floats:
    """``yules_y`` in each row of ``counts``."""
    agree, differ = (
        np.sqrt((counts @ first) * (counts @ second))
        for first, second in ((a & b, ~a & ~b), (a & ~b, ~a & b))
    )
    same = (counts @ (a != b) == 0).astype(np.float64)
    return np.divide(agree - differ, agree + differ, out=same, where=agree + differ > 0)


class _Networks:
    """The networks of some rows with common seeds: right or wrong on the images, resampled.

    Images on which all of them do the same are drawn together, by a multinomial over the distinct
    patterns: the distribution is the same, and there are far fewer patterns than images.
    """

    def __init__(self, outcomes: Mapping[tuple[str, int], Flags], seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        table = np.stack(list(outcomes.values()))  # (networks, n)
        patterns, times = np.unique(table, axis=1, return_counts=True)
        self.images = table.shape[1]
        self.correct = dict(zip(outcomes, patterns, strict=True))
        rng = make_rng(0, "error overlap")
        drawn = rng.multinomial(self.images, times / self.images, size=RESAMPLED)
        self.counts = np.concatenate([times[None], drawn]).astype(np.float64)
        self.known: dict[tuple[Measure, str, int, str, int], Floats] = {}

    @classmethod
    def of(cls, rows: Mapping[str, ReferenceRow], *pairings: Pairing) -> "_Networks | None":
        """The networks of these pairings' rows; None if one was not run."""
        names = sorted({name for one in pairings for name in (one.first, one.second)})
        asked = [rows[name] for name in names]
        if not all(row.runs for row in asked):
            return None
        groups = pair_runs(*asked)
        seeds = [seed_of(group[0]) for group in groups]
        outcomes = {
            (name, seed): read_answers(run).correct
            for seed, group in zip(seeds, groups, strict=True)
            for name, run in zip(names, group, strict=True)
        }
        return cls(outcomes, seeds)

    def pairs(self, pairing: Pairing, seeds: Sequence[int]) -> list[tuple[int, int]]:
        """Seeds of each pair of networks in ``pairing``."""
        chosen = [
            (a, b)
            for a, b in product(seeds, seeds)
            if pairing.seeds == "all" or (a == b) == (pairing.seeds == "same")
        ]
        return [(a, b) for a, b in chosen if a < b] if pairing.first == pairing.second else chosen

    def of_pair(self, measure: Measure, pairing: Pairing, a: int, b: int) -> Floats:
        """The measure of one pair of networks, in the sample and in each resample (R + 1,)."""
        key = (measure, pairing.first, a, pairing.second, b)
        if key not in self.known:
            first, second = self.correct[pairing.first, a], self.correct[pairing.second, b]
            self.known[key] = measure(first, second, self.counts)
        return self.known[key]

    def mean(self, measure: Measure, pairing: Pairing, seeds: Sequence[int]) -> Floats | None:
        """The mean over pairs of networks with these seeds (R + 1,); None if there is none."""
        each = [self.of_pair(measure, pairing, a, b) for a, b in self.pairs(pairing, seeds)]
        return np.mean(each, axis=0) if each else None

    def gap(
        self, measure: Measure, seeds: Sequence[int], more: Pairing, less: Pairing | None
    ) -> Floats | None:
        """The mean of one pairing, less that of another (R + 1,)."""
        first = self.mean(measure, more, seeds)
        second = self.mean(measure, less, seeds) if less else np.zeros(1)
        return None if first is None or second is None else first - second

    def estimate(
        self, measure: Measure, more: Pairing, less: Pairing | None = None
    ) -> CrossedMean | None:
        """Mean of a pairing, less that of another, with its interval over seeds and images.

        Each seed's part is its pseudo-value in the jackknife over seeds. A single seed has an
        interval over images only. None if there are too few seeds for either.
        """
        whole = self.gap(measure, self.seeds, more, less)
        if whole is None:
            return None
        if len(self.seeds) == 1:
            return crossed_interval(whole[:1], [[whole[1:].var(ddof=1)]], self.images)
        parts = []
        for left_out in self.seeds:
            rest = self.gap(measure, [s for s in self.seeds if s != left_out], more, less)
            if rest is None:
                return None
            parts.append(len(self.seeds) * whole - (len(self.seeds) - 1) * rest)
        values = np.array([part[0] for part in parts])
        values += whole[0] - values.mean()  # the jackknife's correction of the mean is left out
        covariance = np.cov([part[1:] for part in parts])
        return crossed_interval(values, covariance, self.images)


def _overlap(text: str, pairing: Pairing, rows: Mapping[str, ReferenceRow]) -> Overlap:
    networks = _Networks.of(rows, pairing)
    kappa = networks.estimate(kappa_rows, pairing) if networks else None
    if networks is None or kappa is None:
        return Overlap(text, pairing, None, float("nan"), None, ())
    seeds = networks.pairs(pairing, networks.seeds)
    limits = [networks.of_pair(_limit, pairing, a, b)[0] for a, b in seeds]
    each = [float(networks.of_pair(kappa_rows, pairing, a, b)[0]) for a, b in seeds]
    even = networks.estimate(_even, pairing)
    return Overlap(text, pairing, kappa, float(np.mean(limits)), even, tuple(each))
