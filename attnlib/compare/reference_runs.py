"""The reference runs: the rows of ``[reference]``, their records, and verdicts on claims."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attnlib.catalogue import TITLES
from attnlib.config import (
    PROFILES,
    TrainConfig,
    complete_values,
    profile_defaults,
    row_parameters,
)
from attnlib.parameters import parameter
from attnlib.records.answers import read_answers
from attnlib.records.find import find_folders, list_runs
from attnlib.records.run import Run
from attnlib.stats.crossed import CrossedMean, crossed_mean
from attnlib.stats.intervals import (
    ALPHA,
    HOLDS,
    NOT_RUN,
    OPEN,
    OPPOSITE,
    Estimate,
    holm,
    p_words,
)
from attnlib.thesis.statements import Thesis
from attnlib.thesis.verdicts import estimate_words, what_it_needs

if TYPE_CHECKING:
    import pandas as pd

COUNTED_PROFILES = ("reference", "cpu-reference")  # the first with any runs is used
TABLE = "experiments.toml"


@dataclass(frozen=True)
class ReferenceParams:
    """Parameters of the reference notebook."""

    results: str = parameter("results", "folder of kept run records")
    runs: str = parameter("runs", "folder of your own runs")
    table: str | None = parameter(None, "file with the rows; none: notebooks/experiments.toml")


@dataclass(frozen=True)
class ReferenceRow:
    """A row of the table and its runs, one per seed."""

    name: str
    parameters: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """The row's title."""
        model = str(self.parameters["model"])
        title = TITLES.get(model, model)
        if model.startswith("atresnet"):
            title += f" ({self.parameters.get('tokens', TrainConfig.tokens)} tokens)"
        title += ", from ImageNet weights" if self.parameters.get("pretrained") else ""
        if self.parameters.get("initial_checkpoint"):
            title += ", pretrained on Tiny-ImageNet"
        if teacher := self.parameters.get("teacher"):
            word = TITLES.get(teacher) or TITLES.get(teacher.removesuffix("_p"), teacher)
            title += f", {self.parameters['distillation']} distillation from {word}"
        for name in ("alpha", "temperature"):
            if name in self.parameters:
                title += f", {name} {self.parameters[name]}"
        return title

    @property
    def epochs(self) -> int:
        """The length of its runs' training; a row has at least one run."""
        return int(self.runs[0].config["epochs"])

    @property
    def accuracy(self) -> Estimate:
        """Accuracy: of one run with Wilson's interval, of several over seeds and images."""
        if len(self.runs) == 1:
            share = self.runs[0].record.metrics.test_accuracy
            return Estimate(share.value, share.low, share.high, 1)
        mean = crossed_mean([read_answers(run).correct for run in self.runs])
        return Estimate(mean.value, max(mean.low, 0.0), min(mean.high, 1.0), mean.seeds)


class RunClaim(NamedTuple):
    """A claim about the sign of a difference in test accuracy, ``first`` minus ``second``.

    With ``control``, two more rows, it is about a difference of two differences: theirs is
    subtracted.
    """

    text: str
    first: str
    second: str
    sign: int
    control: tuple[str, str] | tuple[()] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of its rows: two, or four."""
        return self.first, self.second, *self.control


class Answer(NamedTuple):
    """A claim, the difference that decides it (None if not run), and the verdict."""

    claim: RunClaim
    difference: CrossedMean | None
    p_holm: float
    verdict: str


# fmt: off
RUN_CLAIMS = (
    RunClaim("pretraining helps DeiT-T", "deit_t_p", "deit_t", +1),
    RunClaim("pretraining helps ResNet-18", "resnet18_p", "resnet18", +1),
    RunClaim("pretraining helps DeiT-T more than ResNet-18", "deit_t_p", "deit_t", +1,
             control=("resnet18_p", "resnet18")),
    RunClaim("hard distillation helps DeiT-T", "deit_t_hard", "deit_t", +1),
    RunClaim("soft distillation helps DeiT-T", "deit_t_soft", "deit_t", +1),
    RunClaim("soft distillation as in DeiT's code helps DeiT-T", "deit_t_soft_code", "deit_t", +1),
    RunClaim("soft distillation as in DeiT's paper helps DeiT-T",
             "deit_t_soft_paper", "deit_t", +1),
    RunClaim("hard distillation helps more than soft", "deit_t_hard", "deit_t_soft", +1),
    RunClaim("hard distillation helps more than soft as in DeiT's code",
             "deit_t_hard", "deit_t_soft_code", +1),
    RunClaim("hard distillation helps more than soft as in DeiT's paper",
             "deit_t_hard", "deit_t_soft_paper", +1),
    RunClaim("hard distillation helps DeiT-T after pretraining", "deit_t_dp", "deit_t_p", +1),
    RunClaim("the student beats its teacher ResNet-18", "deit_t_hard", "resnet18", +1),
    RunClaim("after pretraining, the student beats its teacher", "deit_t_dp", "resnet18_p", +1),
    RunClaim("AtResNet-18, channels as tokens, is below ResNet-18",
             "atresnet18_p", "resnet18_p", -1),
    RunClaim("AtResNet-18, positions as tokens, is below ResNet-18",
             "atresnet18_spatial_p", "resnet18_p", -1),
)
# fmt: on


def read_table(table: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """The rows of ``[reference]`` by name.

    Raises:
        ValueError: If the file is missing.
    """
    beside = Path(__file__).parents[2] / "notebooks" / TABLE
    places = [Path(table)] if table else [f / TABLE for f in find_folders("notebooks")] + [beside]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise ValueError(f"table: no file {table or TABLE}; it lies in the project's notebooks/.")
    rows: dict[str, dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["reference"]
    return rows


def find_rows(
    rows: Mapping[str, Mapping[str, Any]], kept: Sequence[Run], own: Sequence[Run] = ()
) -> dict[str, ReferenceRow]:
    """Each row with its runs of the profile ``reference``, or else of ``cpu-reference``.

    Runs of the two profiles are never mixed, and those on other data than most kept ones (own ones,
    if none is kept), such as the runs that others start from, are left out; so are runs that depart
    from their profile otherwise than their row does, e.g. in their epochs.

    Raises:
        ValueError: If two runs of a row have the same seed.
    """
    kept, own = _on_the_same_data(kept, own)
    for profile in COUNTED_PROFILES:
        found = {
            name: ReferenceRow(name, row, _runs_of(name, profile, rows, kept, own))
            for name, row in rows.items()
        }
        if any(row.runs for row in found.values()):
            break
    return found


def _on_the_same_data(kept: Sequence[Run], own: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs on the data set of most kept ones, or of most own ones if none is kept."""
    counts = Counter(run.record.dataset.sha256 for run in kept or own)
    data = counts.most_common(1)[0][0] if counts else ""
    kept, own = ([r for r in runs if r.record.dataset.sha256 == data] for runs in (kept, own))
    return kept, own


def is_of_row(run: Run, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a run's model, start, distillation, teacher and tokens are the row's."""
    config = complete_values(run.config)
    wanted = {"model": row["model"], "dataset": "npz", "limit": None}
    wanted |= {"pretrained": row.get("pretrained", False)}
    wanted |= {"distillation": row.get("distillation", "none")}
    profile = config["profile"]
    wanted |= {"img_size": (PROFILES[profile] | row_parameters(row, profile))["img_size"]}
    for name in ("tokens", "stem", "alpha", "temperature"):
        wanted[name] = row.get(name, getattr(TrainConfig, name))
    if any(config.get(name) != value for name, value in wanted.items()):
        return False
    if bool(config["initial_checkpoint"]) != bool(row.get("initial_checkpoint")):
        return False
    if "teacher" not in row:
        return True
    teacher = rows.get(row["teacher"], {"model": row["teacher"]})
    start = "pretrained-" if teacher.get("pretrained") else ""
    start += "finetuned-" if teacher.get("initial_checkpoint") else ""
    return str(run.record.teacher).startswith(f"{teacher['model']}-{start}npz-")


def _runs_of(
    name: str,
    profile: str,
    rows: Mapping[str, Mapping[str, Any]],
    kept: Sequence[Run],
    own: Sequence[Run],
) -> tuple[Run, ...]:
    """The runs of a row in one profile, by seed; a kept one goes before an own one of its seed."""
    kept, own = (
        [
            run
            for run in runs
            if run.config.get("profile") == profile
            and is_of_row(run, rows[name], rows)
            and is_of_profile(run, rows[name])
        ]
        for runs in (kept, own)
    )
    seeds = {seed_of(run) for run in kept}
    found = [*kept, *(run for run in own if seed_of(run) not in seeds)]
    if len({seed_of(run) for run in found}) < len(found):
        raise ValueError(f"{name}: two runs of one seed: {', '.join(run.name for run in found)}")
    return tuple(sorted(found, key=seed_of))


def is_of_profile(run: Run, row: Mapping[str, Any]) -> bool:
    """Whether only the seed differs from the profile and what the row changes in it."""
    profile = run.config["profile"]
    given = {name: run.config.get(name) for name in ("model", "distillation", "dataset")}
    usual = profile_defaults(profile, given) | row_parameters(row, profile)
    apart = ("teacher", "initial_checkpoint")  # a row's name, not yet a run's
    return all(run.config.get(name) == value for name, value in usual.items() if name not in apart)


def seed_of(run: Run) -> int:
    """The seed that distinguishes the runs of a row."""
    return run.record.seeds.run


def gather_rows(params: ReferenceParams) -> dict[str, ReferenceRow]:
    """The rows with their runs in ``results`` and ``runs``."""
    kept, own = (list_runs(*find_folders(name)) for name in (params.results, params.runs))
    return find_rows(read_table(params.table), kept, own)


def pair_runs(*rows: ReferenceRow) -> list[tuple[Run, ...]]:
    """The rows' runs with the same seed, one tuple for each seed, or else the first of each row.

    Raises:
        ValueError: If they were tested on different data.
    """
    data = {run.record.dataset.sha256 for row in rows for run in row.runs}
    if len(data) > 1:
        names = " and ".join(dict.fromkeys(row.name for row in rows))
        raise ValueError(f"{names} were tested on different data")
    by_seed = [{seed_of(run): run for run in row.runs} for row in rows]
    shared = sorted(set.intersection(*(set(runs) for runs in by_seed)))
    each = [tuple(runs[seed] for runs in by_seed) for seed in shared]
    return each or [tuple(row.runs[0] for row in rows)]


def compare(*rows: ReferenceRow) -> CrossedMean:
    """Difference in test accuracy of two rows, paired by image and, where they share any, by seed.

    Of four rows: the difference of the first two, less that of the last two.
    """
    return crossed_mean([_gap(*runs) for runs in pair_runs(*rows)])


def _gap(first: Run, second: Run, *control: Run) -> npt.NDArray[np.int64]:
    """How much more often the first run is right on each image (n,), less the same of control."""
    correct = [read_answers(run).correct.astype(np.int64) for run in (first, second)]
    return correct[0] - correct[1] - (_gap(*control) if control else 0)


def answer(
    rows: Mapping[str, ReferenceRow], claims: Sequence[RunClaim] = RUN_CLAIMS
) -> list[Answer]:
    """A verdict on each claim, with p-values corrected for the number of those that were tested.

    ``holds`` or ``the opposite holds`` if the corrected p-value is below 0.05, ``not decided``
    otherwise, and ``not run`` if one of its rows has no run. Intervals and p-values are those of
    ``crossed_mean``, over seeds and images.
    """
    gaps = {}
    for claim in claims:
        asked = [rows[name] for name in claim.rows]
        if all(row.runs for row in asked):
            gaps[claim] = compare(*asked)
    corrected = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    answers = []
    for claim in claims:
        if claim not in gaps:
            answers.append(Answer(claim, None, 1.0, NOT_RUN))
            continue
        gap, p = gaps[claim], float(corrected[claim])
        answers.append(Answer(claim, gap, p, verdict_on(gap.value * claim.sign, p)))
    return answers


def verdict_on(difference: float, p: float) -> str:
    """The verdict on a claim that ``difference`` is above 0, by its corrected p-value."""
    return OPEN if p >= ALPHA else HOLDS if difference > 0 else OPPOSITE


def reference_table(rows: Mapping[str, ReferenceRow]) -> "pd.DataFrame":
    """A table like 8.1: one row per model, with its start, teacher, size, epochs and accuracy."""
    import pandas as pd

    lines = {}
    for row in rows.values():
        lines[row.title] = {
            "parameters": "", "pixels": "", "epochs": "", "seeds": len(row.runs),
            "test accuracy [95%]": NOT_RUN,
        }  # fmt: skip
        if row.runs:
            run, share = row.runs[0], row.accuracy
            lines[row.title] |= {
                "parameters": f"{run.record.cost.parameters:,}",
                "pixels": run.config["img_size"],
                "epochs": row.epochs,
                "test accuracy [95%]": f"{share.value:.2%} [{share.low:.2%}, {share.high:.2%}]",
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def answer_table(answers: Sequence[Answer]) -> "pd.DataFrame":
    """Table of claims, differences and verdicts."""
    import pandas as pd

    lines = {}
    for claim, gap, p, verdict in answers:
        points = (
            f"{100 * gap.value:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]" if gap else ""
        )
        lines[claim.text] = {
            "difference, points [95%]": points, "seeds": gap.seeds if gap else "",
            "p (Holm)": p_words(p) if gap else "", "verdict": verdict,
        }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")


def missing_table(thesis: Thesis, runs: Sequence[Run]) -> "pd.DataFrame":
    """Table of the thesis's rows from ImageNet weights: what each needs, and how long it takes."""
    import pandas as pd

    lines = {}
    for name, about in thesis.subjects.items():
        if about.get("own"):
            _, command = what_it_needs(thesis, name, runs)
            lines[about["title"]] = {
                "estimated time": estimate_words(about["model"], about.get("teacher")),
                "command": command,
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("row")


def describe(rows: Mapping[str, ReferenceRow]) -> str:
    """Describe the runs: profile, data, device, one line each."""
    runs = [run for row in rows.values() for run in row.runs]
    if not runs:
        return (
            "No reference run is here: make reference DATA=FILE.npz PRETRAIN=FILE.npz makes them."
        )
    record, config = runs[0].record, runs[0].config
    size = record.dataset.sizes
    devices = dict.fromkeys(run.record.device.name for run in runs)
    hours = sum(run.record.cost.wall_seconds for run in runs) / 3600
    return (
        f"profile {config['profile']}: {config['img_size']} pixels, {config['epochs']} epochs\n"
        f"{record.dataset.title}, {size.train:,} training images\n"
        f"{len(runs)} run{'s' * (len(runs) > 1)}, {hours:.1f} hours in all, on {', '.join(devices)}"
    )
