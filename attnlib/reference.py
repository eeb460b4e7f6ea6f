"""The reference runs: the rows of ``[reference]``, their records, and what they answer."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlib.comparable import estimate_words, what_it_needs
from attnlib.config import TITLES, TrainConfig
from attnlib.parameters import parameter
from attnlib.runs import Run, find_folders, list_runs
from attnlib.statistics import Estimate, holm, mcnemar, mean_interval, paired_difference
from attnlib.thesis import Thesis

if TYPE_CHECKING:
    import pandas as pd

PROFILES = ("reference", "cpu-reference")  # of a row only the runs of the first that has any
TABLE = "experiments.toml"
HOLDS, OPPOSITE, OPEN, NOT_RUN = "holds", "the opposite holds", "not decided", "not run"


@dataclass(frozen=True)
class Params:
    """What the notebook takes."""

    results: str = parameter("results", "folder of kept run records")
    runs: str = parameter("runs", "folder of your own runs")
    table: str | None = parameter(None, "file with the rows; none: notebooks/experiments.toml")


@dataclass(frozen=True)
class Row:
    """A row of the table and the runs that were made for it, one a seed."""

    name: str
    parameters: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """The row in words."""
        model = str(self.parameters["model"])
        title = TITLES.get(model, model)
        if model.startswith("atresnet"):
            title += f" ({self.parameters.get('tokens', TrainConfig.tokens)} tokens)"
        title += ", from ImageNet weights" if self.parameters.get("pretrained") else ""
        if teacher := self.parameters.get("teacher"):
            word = TITLES.get(teacher) or TITLES.get(teacher.removesuffix("_p"), teacher)
            title += f", {self.parameters['distillation']} distillation from {word}"
        return title

    @property
    def accuracy(self) -> Estimate:
        """Of one run with Wilson's interval over images; of several their mean, t over seeds."""
        shares = [run.record["metrics"]["test_accuracy"] for run in self.runs]
        if len(shares) == 1:
            return Estimate(shares[0]["value"], shares[0]["low"], shares[0]["high"], 1)
        return mean_interval([share["value"] for share in shares])

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the first seed's run is right about each test image (n,)."""
        arrays = self.runs[0].arrays("predictions")
        right: NDArray[np.bool_] = arrays["logits"].argmax(axis=1) == arrays["labels"]
        return right


class Claim(NamedTuple):
    """``first`` minus ``second``, in test accuracy, has this sign."""

    text: str
    first: str
    second: str
    sign: int


class Answer(NamedTuple):
    """A claim, the difference that decides it, and the verdict; None: not run."""

    claim: Claim
    difference: Estimate | None
    p_holm: float
    verdict: str


CLAIMS = (
    Claim("hard distillation from ResNet-18 helps DeiT-T", "deit_t_hard", "deit_t", +1),
    Claim("soft distillation from ResNet-18 helps DeiT-T", "deit_t_soft", "deit_t", +1),
    Claim("hard distillation helps more than soft", "deit_t_hard", "deit_t_soft", +1),
    Claim("the student beats its teacher ResNet-18", "deit_t_hard", "resnet18", +1),
    Claim(
        "a student of EfficientNet-Lite0 beats its teacher",
        "deit_t_hard_efficientnet", "efficientnet_lite0_p", +1,
    ),
    Claim("AtResNet-18, channels as tokens, is below ResNet-18", "atresnet18", "resnet18", -1),
    Claim(
        "AtResNet-18, positions as tokens, is below ResNet-18", "atresnet18_spatial", "resnet18", -1
    ),
)  # fmt: skip


def read_table(table: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """The rows of ``[reference]`` by name.

    Raises:
        ValueError: If the file is not there.
    """
    beside = Path(__file__).parents[1] / "notebooks" / TABLE
    places = [Path(table)] if table else [f / TABLE for f in find_folders("notebooks")] + [beside]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise ValueError(f"table: no file {table or TABLE}; it lies in the project's notebooks/.")
    rows: dict[str, dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["reference"]
    return rows


def find_rows(rows: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> dict[str, Row]:
    """Each row with its runs: those of the profile ``reference``, or else of ``cpu-reference``.

    Runs of the two profiles are never mixed, neither in a row nor between a student and its
    teacher.
    """
    found = {}
    for profile in PROFILES:
        found[profile] = {
            name: Row(name, row, tuple(run for run in runs if _fits(run, row, rows, profile)))
            for name, row in rows.items()
        }
    has_any = {p: any(row.runs for row in found[p].values()) for p in PROFILES}
    return next((found[p] for p in PROFILES if has_any[p]), found[PROFILES[-1]])


def is_of_row(run: Run, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a run's configuration is the row's: model, start, distillation, teacher, tokens."""
    config = run.config
    wanted = {"model": row["model"], "dataset": "npz", "limit": None}
    wanted |= {"pretrained": row.get("pretrained", False)}
    wanted |= {"distillation": row.get("distillation", "none")}
    if row["model"].startswith("atresnet"):
        wanted["tokens"] = row.get("tokens", TrainConfig.tokens)
    if any(config.get(name) != value for name, value in wanted.items()):
        return False
    if "teacher" not in row:
        return True
    teacher = rows.get(row["teacher"], {"model": row["teacher"]})
    start = "pretrained-" if teacher.get("pretrained") else ""
    return str(run.record["teacher"]).startswith(f"{teacher['model']}-{start}npz-")


def _fits(
    run: Run, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], profile: str
) -> bool:
    """Whether it is a run of the row in that profile, and for all its epochs."""
    if run.config.get("profile") != profile or not is_of_row(run, row, rows):
        return False
    usual = TrainConfig.from_params(profile=profile, data_path="x", model=row["model"])
    return bool(run.config["epochs"] == usual.epochs)


def gather(params: Params) -> dict[str, Row]:
    """The rows with what ``results`` and ``runs`` hold of them."""
    folders = [folder for name in (params.results, params.runs) for folder in find_folders(name)]
    return find_rows(read_table(params.table), list_runs(*folders))


def compare(first: Row, second: Row) -> Estimate:
    """Difference in test accuracy: Newcombe's interval on the same images, or t over seeds.

    Seeds are paired where both rows have the same ones, two or more.
    """
    seeds = [{run.record["seeds"]["run"]: run for run in row.runs} for row in (first, second)]
    shared = sorted(set(seeds[0]) & set(seeds[1]))
    if len(shared) > 1:
        first_shares, second_shares = (
            np.array([own[s].record["metrics"]["test_accuracy"]["value"] for s in shared])
            for own in seeds
        )
        return mean_interval(first_shares - second_shares)
    return paired_difference(first.correct, second.correct)


def answer(rows: Mapping[str, Row], claims: Sequence[Claim] = CLAIMS) -> list[Answer]:
    """A verdict on each claim; p-values of McNemar's test, corrected for those that could be made.

    ``holds`` and ``the opposite holds`` where the whole interval lies on one side of zero and the
    corrected test agrees; ``not decided`` otherwise; ``not run`` where a row has no record.
    """
    made = [c for c in claims if rows[c.first].runs and rows[c.second].runs]
    p_values = []
    for claim in made:
        a, b = rows[claim.first].correct, rows[claim.second].correct
        p_values.append(mcnemar(int((a & ~b).sum()), int((~a & b).sum())))
    corrected = dict(zip(made, holm(p_values) if made else (), strict=True))
    answers = []
    for claim in claims:
        if claim not in corrected:
            answers.append(Answer(claim, None, 1.0, NOT_RUN))
            continue
        gap, p = compare(rows[claim.first], rows[claim.second]), float(corrected[claim])
        sure = p < 0.05 and (gap.low > 0 or gap.high < 0)
        verdict = OPEN if not sure else HOLDS if gap.value * claim.sign > 0 else OPPOSITE
        answers.append(Answer(claim, gap, p, verdict))
    return answers


def accuracy_table(rows: Mapping[str, Row]) -> "pd.DataFrame":
    """Table 8.1's shape: a row a model, with its start, teacher, size, epochs and accuracy."""
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
                "parameters": f"{run.record['cost']['parameters']:,}",
                "pixels": run.config["img_size"],
                "epochs": run.config["epochs"],
                "test accuracy [95%]": f"{share.value:.2%} [{share.low:.2%}, {share.high:.2%}]",
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def answer_table(answers: Sequence[Answer]) -> "pd.DataFrame":
    """The claims, the differences and the verdicts."""
    import pandas as pd

    lines = {}
    for claim, gap, p, verdict in answers:
        points = (
            f"{100 * gap.value:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]" if gap else ""
        )
        p_value = f"{p:.2g}" if gap else ""
        lines[claim.text] = {
            "difference, points [95%]": points, "p (McNemar, Holm)": p_value, "verdict": verdict,
        }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")


def missing_table(thesis: Thesis, runs: Sequence[Run]) -> "pd.DataFrame":
    """The thesis's own rows, from ImageNet weights: what it takes to run each, and how long."""
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


def describe(rows: Mapping[str, Row]) -> str:
    """What the runs are: profile, data, device, a line each."""
    runs = [run for row in rows.values() for run in row.runs]
    if not runs:
        return "No reference run is here: make reference DATA=FILE.npz makes them."
    record, config = runs[0].record, runs[0].config
    size = record["dataset"]["sizes"]
    return (
        f"profile {config['profile']}: {config['img_size']} pixels, {config['epochs']} epochs\n"
        f"{record['dataset']['title']}, {size['train']:,} training images\n"
        f"on {record['device']['name']}"
    )
