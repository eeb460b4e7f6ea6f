"""One page for each measurement file, and a table of them all.

    python book/_tools/make_measurements.py --results results/measurements --out book/runs

Numbers in the text link to their rows here. The output is reproducible.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnlib.escaping import code, markdown
from attnlib.records.measurements import Measurements, Row, read_measurements
from attnlib.records.provenance import commit_words
from page_parts import ROOT, address, command, device_words, table, write

TITLES = {
    "cost": "Cost of the models",
    "scaling": "Cost of attention by tokens",
    "human": "Beside people: cue conflict",
    "human-cifar10h": "Beside people: CIFAR-10H",
    "input": "Speed of the input paths",
    "compare_inputs": "Accuracy by input path",
    "compare_precision": "Accuracy by precision",
    "layer_similarity": "Similarity of layers",
    "search_lr": "Search for a learning rate",
    "step": "Speed of a training step",
    "scale": "Growth with images, classes and runs",
    "rounding": "Rounded weights of the page Look inside",
}
# Results come after what they are results of.
LAST = ("value", "low", "high", "unit", "repeats", "stable", "basis", "reason")
NOTES = {
    "cost": "A speed is the median of the timed steps, its interval their quartiles.",
    "scaling": "A time is the fastest of its repeats; low and high are the quartiles of them all.",
    "scale": "A time is the median of its repetitions, with their range. An exponent of 1 is "
    "linear: value is that of a line through the logarithms of all sizes, with its 95% interval, "
    "and last is the growth between the two largest sizes, where what costs the same at every size "
    "counts least.",
    "compare_inputs": "A row without a seed is the mean over seeds. If it has a difference (from "
    "reference, seed by seed), low and high are the ends of that difference's 95% interval.",
    "compare_precision": "A row without a seed is the mean over seeds; its difference is from "
    "float32, seed by seed, with the 95% interval.",
    "layer_similarity": "A row with a cka is a pair of layers, a mean over seeds; one with a "
    "question holds a difference in mean CKA with its 95% interval over seeds and images.",
}


def titles(files: Sequence[Measurements]) -> dict[str, str]:
    """Titles by file name: the subject, and the device or name if needed to distinguish files."""
    found = {}
    for measured in files:
        words, stem = TITLES.get(measured.kind, measured.kind), measured.path.stem
        device = str(measured.device["type"])
        alike = [f for f in files if f.kind == measured.kind and f.device["type"] == device]
        if len(alike) > 1:
            words += f" ({stem})"
        elif stem.endswith(f"-{device}"):
            words += f" ({device.upper()})"
        found[measured.path.name] = words
    return found


def value(item: Any) -> str:
    """A number with five digits, a boolean as a word, missing values as nothing."""
    if item is None:
        return ""
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float):
        return f"{item:.5g}"
    return markdown(item)


def columns_of(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Columns by heading; a value and its interval are one column."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys.sort(key=lambda key: LAST.index(key) if key in LAST else -1)
    ends = {}
    for key in keys:
        stem = key.removesuffix("_value")
        pair = ("low", "high") if key == "value" else (f"{stem}_low", f"{stem}_high")
        if set(pair) <= set(keys) and all(holds(row, key, *pair) for row in rows):
            ends[key] = pair
    taken = {end for pair in ends.values() for end in pair}
    return {
        markdown(key.removesuffix("_value").replace("_", " ")): (key, *ends.get(key, ()))
        for key in keys
        if key not in taken
    }


def holds(row: Row, key: str, low: str, high: str) -> bool:
    """Whether the value is between the ends, if there are any."""
    found = row.get(key), row.get(low), row.get(high)
    return None in found or found[1] <= found[0] <= found[2]


def entry(row: Row, keys: Sequence[str]) -> str:
    """One cell: a value, with its interval if any."""
    first, *ends = (value(row.get(key)) for key in keys)
    interval = f" [{', '.join(ends)}]" if first and ends and all(ends) else ""
    return first + interval.replace(" ", "\N{NO-BREAK SPACE}")


def tables(rows: Sequence[Row]) -> str:
    """A table for each group of rows, with headings if there are several."""
    parts: dict[str, list[tuple[int, Row]]] = {}
    for index, row in enumerate(rows):
        parts.setdefault(str(row.get("part", "")), []).append((index, row))
    names = [markdown(part.replace("_", " ").capitalize()) for part in parts]
    heads = [f"### {name}\n\n" if name else "" for name in names]
    return "".join(
        head + one_table(group) for head, group in zip(heads, parts.values(), strict=True)
    )


def one_table(group: Sequence[tuple[int, Row]]) -> str:
    """Rows with headings; values that are the same in all rows are given once, above."""
    rows = [{key: item for key, item in row.items() if key != "part"} for _, row in group]
    columns = columns_of(rows)
    texts = {name: [entry(row, keys) for row in rows] for name, keys in columns.items()}
    if len(rows) == 1:
        return table(("What", "Value"), [(name, cells[0]) for name, cells in texts.items()]) + "\n"
    same = {name: cells[0] for name, cells in texts.items() if len(set(cells)) == 1}
    vary = {name: cells for name, cells in texts.items() if name not in same}
    said = "; ".join(f"{name} {text}" for name, text in same.items() if text)
    above = f"The same in all {len(rows):,} rows: {said}.\n\n" if said else ""
    lines = []
    for place, (index, _) in enumerate(group):
        first, *rest = (cells[place] for cells in vary.values())
        lines.append((f'<span id="row-{index}"></span>{first}', *rest))
    letters = "".join("r" if numeric(cells) else "l" for cells in vary.values())
    return f"{above}{table([*vary], lines, letters)}\n"


def numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers."""
    filled = [text for text in cells if text]
    return bool(filled) and all(text.lstrip("-")[0].isdigit() for text in filled)


def page(measured: Measurements, title: str, address: str) -> str:
    """Markdown of one file's page."""
    file = f"results/measurements/{measured.path.name}"
    facts = [
        ("File", f"[{code(file)}]({address}/blob/main/{file})"),
        ("Commit", commit_words(**measured.git)),
        ("Device", f"{markdown(measured.device['type'])}: {device_words(measured.device)}"),
        *busy(measured.device),
        ("Date", markdown(measured.date)),
        ("Versions", markdown(", ".join(f"{k} {v}" for k, v in measured.versions.items()))),
    ]
    note = f"{NOTES[measured.kind]}\n\n" if measured.kind in NOTES else ""
    return f"""(measurement-{measured.path.stem})=
# {markdown(title)}

{len(measured.rows):,} rows, measured on {markdown(measured.date[:10])} with

{command(measured.command)}

(rows-of-{measured.path.stem})=
## The rows

{note}{tables(measured.rows)}
## Where these numbers come from

{table(("What", "Value"), facts)}"""


def busy(device: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The load of the machine, if recorded."""
    load = device.get("load_average")
    return [] if load is None else [("Load", markdown(f"{load} on {device['cores']} cores"))]


def index_page(files: Sequence[Measurements]) -> str:
    """The table of all files."""
    names = titles(files)
    rows = [
        (
            f"[{markdown(names[measured.path.name])}](measurements/{measured.path.stem}.md)",
            f"{len(measured.rows):,}",
            device_words(measured.device),
            markdown(measured.date[:10]),
        )
        for measured in files
    ]
    return f"""(all-measurements)=
# All measurements

What was measured besides the runs: speed and memory, learning rates and precision in short
trainings, the similarity of layers, and the comparisons with people. Each page shows a file's rows
(in print it only names the file), the command that made them, and the device. A number in the text
that was measured leads to its row.

{table(("What", "Rows", "Device", "Date"), rows, "lrll")}"""


def main() -> None:
    """Write the pages and remove those of deleted files."""
    parser = argparse.ArgumentParser(description="Write the book's pages about measurements.")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "measurements")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "runs")
    options = parser.parse_args()
    files = []
    for path in sorted(options.results.glob("*.json")):
        try:
            files.append(read_measurements(path))
        except ValueError as fault:
            sys.stderr.write(f"left out: {fault}\n")
    folder = options.out / "measurements"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in {measured.path.stem for measured in files}:
            path.unlink()
    for measured in files:
        title = titles(files)[measured.path.name]
        text = page(measured, title, address())
        write(folder / f"{measured.path.stem}.md", text)
    write(options.out / "measurements.md", index_page(files))


if __name__ == "__main__":
    main()
