"""Benchmark of the zoo's models: rows of a measurement record, and tables of these rows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from attnlib.catalogue import MODELS, TITLES
from attnlib.cost import measure
from attnlib.cost.memory_replay import ATTENTION
from attnlib.devices import resolve_device
from attnlib.models.zoo import create_model
from attnlib.parameters import parameter, parse_params, suggest
from attnlib.records.measurements import Row, select

EVERYTHING = (
    "deit_t", "deit_s", "deit_b", "vit_b_16", "vit_l_16", "efficientnet_b7", "resnet18",
    "resnet50", "atresnet18",
)  # fmt: skip
MEMORY_BATCH = 128  # the thesis's
PASSES = (("memory_no_grad_bytes", False), ("memory_autograd_bytes", True))
MB = 1e6  # bytes; the thesis's megabyte


@dataclass(frozen=True)
class CostConfig:
    """Parameters of the cost notebook."""

    models: str = parameter("deit_t,resnet18,atresnet18", "names with commas between, or all")
    batch_sizes: str = parameter("1,4", "of the speeds, with commas between", numeric=True)
    repeats: int = parameter(10, "timed steps of a speed", low=1)
    seconds: float = parameter(3.0, "longest that one speed may take", above=0)
    num_classes: int = parameter(10, "classes", low=1)
    img_size: int = parameter(224, "pixels of a side", low=32)
    device: str = parameter("auto", "auto, cpu, cuda, ...")
    scaling_repeats: int = parameter(3, "timings of each point of the scaling law", low=1)
    save: str | None = parameter(None, "folder for the measurement files; none: keep nothing")

    @classmethod
    def from_params(cls, **params: Any) -> "CostConfig":
        """Check ``params``; the device is resolved.

        Raises:
            ValueError: Naming each unknown or bad parameter and the valid ones.
        """
        given = parse_params(cls, params)
        config = cls(**given | {"device": resolve_device(given.get("device", "auto"))})
        _ = config.names, config.batches  # invalid ones raise here
        return config

    @property
    def command(self) -> str:
        """The command that repeats this measurement."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        for machine in ("device", "save"):
            del given[machine]
        usual = {f.name: f.default for f in fields(self)}
        words = [f"-p {name} {value}" for name, value in given.items() if value != usual[name]]
        return " ".join(["papermill notebooks/cost.ipynb OUT.ipynb", *words])

    @property
    def names(self) -> tuple[str, ...]:
        """The models, in order."""
        if self.models == "all":
            return EVERYTHING
        names = tuple(name.strip() for name in self.models.split(","))
        for name in names:
            if name not in MODELS and not name.startswith("timm/"):
                raise ValueError(
                    f"models: unknown name {name!r}.{suggest(name, MODELS)} "
                    f"Valid: all, {', '.join(MODELS)}, or timm/NAME."
                )
        return names

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes, in order."""
        sizes = tuple(size.strip() for size in self.batch_sizes.split(","))
        wrong = [size for size in sizes if not size.isdigit() or int(size) < 1]
        if wrong:
            raise ValueError(
                f"batch_sizes: expected whole numbers >= 1 with commas between; got {wrong[0]!r}."
            )
        return tuple(int(size) for size in sizes)


def survey(config: CostConfig, on_note: Callable[[str], object] | None = None) -> list[Row]:
    """Measure every model of ``config``: counts, sizes, memory, speeds.

    Weights are random, which changes no result. What does not fit is a row without a value that
    says why.

    Args:
        config: What to measure.
        on_note: Called with a line of text for each skipped measurement.
    """
    rows = [
        row
        for name in config.names
        for tokens in (("channel", "spatial") if name == "atresnet18" else (None,))
        for row in model_rows(config, name, tokens)
    ]
    for row in rows:
        if row["value"] is None and on_note is not None:
            on_note(f"{title(row)}, batch {row['batch_size']}, {row['quantity']}: {row['reason']}")
    return rows


def model_rows(config: CostConfig, name: str, tokens: str | None) -> Iterator[Row]:
    """All rows of one model."""
    empty = measure.build_empty(
        name, config.num_classes, config.img_size, tokens=tokens or "channel"
    )
    about = {
        "model": name, "tokens": tokens, "img_size": config.img_size,
        "num_classes": config.num_classes, "precision": "float32",
    }  # fmt: skip

    def row(quantity: str, value: float | None, unit: str, **more: Any) -> Row:
        rest: Row = dict.fromkeys(("low", "high", "batch_size", "attention", "repeats", "stable"))
        rest |= {"basis": "counted", "reason": None}
        return {**about, "quantity": quantity, "value": value, "unit": unit, **rest, **more}

    yield row("parameters", measure.count_parameters(empty), "1")
    yield row("gmac", measure.count_gmac(empty), "1e9")
    yield row("weights_bytes", measure.weights_size(empty), "bytes")
    yield row("checkpoint_bytes", measure.checkpoint_size(empty), "bytes")
    passes = [(a, kind, grad) for a in ATTENTION for kind, grad in PASSES]
    peaks = {}
    for attention, kind, grad in passes:
        memory = measure.replay_memory(empty, MEMORY_BATCH, grad=grad, attention=attention)
        peaks[attention, grad] = memory.peak_bytes
        more: Row = {"batch_size": MEMORY_BATCH, "attention": attention, "basis": memory.basis}
        yield row(kind, memory.peak_bytes, "bytes", **more)
        if grad:
            yield row("saved_bytes", memory.saved_bytes, "bytes", **more)
    reason = lacking(4 * measure.count_parameters(empty), config.device)
    if reason:
        yield row("images_per_second", None, "1/s", batch_size=1, basis="timed", reason=reason)
        return
    model = create_model(name, config.num_classes, config.img_size, tokens=tokens or "channel")
    model.to(config.device).eval()
    pace = 0.0  # images per second, at the previous batch size
    for batch_size in config.batches:
        more = {"batch_size": batch_size, "basis": "timed"}
        peak = measure.replay_memory(empty, batch_size).peak_bytes
        reason = lacking(peak, config.device) or too_slow(pace, batch_size, config.seconds)
        if reason:
            yield row("images_per_second", None, "1/s", reason=reason, **more)
            continue
        speed = measure.measure_speed(
            model, batch_size=batch_size, repeats=config.repeats, seconds=config.seconds
        )
        pace = speed.value
        more |= {"low": speed.low, "high": speed.high, "repeats": speed.repeats}
        yield row("images_per_second", speed.value, "1/s", stable=speed.stable, **more)
    for attention, kind, grad in passes if config.device.startswith("cuda") else []:
        more = {"batch_size": MEMORY_BATCH, "attention": attention, "basis": "allocated"}
        reason = lacking(peaks[attention, grad], config.device)
        if reason:
            yield row(kind, None, "bytes", reason=reason, **more)
        else:
            memory = measure.measure_memory(model, MEMORY_BATCH, grad=grad, attention=attention)
            yield row(kind, memory.peak_bytes, "bytes", **more)


def lacking(needed: int, device: str) -> str:
    """Why ``needed`` bytes don't fit on ``device``; empty if they do, or if that is unknown."""
    free = free_memory(device)
    if free is None or needed <= 0.8 * free:
        return ""
    return f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"


def too_slow(pace: float, batch_size: int, seconds: float) -> str:
    """Why a speed would take longer than ``seconds``, given images per second; else empty."""
    expected = (measure.WARM_UP + measure.FEWEST) * batch_size / pace if pace else 0.0
    if expected <= seconds:
        return ""
    return f"would take {expected:.0f} s (limit {seconds:g} s)"


def free_memory(device: str) -> int | None:
    """Bytes free on ``device``; None if the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    known = Path("/proc/meminfo")
    if known.exists():
        lines = dict(line.split(":") for line in known.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    names = getattr(os, "sysconf_names", {})
    if "SC_AVPHYS_PAGES" in names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def title(row: Row) -> str:
    """A row's model in words."""
    name = str(TITLES.get(row["model"], row["model"]))
    return f"{name} ({row['tokens']} tokens)" if row["tokens"] else name


def count_table(rows: Sequence[Row]) -> Any:
    """Parameters, multiply-accumulates and bytes on disk, one row per model."""
    import pandas as pd

    columns = {
        "parameters": ("parameters", 1, ",.0f"),
        "gmac": ("GMAC an image", 1, ".3f"),
        "weights_bytes": ("weights, MB", MB, ",.1f"),
        "checkpoint_bytes": ("training checkpoint, MB", MB, ",.2f"),
    }
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["quantity"] in columns:
            name, unit, form = columns[row["quantity"]]
            cells.setdefault(title(row), {})[name] = format(row["value"] / unit, form)
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("model")


def captioned(table: Any, words: str) -> Any:
    """A table with a caption, where several are shown by one cell."""
    return table.style.set_caption(words).set_table_attributes('class="dataframe"')


def memory_table(rows: Sequence[Row], attention: str = "explicit") -> Any:
    """Peak memory under ``no_grad`` and with autograd on, and what autograd keeps, in MB."""
    import pandas as pd

    columns = {
        "memory_no_grad_bytes": "no_grad",
        "memory_autograd_bytes": "autograd on",
        "saved_bytes": "of it kept for backward",
    }
    cells: dict[str, dict[str, str]] = {}
    for row in select(rows, attention=attention):
        value = "not run" if row["value"] is None else f"{row['value'] / MB:,.0f}"
        how = "" if row["basis"] == "replayed" else ", allocated"
        if row["quantity"] in columns:
            cells.setdefault(title(row), {})[f"{columns[row['quantity']]}{how}, MB"] = value
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("model")


def speed_table(rows: Sequence[Row]) -> Any:
    """Images per second by batch size: the median, "unstable" with quartiles, or why not run."""
    import pandas as pd

    cells: dict[str, dict[str, str]] = {}
    for row in select(rows, quantity="images_per_second"):
        cells.setdefault(title(row), {})[f"batch {row['batch_size']}"] = speed_text(row)
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("images/s").fillna("")


def compare_speeds(first: str, second: str, places: Mapping[str, Sequence[Row]]) -> str:
    """How many times as fast as a second model a first one is, one image at a time, by machine.

    The range is that of the quartiles: the slowest of one against the fastest of the other.
    """
    lines = []
    for place, rows in places.items():
        one, other = (
            next(iter(select(rows, model=name, quantity="images_per_second", batch_size=1)), None)
            for name in (first, second)
        )
        if one and other and one["value"] and other["value"]:
            low, high = one["low"] / other["high"], one["high"] / other["low"]
            lines.append(f"{low:.2f} to {high:.2f} on {place}")
    if not lines:
        return ""
    ratio = f"the speed of {TITLES[first]} over that of {TITLES[second]}"
    return f"One image at a time, {ratio}: {'; '.join(lines)}"


def speed_text(row: Row) -> str:
    """One speed as text; an unstable one is marked as such."""
    if row["value"] is None:
        return f"not run: {row['reason']}"
    spread = f"{row['low']:.3g} to {row['high']:.3g}"
    return f"{row['value']:.3g} ({spread})" if row["stable"] else f"unstable: {spread}"
