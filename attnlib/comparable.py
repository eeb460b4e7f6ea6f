"""Which run records may stand beside a row of the thesis, and what is missing where none may."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from attnlib.config import THESIS, TrainConfig
from attnlib.cost import build_empty, count_gmac
from attnlib.runs import Run
from attnlib.thesis import Thesis

TRAINING_IMAGES = 45_000
SIZE: int = THESIS["img_size"]
# Half-precision operations a second of the data sheets, and the shares of them that small networks
# sustain in training: an assumption, wide on purpose.
GPUS = {"T4": (65e12, 0.04, 0.12), "H100": (989e12, 0.02, 0.08)}
DATASET = "cifar10"  # of the thesis's accuracies: the official pixels only, no copy of them


def wanted_run(thesis: Thesis, subject: str) -> dict[str, Any]:
    """What a run's configuration must hold to be the subject's, for the thesis's own by its recipe.

    The recipe is read from the statements, so the thesis's numbers are the only place for it.
    """
    about = thesis.subjects[subject]
    names = ("model", "pretrained", "distillation", "img_size")
    wanted = {name: about[name] for name in names if name in about}
    wanted |= {"dataset": DATASET, "limit": None}
    if about.get("teacher"):
        wanted["teacher"] = about["teacher"]
    if about["model"] == "atresnet18":
        wanted["tokens"] = TrainConfig.tokens
    if about.get("own"):
        wanted |= {
            name: int(thesis.statements[number].value) for name, number in thesis.recipe.items()
        }
    return wanted


def departures(run: Run, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Where a run's configuration is not as wanted: name to the run's value."""
    found = {name: run.config.get(name) for name in wanted}
    if "teacher" in wanted and str(run.record["teacher"]).startswith(f"{wanted['teacher']}-pretr"):
        found["teacher"] = wanted["teacher"]  # trained from ImageNet weights, as in the table
    elif "teacher" in wanted:
        found["teacher"] = run.record["teacher"]
    return {name: value for name, value in found.items() if value != wanted[name]}


def describe_run(run: Run) -> str:
    """Data, resolution, start and hardware of a run, in words."""
    record, config = run.record, run.config
    start = "from ImageNet weights" if config["pretrained"] else "from scratch"
    return (
        f"{record['dataset']['title']}, {config['img_size']} pixels, {start}, "
        f"{record['device']['name']}, {record['precision']}, run {run.name}"
    )


def what_it_needs(thesis: Thesis, subject: str, runs: Sequence[Run]) -> tuple[str, str]:
    """What the subject's run needs, with what sets the nearest record apart; and its command."""
    about, wanted = thesis.subjects[subject], wanted_run(thesis, subject)
    asked = {name: wanted[name] for name in ("model", "pretrained", "distillation", "img_size")}
    config = TrainConfig.from_params(profile="thesis", device="cpu", **asked)
    needs = "needs CIFAR-10, ImageNet weights and a graphics processor"
    if not about["pretrained"]:
        needs = needs.replace(", ImageNet weights", "")
    estimate = estimate_words(about["model"], about.get("teacher"), config.img_size)
    needs += f" (estimated: {estimate})"
    near = [run for run in runs if run.config.get("model") == about["model"]]
    if not near:
        return needs, config.command
    nearest = min(near, key=lambda run: len(departures(run, wanted)))
    others = departures(nearest, wanted)
    if "dataset" in others:
        others["dataset"] = nearest.record["dataset"]["title"]
    told = ", ".join(f"{name} {value}" for name, value in others.items())
    if set(others) == {"dataset"} and others["dataset"].startswith("CIFAR-10"):
        share = nearest.record["metrics"]["test_accuracy"]["value"]
        told += f", on which its accuracy is {share:.2%}"
    return f"{needs}; the nearest record is not comparable: {told}", config.command


@cache
def estimate_words(model: str, teacher: str | None = None, img_size: int = SIZE) -> str:
    """How long a run of the thesis's recipe would take, estimated from its multiply-adds.

    A training step costs three forward passes of the model and one of its teacher.
    """
    gmac = 3 * count_gmac(build_empty(model, img_size=img_size))
    if teacher:
        gmac += count_gmac(build_empty(teacher, img_size=img_size))
    operations = TRAINING_IMAGES * THESIS["epochs"] * gmac * 2e9
    times = []
    for gpu, (peak, low, high) in GPUS.items():
        shortest, longest = (operations / (peak * share) / 60 for share in (high, low))
        if longest >= 600:
            told = f"{shortest / 60:.0f} to {longest / 60:.0f} h"
        else:
            told = f"{shortest:.0f} to {longest:.0f} min"
        times.append(f"{told} on a {gpu}".replace("a H", "an H"))
    return ", ".join(times)
