"""Comparison of runs with predictions on the same test images; others are left out by name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnlib.data.datasets import Split
from attnlib.parameters import parameter, parse_params
from attnlib.records.answers import find_images, read_answers
from attnlib.records.find import load_run
from attnlib.records.labels import label_runs
from attnlib.records.run import Run
from attnlib.stats.intervals import Estimate, Proportion, mean_interval, wilson_interval
from attnlib.training.predict import Predictions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ErrorsConfig:
    """Parameters of the errors notebook."""

    runs: str | None = parameter(None, "names with commas between; none: all with the same data")
    data_path: str | None = parameter(None, "file or folder of the images, for npz and folder")
    images: int = parameter(8, "images shown of each set", low=1, high=100)
    seed: int = parameter(0, "of the bootstrap", low=0)
    runs_dir: str = parameter("runs", "where runs are, beside results")

    @classmethod
    def from_params(cls, **params: Any) -> "ErrorsConfig":
        """Check ``params``.

        Raises:
            ValueError: Naming each unknown or bad parameter and the valid ones.
        """
        return cls(**parse_params(cls, params))

    @property
    def names(self) -> list[str]:
        """The requested runs, in order; empty for all."""
        return [name.strip() for name in self.runs.split(",")] if self.runs else []


@dataclass(frozen=True)
class Comparison:
    """Predictions of two or more runs on the same test images, with the same classes in order."""

    runs: dict[str, Run]  # by display name
    logits: dict[str, npt.NDArray[np.float32]]  # each (n, K)
    labels: Ints  # (n,)
    class_names: tuple[str, ...]
    left_out: dict[str, str]  # name of a run and why it was left out

    @property
    def names(self) -> tuple[str, ...]:
        """The runs, in order."""
        return tuple(self.runs)

    @property
    def pair(self) -> tuple[str, str]:
        """A student and its teacher, as in the thesis's Fig. 8.1, or else the first two runs.

        Those whose weights are kept are preferred, then hard distillation from ResNet-18, the
        thesis's.
        """
        by_folder = {run.name: name for name, run in self.runs.items()}
        pairs = [
            (name, by_folder[run.record.teacher])
            for name, run in self.runs.items()
            if run.record.teacher in by_folder
        ]

        def is_other(pair: tuple[str, str]) -> tuple[bool, bool]:
            student, teacher = (self.runs[name] for name in pair)
            is_kept = student.record.kept_weights and teacher.record.kept_weights
            recipe = student.config["distillation"], teacher.config["model"]
            return not is_kept, recipe != ("hard", "resnet18")

        return min(pairs, key=is_other, default=(self.names[0], self.names[1]))

    def decisions(self, name: str) -> Ints:
        """The class that run ``name`` predicted for each image (n,)."""
        return self.logits[name].argmax(axis=1)

    def correct(self, name: str) -> npt.NDArray[np.bool_]:
        """Whether run ``name`` classified each image correctly (n,)."""
        return self.decisions(name) == self.labels

    def accuracy(self, name: str) -> Proportion:
        """Accuracy of run ``name`` with its interval over images."""
        return wilson_interval(int(self.correct(name).sum()), len(self.labels))

    def seeds_of(self, name: str) -> list[str]:
        """The runs that differ from ``name`` only in the seed, including itself."""
        return self._by_recipe[self.runs[name].recipe]

    @cached_property
    def _by_recipe(self) -> dict[str, list[str]]:
        """The runs of each recipe, in order; made once, since every run asks for its own."""
        groups: dict[str, list[str]] = {}
        for name, run in self.runs.items():
            groups.setdefault(run.recipe, []).append(name)
        return groups

    def over_seeds(self, name: str) -> Estimate:
        """Mean accuracy of all runs that differ from ``name`` only in the seed.

        Its t-interval is clipped to [0, 1].
        """
        mean = mean_interval([self.accuracy(other).value for other in self.seeds_of(name)])
        if mean.n == 1:
            return mean
        return mean._replace(low=max(mean.low, 0.0), high=min(mean.high, 1.0))

    def __str__(self) -> str:
        data = next(iter(self.runs.values())).record.dataset
        lines = [
            f"{len(self.runs)} runs on the {len(self.labels)} test images of {data.title}, "
            f"{len(self.class_names)} classes:",
            *(f"  {name}" for name in self.names),
            *(f"left out: {name}: {reason}" for name, reason in self.left_out.items()),
        ]
        return "\n".join(lines)


def compare_runs(folders: dict[str, Path]) -> Comparison:
    """Compare runs; those with other data, classes or labels are left out, with the reason.

    A run is included if its record has this version's schema, its predictions exist, and data,
    order of classes and labels are those that most of the kept runs share, or, if none is kept in
    ``results``, most of all runs; ties go to the first.

    Raises:
        ValueError: If fewer than two are left, with the reason for each that is not.
    """
    left_out: dict[str, str] = {}
    runs: dict[str, Run] = {}
    answers: dict[str, Predictions] = {}
    for name, folder in folders.items():
        try:
            run = load_run(folder)
            answers[name] = read_answers(run)
            runs[name] = run
        except (ValueError, OSError) as fault:
            left_out[name] = str(fault).replace(f"{folder / 'record.json'}: ", "")
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        groups.setdefault(run.record.dataset.sha256, []).append(name)

    def weight(names: list[str]) -> tuple[bool, int, int]:
        kept = sum(folders[name].parent.name == "results" for name in names)
        return len(names) > 1, kept, len(names)

    first = max(groups.values(), key=weight)[0] if groups else ""
    for name in list(runs):
        fault_found = _difference(runs[name], answers[name], runs[first], answers[first])
        if fault_found:
            left_out[name] = fault_found
            del runs[name]
    if len(runs) < 2:
        told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "none"
        raise ValueError(
            f"runs: expected two or more to compare; got {len(runs)}. Left out: {told}"
        )
    labels = dict(zip(runs, label_runs(list(runs.values())), strict=True))
    return Comparison(
        {labels[name]: run for name, run in runs.items()},
        {labels[name]: answers[name].logits for name in runs},
        answers[first].labels,
        tuple(runs[first].record.dataset.classes),
        left_out,
    )


def load_images(comparison: Comparison, data_path: str | None = None) -> tuple[Split | None, str]:
    """The runs' test images and a sentence about them: ``find_images`` of one of the runs."""
    return find_images(next(iter(comparison.runs.values())), data_path)


def _difference(run: Run, own: Predictions, first: Run, theirs: Predictions) -> str:
    """How the data of ``run`` differ from those of ``first``; empty if they don't."""
    mine, its = run.record.dataset, first.record.dataset
    if mine.classes != its.classes:
        same = sorted(mine.classes) == sorted(its.classes)
        return "its classes are in another order" if same else "it has other classes"
    if mine.sha256 != its.sha256:
        return f"it is about other data: {mine.title}, {mine.sha256[:12]}..."
    if not np.array_equal(own.labels, theirs.labels):
        return "its labels differ from those of the others"
    return ""
