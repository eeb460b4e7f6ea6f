"""Verdicts on the thesis's statements, each by the kind of evidence that applies to it.

*Reproduced*: ours agrees, within the interval or the printed digits. *Differs*: it does
not, with the difference and possible causes. *Corrected*: the thesis contradicts itself, or a fact
that can be looked up or counted. *Not run*: what it would need. Nothing is compared across
data sets, resolutions, starts or recipes; hardware is named with every speed.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from attnlib.config import THESIS, TrainConfig
from attnlib.cost.measure import build_empty, count_gmac
from attnlib.cost.scaling import FIT_FROM, exponents
from attnlib.records.measurements import Measurements, Row, select
from attnlib.records.record import Accuracy
from attnlib.records.run import Run
from attnlib.records.settings import describe_setting
from attnlib.stats.intervals import mean_interval
from attnlib.thesis.arithmetic import FORMULAS, compute, names_in
from attnlib.thesis.counts import (
    TABLE_BATCH,
    Printed,
    Values,
    count,
    count_statement,
    subject_given,
)
from attnlib.thesis.statements import Statement, Thesis, Value

VERDICTS = ("corrected", "differs", "reproduced", "not run")
MILLION = {"M": 1e6}  # counts that the thesis prints in millions
COST_COMMAND = "papermill notebooks/cost.ipynb OUT.ipynb -p models all -p save results/measurements"
MARGIN = 0.01  # for memory: allocators round, and versions differ in what they keep
ABOUT = 0.1  # for a fitted exponent, whose interval covers scatter but not curvature
TRAINING_IMAGES = 45_000
SIZE: int = THESIS["img_size"]
# Half-precision operations per second from data sheets, and the shares of them that small networks
# sustain in training: an assumption, deliberately wide.
GPUS = {"T4": (65e12, 0.04, 0.12), "H100": (989e12, 0.02, 0.08)}
DATASET = "cifar10"  # of the thesis's accuracies: only the official pixels, no copy


class Verdict(NamedTuple):
    """A verdict, our value, how it was obtained or what is missing, and the command for it."""

    verdict: str
    ours: str
    why: str
    number: float | None = None  # ours in the statement's unit, if claims may use it
    command: str = ""


@dataclass(frozen=True)
class Evidence:
    """The available evidence: run records, measurements, and what was left out and why."""

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


@dataclass(frozen=True)
class Judge:
    """Judges statements by known numbers and the available evidence."""

    values: Values
    evidence: Evidence

    def verdict(self, statement: Statement) -> Verdict:
        """The verdict on one statement, with its note and erratum."""
        found = self.by_join(statement)
        about = self.values.thesis.subjects.get(statement.subject, {})
        apart = about.get("apart", "") if statement.quantity == "accuracy" else ""
        erratum = f"erratum {statement.erratum}" if statement.erratum else ""
        notes = [found.why, apart, self.values.fill(statement.note), erratum]
        return found._replace(why="; ".join(note for note in notes if note))

    def by_join(self, statement: Statement) -> Verdict:
        """The verdict by the kind of comparison (the statement's ``join``)."""
        match statement.join, statement.quantity:
            case "count", _:
                return self.counted(statement)
            case "formula", _:
                return self.computed(statement)
            case "scaling", _:
                return self.fitted(statement)
            case "cost", "speed":
                return self.speed(statement)
            case "cost", "disk":
                return self.disk(statement)
            case "cost", "memory":
                return self.memory(statement)
            case "run", _:
                return self.trained(statement)
        return self.missing(statement)

    def counted(self, statement: Statement) -> Verdict:
        """Verdict on a number that our code can count."""
        ours = count_statement(self.values.thesis, statement)
        return by_digits(statement, ours / MILLION.get(statement.unit, 1), ours, "counted")

    def computed(self, statement: Statement) -> Verdict:
        """Verdict by arithmetic on the thesis's own numbers, facts and counts."""
        formula, names = statement.formula, names_in(statement.formula)
        stated = self.values.thesis.statements
        is_own = names and set(names) <= set(stated)
        source = "the thesis's own numbers" if is_own else "facts and counts"
        result = self.values[formula] if formula not in FORMULAS else compute(formula, self.values)
        how = f"by {source}"
        if names:
            how += ": " + ", ".join(f"{name} {shown(self.values[name])}" for name in names)
        verdict = by_digits(statement, result, result, how)
        if verdict.verdict != "reproduced":  # arithmetic and facts involve no chance
            return verdict._replace(verdict="corrected")
        measured = [stated[n] for n in names if n in stated and stated[n].join in ("run", "cost")]
        return self.by_our_numbers(statement, measured, how) if measured else verdict

    def by_our_numbers(
        self, statement: Statement, measured: Sequence[Statement], how: str
    ) -> Verdict:
        """A claim supported by the thesis's measurements is reproduced only with ours."""
        ours = {other.id: self.by_join(other).number for other in measured}
        missing = sum(number is None for number in ours.values())
        if missing:
            needs = f"needs our own measurements of {missing} of these numbers"
            return Verdict("not run", "", f"holds {how}; {needs}")
        result = compute(statement.formula, ChainMap(ours, cast(Any, self.values)))
        numbers = ", ".join(f"{number:,.5g}" for number in ours.values())
        return by_digits(statement, result, result, f"holds {how}; ours: {numbers}")

    def fitted(self, statement: Statement) -> Verdict:
        """Verdict on an exponent of time or memory, fitted to our measurements."""
        wanted = statement.given["layer"], statement.given["quantity"]
        fits = [(exponents(source.rows).get(wanted), source) for source in self.evidence.scalings]
        found = [(fit, source) for fit, source in fits if fit]
        if not found:
            return Verdict("not run", "", "needs a minute of timing", command=COST_COMMAND)
        fit, source = found[0]
        ours = f"{fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
        layer, quantity = wanted
        rows = select(source.rows, layer=layer, quantity=quantity)
        timings = [row.get("stable") for row in rows if row["tokens"] >= FIT_FROM]
        unstable = timings.count(False)
        if unstable > len(timings) / 2:  # the fit then says more about the machine
            needs = (
                f"{unstable} of {len(timings)} timings on {source.device['name']} are unstable; "
                "needs a machine with nothing else to do"
            )
            return Verdict("not run", f"unstable: {ours}", needs, command=COST_COMMAND)
        if fit.high - fit.low >= 1:  # it contains another integer exponent too
            needs = (
                "so wide an interval fits any power; needs more timings on a machine with nothing "
                "else to do"
            )
            return Verdict("not run", f"undecided: {ours}", needs, command=COST_COMMAND)
        met = fit.low <= statement.value <= fit.high or abs(fit.value - statement.value) <= ABOUT
        verdict = "reproduced" if met else "differs"
        return Verdict(verdict, ours, f"fitted, on {source.device['name']}")

    def cost_rows(
        self, statement: Statement, measured: str, **more: str
    ) -> list[tuple[Measurements, Row]]:
        """Measured rows of the statement's model and batch, GPUs first."""
        thesis = self.values.thesis
        model = thesis.subjects[statement.subject]["model"]
        wanted = {
            "model": model,
            "quantity": measured,
            "batch_size": thesis.quantities[statement.quantity].get("batch_size"),
            "tokens": TrainConfig.tokens if model == "atresnet18" else None,
            **more,
        }
        found = [
            (source, row)
            for source in self.evidence.costs
            for row in source.rows
            if all(row.get(k) == v for k, v in wanted.items()) and row["value"] is not None
        ]
        return sorted(found, key=lambda pair: pair[0].device["type"] != "cuda")

    def speed(self, statement: Statement) -> Verdict:
        """Verdict on images per second in Tables 8.2 and 8.3."""
        waits = Verdict("not run", "", "", command=COST_COMMAND)
        gpu = self.values.thesis.document["gpu"]
        found = self.cost_rows(statement, "images_per_second")
        if not found:
            needs = f"needs a graphics processor, for the printed value the thesis's own, {gpu}"
            return waits._replace(why=needs)
        source, row = found[0]
        device = source.device
        ours = f"{row['value']:.4g} img/s"
        where = f"{device['name']}, {row['img_size']} pixels, {row['precision']}, batch 1"
        if not row.get("stable", True):  # a wide spread must not count as agreement
            ours = f"unstable: {row['low']:.3g} to {row['high']:.3g} img/s"
            needs = f"needs a machine with nothing else to do; on {where}"
            return waits._replace(ours=ours, why=needs)
        if device["type"] != "cuda":
            other = f"ours is of a processor ({where}), the thesis's of a graphics processor"
            return waits._replace(ours=ours, why=other)
        if row["low"] <= statement.value <= row["high"]:
            return Verdict("reproduced", ours, f"within the quartiles on {where}", row["value"])
        ratio = row["value"] / statement.value
        likely = "" if "K80" in device["name"] else f"; most likely the card, which is not {gpu}"
        apart = f"{ratio:.2g} times the printed speed on {where}{likely}"
        return Verdict("differs", ours, apart, row["value"])

    def disk(self, statement: Statement) -> Verdict:
        """Verdict on sizes on disk in Table 8.2, compared with a training checkpoint."""
        given = subject_given(self.values.thesis, statement.subject)
        found = self.cost_rows(statement, "checkpoint_bytes")
        size = found[0][1]["value"] if found else count("checkpoint_bytes", **given)
        weights = count("weights_bytes", **given) / 1e6
        how = f"as a full training checkpoint; the weights alone take {weights:.1f} MB"
        ours = size / 1e6
        if abs(ours - statement.value) < statement.step:  # the file format's overhead differs
            return Verdict("reproduced", f"{ours:.2f} MB", how, ours)
        surplus = f"the printed size is {statement.value - ours:+.1f} MB apart, unexplained"
        return Verdict("differs", f"{ours:.1f} MB", f"{how}; {surplus}", ours)

    def memory(self, statement: Statement) -> Verdict:
        """Verdict on memory in Table 8.2, compared with passes with and without autograd."""
        given = subject_given(self.values.thesis, statement.subject)
        without, recorded = count("peak_bytes", **given), count("graph_bytes", **given)
        how = "replayed from shapes, not yet measured on a graphics processor,"
        real = {"basis": "allocated", "attention": "explicit"}  # as timm did in 2021
        quiet = self.cost_rows(statement, "memory_no_grad_bytes", **real)
        loud = self.cost_rows(statement, "memory_autograd_bytes", **real)
        if quiet and loud:
            without, recorded = quiet[0][1]["value"], loud[0][1]["value"]
            how = f"allocated on {quiet[0][0].device['name']}"
        how = f"{how} at batch {TABLE_BATCH}"
        ours, number = f"{without / 1e6:,.0f} MB", without / 1e6
        if abs(number / statement.value - 1) <= MARGIN:
            return Verdict("reproduced", ours, f"{how}, without gradients", number)
        printed = float(statement.value) * 1e6
        near = f"{recorded / 1e6:,.0f} MB with gradients recorded ({recorded / printed - 1:+.1%})"
        if abs(recorded - printed) < abs(without - printed):
            why = f"{how}; the printed figure is near that of a training pass, {near}"
            return Verdict("corrected", ours, why, number)
        return Verdict("differs", ours, f"{how}; {near}", number)

    def trained(self, statement: Statement) -> Verdict:
        """Verdict on an accuracy, or a difference between two models, from run records."""
        subjects = [name for name in (statement.subject, statement.against) if name]
        groups = []
        for subject in subjects:
            wanted = wanted_run(self.values.thesis, subject)
            runs = [run for run in self.evidence.runs if not departures(run, wanted)]
            if not runs:
                needs, command = what_it_needs(self.values.thesis, subject, self.evidence.runs)
                return Verdict("not run", "", needs, command=command)
            groups.append(runs)
        if len(groups) == 2:
            return compare_classes(statement, groups[0][0], groups[1][0])
        return compare_share(statement, groups[0])

    def missing(self, statement: Statement) -> Verdict:
        """Verdict without a comparable result of ours: what it would need."""
        name = self.values.thesis.subjects.get(statement.subject, {}).get("imagenet")
        if statement.quantity != "imagenet":
            return Verdict("not run", "", statement.needs)
        if not name:
            needs = f"{statement.needs}, and weights trained on ImageNet alone"
            return Verdict("not run", "", needs)
        model = f'al.create_model("{name}", 1000, pretrained=True)'
        command = f'al.predict({model}, al.load_dataset("folder", "imagenet").test).accuracy'
        return Verdict("not run", "", statement.needs, command=command)


def agreement(statement: Statement, ours: Value) -> str:
    """How ours agrees with the printed number: "exact", "cut" (truncated, not rounded) or ""."""
    if isinstance(statement.value, bool):
        return "exact" if ours == statement.value else ""
    difference = ours - statement.value
    if abs(difference) <= statement.step / 2 * (1 + 1e-9):
        return "exact"
    return "cut" if 0 < difference < statement.step else ""


def by_digits(statement: Statement, ours: Value, plain: Value, how: str) -> Verdict:
    """The verdict on a deterministic number."""
    met = agreement(statement, ours)
    text = str(plain).lower() if isinstance(plain, bool) else in_digits(plain)
    if met:
        return Verdict("reproduced", text, how + ("; cut, not rounded" if met == "cut" else ""))
    verdict = "corrected" if statement.erratum else "differs"
    if verdict == "differs" and not isinstance(ours, bool):
        how += f"; {ours / statement.value - 1:+.1%} from the printed number"
    return Verdict(verdict, text, how)


def in_digits(number: float) -> str:
    """Format integers in full, other numbers with five digits."""
    return f"{number:,.0f}" if number == round(number) else f"{number:,.5g}"


def shown(value: float) -> str:
    """A number with the thesis's precision if exact, else shortened."""
    if isinstance(value, Printed):
        return f"{value}"
    return f"{value:,.0f}" if value > 1e4 else f"{value:.4g}"


def compare_share(statement: Statement, runs: Sequence[Run]) -> Verdict:
    """Verdict on an accuracy, or the share of cats recognised, over all runs of a recipe."""
    of_cat = statement.quantity == "class_correct"
    shares = [
        class_share(run, "cat") if of_cat else run.record.metrics.test_accuracy for run in runs
    ]
    value, low, high = shares[0].value, shares[0].low, shares[0].high
    if len(runs) > 1:
        value, low, high, _ = mean_interval([share.value for share in shares])
    scale = 1 / 1000 if of_cat else 1 / 100  # from the printed number to a share
    seeds = "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
    ours = f"{value / scale:.2f} [{low / scale:.2f}, {high / scale:.2f}] {statement.unit}, "
    number, about = value / scale, describe_run(runs[0])
    ours += f"n = {shares[0].n:,}, {seeds}"
    if low <= statement.value * scale <= high:
        return Verdict("reproduced", ours, f"inside our 95% interval; {about}", number)
    apart = f"{value / scale - statement.value:+.2f} {statement.unit} from the printed number"
    likely = "one run here and one there: a seed's chance, or settings that the thesis leaves open"
    return Verdict("differs", ours, f"{apart}; likely {likely}; {about}", number)


def compare_classes(statement: Statement, first: Run, second: Run) -> Verdict:
    """Verdict on how many classes the first run recognises better than the second."""
    names = first.record.dataset.classes
    better = sum(class_share(first, name).value > class_share(second, name).value for name in names)
    verdict = "reproduced" if better == statement.value else "differs"
    return Verdict(verdict, f"{better} of {len(names)} classes", f"{first.name}, {second.name}")


def class_share(run: Run, name: str) -> Accuracy:
    """The accuracy of a run on one class, with its interval."""
    rows = run.record.metrics.per_class
    return next(row.accuracy for row in rows if row.name == name and row.accuracy)


def wanted_run(thesis: Thesis, subject: str) -> dict[str, Any]:
    """Settings that a run must have to be the subject's; for the thesis's models, its recipe.

    The recipe is read from the statements, so it is defined only there.
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
    """Settings of a run that are not as wanted: name to the run's value."""
    found = {name: run.config.get(name) for name in wanted}
    if "teacher" in wanted and str(run.record.teacher).startswith(f"{wanted['teacher']}-pretr"):
        found["teacher"] = wanted["teacher"]  # trained from ImageNet weights, as in the table
    elif "teacher" in wanted:
        found["teacher"] = run.record.teacher
    return {name: value for name, value in found.items() if value != wanted[name]}


def describe_run(run: Run) -> str:
    """Data, resolution, start and hardware of a run, as text."""
    record, config = run.record, run.config
    start = "from ImageNet weights" if config["pretrained"] else "from scratch"
    return (
        f"{record.dataset.title}, {config['img_size']} pixels, {start}, "
        f"{record.device.name}, {record.precision}, run {run.name}"
    )


def what_it_needs(thesis: Thesis, subject: str, runs: Sequence[Run]) -> tuple[str, str]:
    """What the subject's run needs, how the nearest record differs, and the command."""
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
    words = {name: describe_setting(name, value) for name, value in others.items()}
    if "dataset" in words:
        words["dataset"] = nearest.record.dataset.title
    told = ", ".join(words.values())
    if set(words) == {"dataset"} and words["dataset"].startswith("CIFAR-10"):
        share = nearest.record.metrics.test_accuracy.value
        told += f", on which its accuracy is {share:.2%}"
    return f"{needs}; the nearest record is not comparable: {told}", config.command


@cache
def estimate_words(model: str, teacher: str | None = None, img_size: int = SIZE) -> str:
    """Duration of a run of the thesis's recipe, estimated from its multiply-adds.

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
