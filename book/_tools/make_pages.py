"""One page for each finished run, and a table of them all, written from run records.

    python book/_tools/make_pages.py --runs runs --results results --out book/runs

Every number and picture is read from a record; nothing is measured here. The same records give the
same bytes, and unchanged pages are not rewritten, so the book rebuilds only what changed.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from attnbook.runs import shown_runs
from attnlib.escaping import code, code_block, markdown, printable
from attnlib.records.labels import label_runs
from attnlib.records.provenance import commit_words
from attnlib.records.record import to_json
from attnlib.records.run import Run
from page_parts import ROOT, address, command, device_words, table, write

# Drawn in these colours, then replaced by the page's, which differ by theme (custom.css).
COLOURS = {
    "#010101": "var(--pst-color-text-base, currentColor)",
    "#020202": "var(--pst-color-border, currentColor)",
    "#030303": "var(--attn-series-1, #0b62a8)",
    "#040404": "var(--attn-series-2, #b3471d)",
}
TEXT, RULE, TRAINING, VALIDATION = COLOURS
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "attnlib",
    "font.size": 11,
    "axes.edgecolor": RULE,
    "axes.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def labelled(runs: Iterable[Run]) -> dict[str, Run]:
    """Runs by display name."""
    runs = list(runs)
    return dict(sorted(zip(label_runs(runs), runs, strict=True)))


def percent(share: float) -> str:
    """0.9632 -> 96.3%."""
    return f"{share:.1%}"


def interval(metric: Mapping[str, Any]) -> str:
    """An accuracy with its interval, as text."""
    return f"{percent(metric['value'])} [{100 * metric['low']:.1f}, {100 * metric['high']:.1f}]"


def learning_curves(history: Sequence[Mapping[str, Any]], best: int, name: str) -> str:
    """Loss above accuracy, over epochs, as an SVG in the page's colours."""
    epochs = [line["epoch"] for line in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 5.0), layout="constrained")
        figure.patch.set_alpha(0)
        panels = figure.subplots(2, 1, sharex=True)
        for panel, quantity in zip(panels, ("loss", "accuracy"), strict=True):
            for part, colour, line in (("train", TRAINING, "--"), ("val", VALIDATION, "-")):
                values = [row.get(f"{part}_{quantity}") for row in history]
                if all(value is None for value in values):
                    continue  # training accuracy is not always measured
                label = {"train": "training", "val": "validation"}[part]
                values = [float("nan") if value is None else value for value in values]
                panel.plot(epochs, values, line, color=colour, marker="o", ms=3, label=label)
            panel.axvline(best, color=RULE, lw=1, zorder=0)
            panel.set_ylabel(f"{quantity}, nats" if quantity == "loss" else quantity)
            panel.patch.set_alpha(0)
        panels[0].legend(frameon=False)
        panels[1].yaxis.set_major_formatter(PercentFormatter(1))
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panels[1].set_xlabel("epoch (the vertical line marks the one that was kept)")
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().decode()
    for drawn, shown in COLOURS.items():
        svg = svg.replace(drawn, shown)
    # one page may hold several figures: no two may share an id
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{re.sub(r'[^A-Za-z0-9]+', '-', name)}-", svg)
    return re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)  # <style> would leak


def movement(first: float, last: float) -> str:
    """The verb for the change between a curve's ends."""
    return "rises" if last > first else "falls" if last < first else "stays"


def curve_words(history: Sequence[Mapping[str, Any]], best: int) -> tuple[str, str]:
    """Caption (a claim) and alternative text, both from the history."""
    start, end = history[0], history[-1]
    kept = next(line for line in history if line["epoch"] == best)
    verb = movement(start["val_accuracy"], kept["val_accuracy"])
    caption = (
        f"Validation accuracy {verb} from {percent(start['val_accuracy'])} after epoch "
        f"{start['epoch']} to {percent(kept['val_accuracy'])} after epoch {best}, whose weights "
        "are the ones tested."
    )
    parts = [f"Two line charts over {len(history)} epochs."]
    for key, label in (("train_loss", "Training loss"), ("val_loss", "Validation loss")):
        verb = movement(start[key], end[key])
        parts.append(f"{label} {verb} from {start[key]:.2f} to {end[key]:.2f}.")
    parts.append(
        f"Validation accuracy starts at {percent(start['val_accuracy'])}, is "
        f"{percent(kept['val_accuracy'])} at epoch {best} and ends at "
        f"{percent(end['val_accuracy'])}."
    )
    return caption, " ".join(parts)


def provenance(record: Mapping[str, Any]) -> str:
    """The table that says where the numbers come from."""
    data, device, n = record["dataset"], record["device"], record["dataset"]["sizes"]
    rows = [
        ("Run", code(record["name"])),
        ("Teacher", code(record["teacher"]) if record["teacher"] else "none"),
        ("Commit", commit_words(**record["git"])),
        ("Data", f"{markdown(data['title'])}, SHA-256 {code(data['sha256'])}"),
        ("Images", f"{n['train']:,} training, {n['val']:,} validation, {n['test']:,} test"),
        ("Device", f"{markdown(device['type'])}: {device_words(device)}"),
        ("Precision", markdown(record["precision"])),
        ("Seeds", markdown(", ".join(f"{name} {seed}" for name, seed in record["seeds"].items()))),
        ("Started", markdown(record["started"])),
        ("Finished", markdown(record["finished"])),
        ("Versions", markdown(", ".join(f"{name} {v}" for name, v in record["versions"].items()))),
    ]
    if kept := record.get("kept_weights"):
        size, share = f"{kept['bytes'] / 1e6:.1f} MB", interval(kept["test_accuracy"])
        words = f"{kept['dtype']}, {size}: with them, {share} of the test images are recognised"
        rows.append(("Kept weights", markdown(words)))
    return table(("What", "Value"), rows)


def run_page(label: str, run: Run, address: str, there: Mapping[str, Run]) -> str:
    """Markdown of one run's page; its figure is next to it as NAME.svg."""
    record = to_json(run.record)
    metrics, cost = record["metrics"], record["cost"]
    data, accuracy = record["dataset"], metrics["test_accuracy"]
    caption, alt = curve_words(run.history, metrics["best_epoch"])
    classes = [
        (markdown(row["class"]), *interval(row).split(maxsplit=1), row["n"])
        for row in metrics["per_class"]
        if "value" in row
    ]
    settings = [(code(key), code(value)) for key, value in sorted(run.config.items())]
    side, epochs, profile = (markdown(run.config[key]) for key in ("img_size", "epochs", "profile"))
    colab = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    return f"""(run-{run.name})=
# {markdown(label)}

The model, with {cost["parameters"]:,} parameters, recognises {interval(accuracy)} of the
{accuracy["n"]:,} test images of {markdown(data["title"])}; the brackets hold the interval
({markdown(accuracy["method"].replace(" %", "%"))}). Trained at
{side} pixels for {epochs} epochs (profile {profile})
in {cost["wall_seconds"]:,.0f} seconds on {device_words(record["device"])}.{taught(run, there)}

{command(record["command"])}

In the [training notebook in Colab]({colab}/blob/main/notebooks/train.ipynb) the same settings are,
in its first cell:

{code_block(assignments(record["command"]), "python")}

## Learning curves

```{{svg-figure}} {run.name}.svg
:alt: {alt}
:name: curves-{run.name}

{caption}
```

## Accuracy by class

{table(("Class", "Accuracy", "95% interval", "Images"), classes, "lrrr")}
## Where these numbers come from

{provenance(record)}
:::{{dropdown}} The whole configuration
:class-container: screen-only
{table(("Setting", "Value"), settings)}
:::
"""


def taught(run: Run, there: Mapping[str, Run]) -> str:
    """That the teacher is trained first, unless its weights are kept; linked if its page is."""
    teacher = run.record.teacher
    if not teacher or (teacher in there and there[teacher].record.kept_weights):
        return ""
    name = f"{{ref}}`run-{teacher}`" if teacher in there else code(teacher)
    return f" Its teacher has to be trained first: {name}."


def assignments(line: str) -> str:
    """The options of a command, ``-p name value``, as lines of a notebook's parameters."""
    try:
        given = shlex.split(line)
    except ValueError:  # not parsable as a shell command
        return ""
    pairs = [given[n + 1 : n + 3] for n, word in enumerate(given[:-2]) if word == "-p"]
    plain = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?|True|False|None")
    return "\n".join(
        f"{name} = {value if plain.fullmatch(value) else repr(value)}" for name, value in pairs
    )


def index_page(runs: Mapping[str, Run], left_out: Mapping[str, str]) -> str:
    """The table of all runs, and the folders that are not shown."""
    head = "(all-runs)=\n# All runs\n\n"
    told = "".join(f"- {code(folder)}: {markdown(why)}\n" for folder, why in left_out.items())
    tail = f"\nThese folders are left out:\n\n{told}" if left_out else ""
    if not runs:
        return (
            f"{head}There is no finished run record yet. {{doc}}`../reproduce` says how to make "
            f"one; it appears here when the book is built again.\n{tail}"
        )
    rows = [
        (
            f"[{markdown(label)}](records/{run.name}.md)",
            interval(to_json(run.record.metrics.test_accuracy)),
            markdown(run.record.dataset.title),
            f"{run.record.cost.parameters:,}",
            f"{run.record.cost.wall_seconds:,.0f}",
        )
        for label, run in runs.items()
    ]
    header = ("Run", "Test accuracy [95% interval]", "Data", "Parameters", "Seconds")
    return f"""{head}Every row is a finished run record. Its page gives the command that made it,
its configuration, the learning curves and where the numbers come from. Each row is one run with one
seed. Intervals that lie apart tell two trained networks apart, not two ways to train, since another
seed may move a row by more than its interval; where they overlap, a paired test on the same images
may still tell them apart ({{doc}}`errors`). A row "from a trained ..." may start from another row,
whose epochs then come before its own.

{table(header, rows, "lllrr")}{tail}"""


def main() -> None:
    """Write the pages and remove those of deleted runs."""
    parser = argparse.ArgumentParser(description="Write the book's pages about runs.")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "runs")
    options = parser.parse_args()
    shown = shown_runs(options.results, options.runs)
    runs = labelled(shown.runs)
    for folder, reason in shown.left_out.items():
        sys.stderr.write(f"left out: {' '.join(printable(f'{folder}: {reason}').split())}\n")
    there = {run.name: run for run in runs.values()}
    records = options.out / "records"
    records.mkdir(parents=True, exist_ok=True)
    place = address()
    for path in records.iterdir():
        if path.stem not in there:
            path.unlink()
    for label, run in runs.items():
        curves = learning_curves(run.history, run.record.metrics.best_epoch, run.name)
        write(records / f"{run.name}.svg", curves)
        page = run_page(label, run, place, there)
        write(records / f"{run.name}.md", page)
    write(options.out / "index.md", index_page(runs, shown.left_out))


if __name__ == "__main__":
    main()
