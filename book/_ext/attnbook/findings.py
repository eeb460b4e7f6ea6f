"""Numbers for the text, with their intervals and provenance.

Plain functions of the files in ``results``, ``runs`` and ``notebooks/experiments.toml``,
independent of Sphinx. ``provenance`` turns them into links.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnbook.runs import shown_runs
from attnlib.catalogue import TITLES
from attnlib.compare.error_overlap import STUDENTS, Pairing, between, measure_overlaps, reply
from attnlib.compare.reference_runs import (
    ReferenceRow,
    answer,
    compare,
    find_rows,
    pair_runs,
    read_table,
)
from attnlib.human.sources import ORIGINS
from attnlib.human.study import NAMES as MEASURES
from attnlib.records.measurements import Measurements, read_measurements, select
from attnlib.records.provenance import commit_words, threads_of
from attnlib.records.record import to_json
from attnlib.records.run import Run
from attnlib.stats.intervals import NOT_RUN, mean_interval

SHORT_COMMIT = 12  # of its 40 digits
SHARES = ("accuracy", "agreement", "shape_bias", "share_of_peak")
GIGA_COUNT = "1e9"
REFERENCE_COMMAND = "make reference DATA=FILE.npz PRETRAIN=FILE.npz"
BOTH = "over seeds and images"  # what an interval of several seeds covers
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """A number as displayed, with its interval and provenance."""

    text: str
    facts: Facts
    interval: str = ""
    page: str = ""  # document that it links to
    place: str = ""  # id there
    mark: str = ""  # whose number it is, if not ours


def one_of(name: str, valid: Sequence[str], what: str) -> None:
    """Check that ``name`` is known.

    Raises:
        ValueError: If it is not, naming the valid ones.
    """
    if name not in valid:
        raise ValueError(f"no {what} {name!r}; there is: {', '.join(sorted(valid))}")


@functools.cache
def read_rows(root: Path) -> dict[str, dict[str, Any]]:
    """The rows of ``[reference]``."""
    return read_table(root / "notebooks" / "experiments.toml")


@functools.cache
def read_runs(root: Path, *folders: str) -> tuple[Run, ...]:
    """The finished runs of these folders that the book shows."""
    return tuple(shown_runs(*(root / folder for folder in folders)).runs)


def find_row(root: Path, name: str) -> ReferenceRow:
    """A row of the reference with its runs.

    Raises:
        ValueError: If there is no such row, or two runs of a row have one seed.
    """
    rows = read_rows(root)
    one_of(name, [*rows], "row of [reference]")
    return find_rows(rows, read_runs(root, "results"), read_runs(root, "runs"))[name]


def minus(text: str) -> str:
    """A number with a typographic minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """0.9632 -> 96.3%."""
    return minus(f"{value:.1%}")


def points(value: float) -> str:
    """A difference of shares: 0.012 -> +1.2 points."""
    return minus(f"{100 * value:+.1f} points")


def rate(value: float) -> str:
    """Images per second."""
    return f"{value:,.0f} images/s" if value >= 100 else f"{value:#.3g} images/s"


def duration(seconds: float) -> str:
    """A duration in a suitable unit."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.2g} min" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes, decimal."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def plain(value: float) -> str:
    """A number without a unit."""
    if (isinstance(value, int) or float(value).is_integer()) and abs(value) < 1e15:
        return minus(f"{int(value):,}")
    return minus(f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}")


def with_decimals_of(value: float) -> Callable[[float], str]:
    """Format numbers with as many decimals as ``plain`` gives this one."""
    decimals = len(plain(value).partition(".")[2])
    return lambda other: minus(f"{other:,.{decimals}f}")


def words_for(name: str, unit: str = "") -> Callable[[float], str]:
    """The formatter for a quantity of that name and unit."""
    by_unit: dict[str, Callable[[float], str]] = {
        "s": duration, "bytes": size, "img/s": rate, "images/s": rate,
        GIGA_COUNT: lambda value: f"{value:.3g} GMAC",
    }  # fmt: skip
    if name.endswith("images_per_second"):
        return rate
    if "accuracy" in name or name.removesuffix("_value") in SHARES:
        return percent
    if name == "difference":
        return points
    if name.endswith("mib") or "_mib_" in name:
        return lambda value: f"{value:,.0f} MiB"
    if name.endswith("bytes"):
        return size
    if name.endswith("seconds"):
        return duration
    if name.endswith("gmac"):
        return by_unit[GIGA_COUNT]
    if name == "last":  # an exponent at the end of the sizes
        return lambda value: minus(f"{round(value, 2) + 0.0:.2f}")
    return by_unit.get(unit, plain)


def interval_words(low: float, high: float, words: Callable[[float], str]) -> str:
    """[95.9, 96.6]: the ends formatted like the value, without the unit."""
    ends = [re.sub(r"[%+]|\s.*", "", words(end)) for end in (low, high)]
    units = {words(end).split()[-1] for end in (low, high) if " " in words(end)}
    if len(units) > 1:  # 950 ms to 1.1 s
        ends = [words(low), words(high)]
    return f"[{', '.join(ends)}]"


def origin(run: Run) -> Facts:
    """Run, commit, command, data, device, date."""
    record = run.record
    git, data, device = record.git, record.dataset, record.device
    commit = commit_words(git.commit, git.dirty, SHORT_COMMIT)
    return (
        ("run", record.name),
        ("commit", commit),
        ("command", record.command),
        ("data", f"{data.title}, SHA-256 {data.sha256[:16]}"),
        ("device", f"{device.name}, {threads_of(device.threads)}, {record.precision}"),
        ("date", record.finished[:10]),
    )


def missing(*rows: ReferenceRow) -> Finding:
    """What is shown if one of these rows has no record, or they have too few."""
    without = next((row.title for row in rows if not row.runs), None)
    titles = " and ".join(dict.fromkeys(row.title for row in rows))
    what = f"{without}: no run record yet" if without else f"{titles}: too few seeds yet"
    facts = (("what", what), ("command", REFERENCE_COMMAND))
    return Finding(NOT_RUN, facts, page="reproduce")


def metric_of(run: Run, name: str) -> Any:
    """A metric, a cost or a setting of a run.

    Raises:
        ValueError: If the record has none of that name.
    """
    record = to_json(run.record)
    scalars = {k: v for k, v in record["metrics"].items() if k != "per_class"} | record["cost"]
    scalars |= {k: v for k, v in run.config.items() if isinstance(v, int | float)}
    classes = {row["class"]: row for row in record["metrics"]["per_class"]}
    group, _, of = name.partition(".")
    if group == "per_class":
        one_of(of, [*classes], "class")
        return classes[of]
    one_of(name, [*scalars], "metric")
    return scalars[name]


METRICS = ("test_accuracy", "val_accuracy", "test_loss", "best_epoch", "per_class", "parameters",
           "train_images_per_second", "wall_seconds", "weights_bytes", "peak_memory_bytes",
           "epochs", "batch_size", "img_size", "lr", "weight_decay")  # fmt: skip


# ROW - ROW, and the difference of two such differences.
GAP = re.compile(r"(\w+) - (\w+)")
GAP_OF_GAPS = re.compile(rf"\({GAP.pattern}\) - \({GAP.pattern}\)")


KAPPA = re.compile(r"kappa\((\w+), (\w+)(?:, (same|different|all))?\)")


def find_result(root: Path, key: str) -> Finding:
    """``ROW.METRIC``, ``ROW - ROW``, ``(ROW - ROW) - (ROW - ROW)`` or ``kappa(ROW, ROW)``.

    Of kappa all pairs of seeds count, or as a third word says, only the ``same`` ones (a student
    and its teacher) or ``different`` ones.

    Raises:
        ValueError: If the row or the metric is unknown.
    """
    if pairing := KAPPA.fullmatch(key):
        return find_kappa(root, Pairing(*filter(None, pairing.groups())))
    if rows := GAP.fullmatch(key) or GAP_OF_GAPS.fullmatch(key):
        return find_difference(root, *rows.groups())
    name, _, metric = key.partition(".")
    row = find_row(root, name)
    if not row.runs:
        one_of(metric.partition(".")[0], METRICS, "metric")
        return missing(row)
    values = [metric_of(run, metric) for run in row.runs]
    what = f"{metric.replace('_', ' ').replace('.', ', ')} of {row.title}"
    words = words_for("accuracy" if metric.startswith("per_class") else metric)
    shown, interval, how = summarise(values, words)
    facts: Facts = (("what", what + how),)
    if len(row.runs) > 1:
        if metric == "test_accuracy":
            share = row.accuracy
            interval = f"{interval_words(share.low, share.high, words)}, {share.n} seeds"
            facts = (("what", f"{what}; mean of {share.n} seeds with the 95% interval {BOTH}"),)
        facts += (("runs", ", ".join(run.name for run in row.runs)),)
        facts += tuple(fact for fact in origin(row.runs[0]) if fact[0] != "run")
    else:
        facts += origin(row.runs[0])
    return Finding(shown, facts, interval, f"runs/records/{row.runs[0].name}")


def summarise(values: Sequence[Any], words: Callable[[float], str]) -> tuple[str, str, str]:
    """Text, interval and method, for one run's value or the values of several seeds."""
    if values[0] is None:
        return "not measured", "", ""
    shares = isinstance(values[0], dict)
    numbers = [value["value"] if shares else value for value in values]
    if len(values) == 1 and shares:
        value = values[0]
        method = value.get("method", "Wilson, 95%").replace(" %", "%")
        interval = interval_words(value["low"], value["high"], words)
        return words(value["value"]), interval, f"; on {value['n']:,} images, interval {method}"
    if len(set(numbers)) == 1:
        return words(numbers[0]), "", ""
    mean = mean_interval(numbers)
    how = f"; mean of {mean.n} seeds with the 95% t-interval over them"
    interval = f"{interval_words(mean.low, mean.high, words)}, {mean.n} seeds"
    return words(mean.value), interval, how


def find_difference(root: Path, *names: str) -> Finding:
    """Test accuracy of one row minus that of another, paired by image and seed.

    Of four rows: less the same difference of the last two.

    Raises:
        ValueError: If a row is unknown, or they were tested on different data.
    """
    rows = [find_row(root, name) for name in names]
    if not all(row.runs for row in rows):
        return missing(*rows)
    mean, groups = compare(*rows), pair_runs(*rows)
    titles = [row.title for row in rows]
    what = "test accuracy of {} less that of {}".format(*titles)
    if len(rows) > 2:
        what += "; less the same difference of {} and {}".format(*titles[2:])
    if len(groups) > 1:
        how, tail = (
            f"mean of {mean.seeds} seeds with the 95% interval {BOTH}",
            f", {mean.seeds} seeds",
        )
    else:
        how, tail = f"95% interval over {mean.images:,} images", ""
    runs = ", ".join(" less ".join(run.name for run in group) for group in groups)
    others = tuple(("command of another", run.record.command) for run in groups[0][1:])
    facts = (("what", f"{what}; {how}"), ("runs", runs), *origin(groups[0][0])[1:], *others)
    interval = interval_words(mean.low, mean.high, points) + tail
    return Finding(points(mean.value), facts, interval, f"runs/records/{groups[0][0].name}")


def find_kappa(root: Path, pairing: Pairing) -> Finding:
    """Error consistency of the networks of two rows, with its interval.

    Raises:
        ValueError: If a row is unknown, or they were tested on different data.
    """
    asked = [find_row(root, name) for name in pairing[:2]]
    rows = {row.name: row for row in asked}
    (overlap,) = measure_overlaps(rows, {"": pairing})
    if overlap.kappa is None:
        return missing(*asked)
    first, second = (row.title for row in asked)
    kappa, pairs = overlap.kappa, len(overlap.pairs)
    what = f"error consistency (kappa) of {first} and {second}, {pairing.seeds} seeds; mean of "
    what += f"{pairs} pair{'s' * (pairs > 1)} with the 95% interval "
    what += BOTH if kappa.seeds > 1 else "over images"
    names = dict.fromkeys(run.name for row in rows.values() for run in row.runs)
    run = rows[pairing.first].runs[0]
    facts = (
        ("what", what),
        ("largest possible", f"{overlap.limit:.2f}, for the accuracies of these networks"),
        ("runs", ", ".join(names)),
        *origin(run)[1:],
    )
    interval = interval_words(kappa.low, kappa.high, coefficient)
    return Finding(coefficient(kappa.value), facts, interval, "runs/between")


def coefficient(value: float) -> str:
    """A kappa with two digits."""
    return minus(f"{value:.2f}")


@functools.cache
def read_verdicts(root: Path) -> dict[str, tuple[str, str, str]]:
    """Verdict, question and page of each question that the reference runs are asked, by its key."""
    rows = find_rows(read_rows(root), read_runs(root, "results"), read_runs(root, "runs"))
    verdicts = {}
    for one in answer(rows):
        first, second, *control = one.claim.rows
        key = (
            f"({first} - {second}) - ({' - '.join(control)})" if control else f"{first} - {second}"
        )
        verdicts[key] = (one.verdict, one.claim.text, "runs/reference")
    lies_between = between(reply(rows))
    for student in STUDENTS:
        what = f"DeiT-T {student.text} lies between {student.teacher} and {student.untaught}"
        verdicts[f"between({student.taught})"] = lies_between[student.text], what, "runs/between"
    return verdicts


def find_answer(root: Path, key: str) -> Finding:
    """The verdict on a question: ``ROW - ROW``, ``(ROW - ROW) - (ROW - ROW)``, ``between(ROW)``.

    Raises:
        ValueError: If that is not asked.
    """
    verdicts = read_verdicts(root)
    one_of(key, [*verdicts], "question")
    verdict, what, page = verdicts[key]
    command = (("command", REFERENCE_COMMAND),) if verdict == NOT_RUN else ()
    how = "p below 0.05 over seeds and images, corrected after Holm"
    return Finding(verdict, (("question", what), ("holds if", how), *command), page=page)


@functools.cache
def read_file(path: Path) -> Measurements:
    """A measurement file."""
    return read_measurements(path)


def parse_given(text: str) -> dict[str, Any]:
    """``model=deit_t, batch_size=1`` as a dictionary of text, numbers, booleans and None.

    Raises:
        ValueError: If it is not of that form.
    """
    words = {"none": None, "true": True, "false": False}
    given: dict[str, Any] = {}
    for part in re.split(r",\s*(?=\w+\s*=)", text.strip()) if text.strip() else []:
        name, sign, value = (word.strip() for word in part.partition("="))
        if not sign:
            raise ValueError(f"expected key=value, got {part!r}")
        value = value.strip("'\"")
        if value.lower() in words:
            given[name] = words[value.lower()]
        else:
            try:
                given[name] = float(value) if re.search(r"[.e]", value) else int(value)
            except ValueError:
                given[name] = value
    return given


def find_measured(root: Path, key: str) -> Finding:
    """``FILE(key=value, ...).column`` of a file of ``results/measurements``.

    Raises:
        ValueError: If the file, a key, the row or the column is unknown, or several rows match.
    """
    form = re.fullmatch(r"([\w-]+)\s*(?:\((.*)\))?\s*\.\s*(\w+)", key.strip())
    if not form:
        raise ValueError(f"expected FILE(key=value, ...).column, got {key!r}")
    name, given, column = form[1], parse_given(form[2] or ""), form[3]
    folder = root / "results" / "measurements"
    one_of(name, [path.stem for path in folder.glob("*.json")], "measurement file")
    measured = read_file(folder / f"{name}.json")
    rows = select(measured.rows, **given)
    if not rows:
        known = {k: sorted({str(row.get(k)) for row in measured.rows}) for k in given}
        told = "; ".join(f"{k}: {', '.join(values[:12])}" for k, values in known.items())
        raise ValueError(f"{name} has no row with {given}; it has {told}")
    if column not in rows[0] and f"{column}_value" in rows[0]:
        column = f"{column}_value"
    one_of(column, [*rows[0]], f"column of {name}")
    if len({str(row[column]) for row in rows}) > 1:
        differ = [k for k in rows[0] if len({str(row.get(k)) for row in rows}) > 1]
        raise ValueError(f"{name}: {len(rows)} rows fit; they differ in {', '.join(differ)}")
    return measured_finding(measured, rows[0], column, given)


# Of the keys of measurement files, in words; those that say nothing to a reader are left out.
WORDS = {
    "batch_size": "batches of {}", "attention": "{} attention", "tokens": "{} tokens",
    "layer": "{}", "first": "{}", "second": "less {}", "system": "{}", "model": "{}",
}  # fmt: skip
UNSAID = ("quantity", "measure", "part", "text")
OURS = re.compile(r"(\w+)-(rgb|bgr)-(\w+)")  # a network that attnlib ran, and the protocol


def spoken(name: str) -> str:
    """A column's name in words: memory_no_grad_bytes -> memory without gradients."""
    words = {"no_grad": "without gradients", "autograd": "with autograd on", "js": "distance"}
    for key, said in words.items():
        name = re.sub(rf"(?<![a-z]){key}(?![a-z])", said, name)
    return name.removesuffix("_bytes").replace("_", " ")


def in_words(name: str, value: Any) -> str:
    """A key of a measurement file with its value; empty if it says nothing."""
    if name in UNSAID:
        return ""
    system, ours = ORIGINS.get(str(value)), OURS.fullmatch(str(value))
    if ours:
        network, channels, pooling = ours.groups()
        told = f"{TITLES.get(network, network)} ({channels.upper()}, {pooling})"
    else:
        told = system.title if system else TITLES.get(str(value), spoken(str(value)))
    return WORDS.get(name, f"{spoken(name)} {{}}").format(told)


# The input of measurements without a data set.
DATA = {"cost": "none: random images", "scaling": "none: random tokens", "scale": "none: noise"}


def measured_finding(
    measured: Measurements, row: Mapping[str, Any], column: str, given: Mapping[str, Any]
) -> Finding:
    """The number in one cell of a measurement file."""
    value, git, device = row[column], measured.git, measured.device
    about = ", ".join(filter(None, (in_words(name, value) for name, value in given.items())))
    quantity = str(row.get("quantity", "")) if column == "value" else column
    what = MEASURES.get(str(row.get("measure"))) or spoken(
        quantity.removesuffix("_value") or column
    )
    facts = (
        ("what", f"{what}{f': {about}' if about else ''}"),
        ("file", f"results/measurements/{measured.path.name}"),
        ("commit", commit_words(**git, digits=SHORT_COMMIT)),
        ("command", measured.command),
        *([("data", data)] if (data := DATA.get(measured.kind, row.get("dataset"))) else []),
        ("device", f"{device['name']}, {threads_of(device['threads'])}"),
        ("date", measured.date[:10]),
    )
    page = f"runs/measurements/{measured.path.stem}"
    place = f"row-{next(n for n, other in enumerate(measured.rows) if other is row)}"
    if not isinstance(value, int | float):
        text = str(value or row.get("reason") or "not measured")
        return Finding(text, facts, page=page, place=place)
    words = words_for(quantity, str(row.get("unit", "")))
    base = column.removesuffix("_value")
    low, high = row.get(f"{base}_low"), row.get(f"{base}_high")
    if low is None and (column in ("value", "images_per_second", "difference", "accuracy")):
        low, high = row.get("low"), row.get("high")
        if column == "accuracy" and "difference" in row:
            low = high = None  # they belong to the difference
    ends = with_decimals_of(value) if words is plain else words
    known = low is not None and high is not None and low < high  # equal: measured once
    interval = interval_words(low, high, ends) if known else ""
    if interval and value < low:  # the fastest of several timings is below their quartiles
        facts, interval = (*facts, ("spread", f"the fastest; quartiles {interval}")), ""
    return Finding(words(value), facts, interval, page, place)


def find_thesis(root: Path, key: str) -> Finding:
    """A number in the thesis, by the id of the statement.

    Raises:
        ValueError: If there is no such statement.
    """
    del root
    statements = read_statements()
    one_of(key, [*statements], "statement of the thesis")
    statement = statements[key]
    facts: Facts = (("what", statement.what), ("in the thesis", statement.place))
    if statement.note:
        facts += (("note", statement.note),)
    if statement.erratum:
        facts += (("erratum", str(statement.erratum)),)
    space = "" if statement.unit in ("%", "") else " "
    text = f"{statement.printed}{space}{statement.unit}"
    page, place = "runs/scoreboard", statement.anchor
    return Finding(text, facts, page=page, place=place, mark="thesis")


@functools.cache
def read_statements() -> Any:
    """The thesis's statements by id."""
    from attnlib.thesis.statements import read_thesis

    return read_thesis().statements


@functools.cache
def counted_values() -> Any:
    """Every named count, fact and formula of the errata."""
    from attnlib.thesis.counts import Values
    from attnlib.thesis.statements import read_errata, read_thesis

    return Values(read_thesis(), read_errata())


def find_counted(root: Path, key: str) -> Finding:
    """``COUNT(key=value, ...)`` of ``attnlib.thesis.counts``, or a named count of the errata.

    Raises:
        ValueError: If the count is unknown, or arguments are missing.
    """
    del root
    from attnlib.thesis.counts import COUNTS, count

    form = re.fullmatch(r"(\w+)\s*(?:\((.*)\))?", key.strip())
    if not form:
        raise ValueError(f"expected COUNT(key=value, ...), got {key!r}")
    name, given = form[1], parse_given(form[2] or "")
    if name in COUNTS:
        try:
            value = count(name, **given)
        except TypeError as fault:
            raise ValueError(f"{name}: {fault}") from None
        call = ", ".join([repr(name), *(f"{key}={value!r}" for key, value in given.items())])
        how = f'python -c "from attnlib.thesis.counts import count; print(count({call}))"'
    else:
        values = counted_values()
        own = set(values) - set(read_statements())
        one_of(name, [*COUNTS, *own], "count")
        value, how = values[name], "attnlib/thesis/errata.toml"
    about = ", ".join(filter(None, (in_words(k, v) for k, v in given.items())))
    facts = (
        ("what", f"{name.replace('_', ' ')}{f': {about}' if about else ''}"),
        ("counted by", "attnlib/thesis/counts.py, when this page was built"),
        ("command", how),
    )
    return Finding(words_for(name)(value), facts, page="runs/scoreboard")
