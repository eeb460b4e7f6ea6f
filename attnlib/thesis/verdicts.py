"""Verdicts on what the thesis states, each by what kind of evidence can speak to it.

*Reproduced*: ours agrees, within the interval or within the printed digits. *Differs*: it does
not, by how much and why it may be. *Corrected*: the thesis contradicts itself, or a fact that can
be looked up or counted. *Not run*: what it would take. Nothing is compared with a number of
another data set, resolution, start or recipe; hardware is named beside every speed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from attnlib.config import THESIS, TrainConfig
from attnlib.cost.measure import build_empty, count_gmac
from attnlib.cost.scaling import FIT_FROM, exponents
from attnlib.records.measurements import Measurements, Row, select
from attnlib.records.run import Run
from attnlib.stats.intervals import mean_interval
from attnlib.thesis.counts import (
    MEMORY_BATCH,
    Printed,
    Values,
    count,
    count_statement,
    subject_given,
)
from attnlib.thesis.statements import Statement, Thesis, Value, evaluate, names_in

VERDICTS = ("corrected", "differs", "reproduced", "not run")
MILLION = {"M": 1e6}  # counts that the thesis prints in millions
COST_COMMAND = "papermill notebooks/cost.ipynb OUT.ipynb -p models all -p save results/measurements"
ABOUT = 0.1  # of a fitted power, whose interval holds the scatter but not the bend of the line


class Verdict(NamedTuple):
    """A verdict, what ours is, how we know or what is missing, and the command that makes it."""

    verdict: str
    ours: str
    why: str
    number: float | None = None  # ours in the statement's unit, where a claim may rest on it
    command: str = ""


@dataclass(frozen=True)
class Evidence:
    """What is at hand: run records, measurements, and what was left out, with the reason."""

    runs: tuple[Run, ...]
    costs: tuple[Measurements, ...]
    scalings: tuple[Measurements, ...]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        files = len(self.costs) + len(self.scalings)
        lines = [f"run records: {len(self.runs)}, measurement files: {files}"]
        return "\n".join(
            lines + [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        )


def judge(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    """The verdict on one statement, with its note and erratum."""
    verdict = JUDGES[statement.join](statement, values, evidence)
    about = values.thesis.subjects.get(statement.subject, {})
    apart = about.get("apart", "") if statement.quantity == "accuracy" else ""
    erratum = f"erratum {statement.erratum}" if statement.erratum else ""
    notes = [verdict.why, apart, values.fill(statement.note), erratum]
    return verdict._replace(why="; ".join(note for note in notes if note))


def agreement(statement: Statement, ours: Value) -> str:
    """How ours meets the printed number: "exact", "cut" (digits dropped, not rounded) or ""."""
    if isinstance(statement.value, bool):
        return "exact" if ours == statement.value else ""
    difference = ours - statement.value
    if abs(difference) <= statement.step / 2 * (1 + 1e-9):
        return "exact"
    return "cut" if 0 < difference < statement.step else ""


def _judge_counted(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    counted = count_statement(values.thesis, statement)
    return _by_digits(statement, counted / MILLION.get(statement.unit, 1), counted, "counted")


def _judge_formula(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    names = names_in(statement.formula)
    source = (
        "the thesis's own numbers" if names <= set(values.thesis.statements) else "facts and counts"
    )
    numbers = re.sub(r"[a-z]\w*", lambda m: _shown(values, m[0]), statement.formula)
    how = f"by {source}" + (f": {numbers}" if statement.formula not in names else "")
    result = evaluate(statement.formula, values)
    verdict = _by_digits(statement, result, result, how)
    if verdict.verdict != "reproduced":  # arithmetic and facts leave no room for chance
        return verdict._replace(verdict="corrected")
    known = values.thesis.statements
    stated = [known[name] for name in sorted(names & set(known))]
    measured = [other for other in stated if other.join in ("run", "cost")]
    return _by_our_numbers(statement, measured, values, evidence, how) if measured else verdict


def _by_our_numbers(
    statement: Statement,
    measured: list[Statement],
    values: Values,
    evidence: Evidence,
    how: str,
) -> Verdict:
    """A claim that the thesis's measurements bear out needs ours to be reproduced."""
    ours = {other.id: JUDGES[other.join](other, values, evidence).number for other in measured}
    missing = sum(number is None for number in ours.values())
    if missing:
        needs = f"needs our own measurements of {missing} of these numbers"
        return Verdict("not run", "", f"holds {how}; {needs}")
    result = evaluate(
        statement.formula, {n: ours.get(n, values[n]) for n in names_in(statement.formula)}
    )
    shown = ", ".join(f"{number:,.5g}" for number in ours.values())
    return _by_digits(statement, result, result, f"holds {how}; ours: {shown}")


def _shown(values: Values, name: str) -> str:
    """A name of a formula as its number; functions stay."""
    if name not in values:
        return name
    value = values[name]
    if isinstance(value, Printed):
        return f"{value}"
    return f"{value:,.0f}" if value > 1e4 else f"{value:.4g}"


def _by_digits(statement: Statement, ours: Value, plain: Value, how: str) -> Verdict:
    """The verdict on a number that has no chance in it."""
    met = agreement(statement, ours)
    shown = str(plain).lower() if isinstance(plain, bool) else _plain(plain)
    if met:
        return Verdict("reproduced", shown, how + ("; cut, not rounded" if met == "cut" else ""))
    verdict = "corrected" if statement.erratum else "differs"
    if verdict == "differs" and not isinstance(ours, bool):
        how += f"; {ours / statement.value - 1:+.1%} from the printed number"
    return Verdict(verdict, shown, how)


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) else f"{number:,.5g}"


def _judge_scaling(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    wanted = statement.given["layer"], statement.given["quantity"]
    fits = [(exponents(source.rows).get(wanted), source) for source in evidence.scalings]
    found = [(fit, source) for fit, source in fits if fit]
    if not found:
        return Verdict("not run", "", "needs a minute of timing", command=COST_COMMAND)
    fit, source = found[0]
    ours = f"{fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
    timings = [row.get("stable") for row in _fitted(source, *wanted)]
    if timings.count(False) > len(timings) / 2:  # then the fit says more about the machine
        return Verdict("not run", f"unstable: {ours}", f"{timings.count(False)} of "
                       f"{len(timings)} timings on {source.device['name']} are unstable; needs a "
                       "machine with nothing else to do", command=COST_COMMAND)  # fmt: skip
    if fit.high - fit.low >= 1:  # it holds another whole power too
        return Verdict("not run", f"undecided: {ours}", "so wide an interval fits any power; needs "
                       "more timings on a machine with nothing else to do",
                       command=COST_COMMAND)  # fmt: skip
    met = fit.low <= statement.value <= fit.high or abs(fit.value - statement.value) <= ABOUT
    verdict = "reproduced" if met else "differs"
    return Verdict(verdict, ours, f"fitted, on {source.device['name']}")


def _fitted(source: Measurements, layer: str, quantity: str) -> list[Row]:
    """The rows that an exponent was fitted to."""
    rows = select(source.rows, layer=layer, quantity=quantity)
    return [row for row in rows if row["tokens"] >= FIT_FROM]


def _judge_cost(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    kinds = {"speed": _judge_speed, "disk": _judge_disk, "memory": _judge_memory}
    return kinds[statement.quantity](statement, values, evidence)


def _rows(
    statement: Statement, values: Values, evidence: Evidence, measured: str, **more: str
) -> list[tuple[Measurements, Row]]:
    """Measured rows of the statement's model and batch, those of graphics processors first."""
    model = values.thesis.subjects[statement.subject]["model"]
    wanted = {
        "model": model,
        "quantity": measured,
        "batch_size": values.thesis.quantities[statement.quantity].get("batch_size"),
        "tokens": TrainConfig.tokens if model == "atresnet18" else None,
        **more,
    }
    found = [
        (source, row)
        for source in evidence.costs
        for row in source.rows
        if all(row.get(key) == value for key, value in wanted.items()) and row["value"] is not None
    ]
    return sorted(found, key=lambda pair: pair[0].device["type"] != "cuda")


def _judge_speed(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    waits = Verdict("not run", "", "", command=COST_COMMAND)
    gpu = values.thesis.document["gpu"]
    found = _rows(statement, values, evidence, "images_per_second")
    if not found:
        needs = f"needs a graphics processor, for the printed value the thesis's own, {gpu}"
        return waits._replace(why=needs)
    source, row = found[0]
    device = source.device
    ours = f"{row['value']:.4g} img/s"
    where = f"{device['name']}, {row['img_size']} pixels, {row['precision']}, batch 1"
    if not row.get("stable", True):  # a wide spread must not make agreement easier
        ours = f"unstable: {row['low']:.3g} to {row['high']:.3g} img/s"
        return waits._replace(ours=ours, why=f"needs a machine with nothing else to do; on {where}")
    if device["type"] != "cuda":
        other = f"ours is of a processor ({where}), the thesis's of a graphics processor"
        return waits._replace(ours=ours, why=other)
    if row["low"] <= statement.value <= row["high"]:
        return Verdict("reproduced", ours, f"within the quartiles on {where}", row["value"])
    ratio = row["value"] / statement.value
    likely = "" if "K80" in device["name"] else f"; most likely the card, which is not {gpu}"
    apart = f"{ratio:.2g} times the printed speed on {where}{likely}"
    return Verdict("differs", ours, apart, row["value"])


def _judge_disk(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    given = subject_given(values.thesis, statement.subject)
    found = _rows(statement, values, evidence, "checkpoint_bytes")
    size = found[0][1]["value"] if found else count("checkpoint_bytes", given)
    weights = 4 * count("parameters", given) / 1e6
    how = f"as a full training checkpoint; the weights alone take {weights:.1f} MB"
    ours = size / 1e6
    if abs(ours - statement.value) < statement.step:  # the file's own frame is not the same
        return Verdict("reproduced", f"{ours:.2f} MB", how, ours)
    surplus = f"the printed size is {statement.value - ours:+.1f} MB apart, unexplained"
    return Verdict("differs", f"{ours:.1f} MB", f"{how}; {surplus}", ours)


def _judge_memory(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    given = subject_given(values.thesis, statement.subject)
    without, recorded = count("peak_bytes", given), count("graph_bytes", given)
    how = "counted"
    real = {"basis": "allocated", "attention": "explicit"}  # as timm computed attention in 2021
    quiet = _rows(statement, values, evidence, "memory_no_grad_bytes", **real)
    loud = _rows(statement, values, evidence, "memory_autograd_bytes", **real)
    if quiet and loud:
        without, recorded = quiet[0][1]["value"], loud[0][1]["value"]
        how = f"allocated on {quiet[0][0].device['name']}"
    printed = float(statement.value) * 1e6
    ours = f"{without / 1e6:,.0f} MB"
    near = f"{recorded / 1e6:,.0f} MB with gradients recorded ({recorded / printed - 1:+.1%})"
    how = f"{how} at batch {MEMORY_BATCH}"
    if abs(recorded - printed) < abs(without - printed):
        return Verdict("corrected", ours, f"{how}; the printed figure is that of a training pass, "
                       f"{near}")  # fmt: skip
    return Verdict("differs", ours, f"{how}; {near}")


def _judge_run(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    subjects = [name for name in (statement.subject, statement.against) if name]
    groups = []
    for subject in subjects:
        wanted = wanted_run(values.thesis, subject)
        runs = [run for run in evidence.runs if not departures(run, wanted)]
        if not runs:
            needs, command = what_it_needs(values.thesis, subject, evidence.runs)
            return Verdict("not run", "", needs, command=command)
        groups.append(runs)
    first = groups[0]
    if len(groups) == 2:
        return _compare_classes(statement, first[0], groups[1][0])
    of_cat = statement.quantity == "class_correct"
    shares = [_class_share(r, "cat") if of_cat else r.record["metrics"]["test_accuracy"]
              for r in first]  # fmt: skip
    value, low, high = shares[0]["value"], shares[0]["low"], shares[0]["high"]
    if len(first) > 1:
        value, low, high, _ = mean_interval([share["value"] for share in shares])
    scale = 1 / 1000 if of_cat else 1 / 100  # from the printed number to a share
    seeds = "1 seed" if len(first) == 1 else f"{len(first)} seeds"
    ours = f"{value / scale:.2f} [{low / scale:.2f}, {high / scale:.2f}] {statement.unit}, "
    number, about = value / scale, describe_run(first[0])
    ours += f"n = {shares[0]['n']:,}, {seeds}"
    if low <= statement.value * scale <= high:
        return Verdict("reproduced", ours, f"inside our 95% interval; {about}", number)
    apart = f"{value / scale - statement.value:+.2f} {statement.unit} from the printed number"
    likely = "one run here and one there: a seed's chance, or settings that the thesis leaves open"
    return Verdict("differs", ours, f"{apart}; likely {likely}; {about}", number)


def _compare_classes(statement: Statement, first: Run, second: Run) -> Verdict:
    """How many classes the first run recognises better than the second."""
    names = first.record["dataset"]["classes"]
    better = sum(
        _class_share(first, name)["value"] > _class_share(second, name)["value"] for name in names
    )
    verdict = "reproduced" if better == statement.value else "differs"
    return Verdict(verdict, f"{better} of {len(names)} classes", f"{first.name}, {second.name}")


def _class_share(run: Run, name: str) -> Mapping[str, Any]:
    return next(row for row in run.record["metrics"]["per_class"] if row["class"] == name)


def _judge_none(statement: Statement, values: Values, evidence: Evidence) -> Verdict:
    name = values.thesis.subjects.get(statement.subject, {}).get("imagenet")
    if statement.quantity != "imagenet":
        return Verdict("not run", "", statement.needs)
    if not name:
        needs = f"{statement.needs}, and weights trained on ImageNet alone"
        return Verdict("not run", "", needs)
    model = f'al.create_model("{name}", 1000, pretrained=True)'
    command = f'al.predict({model}, al.load_dataset("folder", "imagenet").test).accuracy'
    return Verdict("not run", "", statement.needs, command=command)


JUDGES: Mapping[str, Callable[[Statement, Values, Evidence], Verdict]] = {
    "run": _judge_run,
    "cost": _judge_cost,
    "scaling": _judge_scaling,
    "count": _judge_counted,
    "formula": _judge_formula,
    "none": _judge_none,
}

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
