"""``attnlib compare``: two runs on the same images, paired, as the notebook of errors does."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from attnlib.commands.arguments import (
    RUNS,
    Subcommands,
    add_command,
    add_forms,
    add_runs_dir,
    complete,
)
from attnlib.commands.output import painted, print_rows

if TYPE_CHECKING:
    from attnlib.compare.paired_tests import PairedTest


def add_compare(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compare",
        "compare two runs on the same test images, paired",
        "attnlib compare RUN_A RUN_B",
        compare_two,
    )
    for name in ("a", "b"):
        complete(parser.add_argument(name, metavar=name.upper(), help="a run"), RUNS)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add_runs_dir(parser)
    add_forms(parser)


def compare_two(chosen: argparse.Namespace) -> int:
    """Print the test over all images, and one for each class."""
    from attnlib.compare.comparison import compare_runs
    from attnlib.compare.paired_tests import class_tests, pair_tests
    from attnlib.records.find import find_run
    from attnlib.stats.intervals import p_words

    runs = [find_run(given, chosen.runs_dir) for given in (chosen.a, chosen.b)]
    folders = {run.name: run.path for run in runs}
    if len(folders) < 2:
        raise ValueError(f"expected two different runs; got {runs[0].name} twice")
    comparison = compare_runs(folders)
    a, b = comparison.names
    ((_, _, whole, kappa),) = pair_tests(comparison, chosen.seed)
    tests = class_tests(comparison, a, b)
    rows = [_test_row(test) for test in sorted(tests, key=lambda test: test.p)]
    if chosen.form == "json":
        total = {k: v for k, v in _test_row(whole).items() if k != "class"}
        values = {"a": runs[0].name, "b": runs[1].name, **total, "kappa": kappa, "per_class": rows}
        print(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False))
        return 0
    if chosen.form == "table":
        print(painted(f"A  {a}\nB  {b}", "bold"))
        print(f"\n{whole.n} test images, each classified by both\n")
        for name in (a, b):
            print(f"{'AB'[name == b]}  {comparison.accuracy(name)}")
        print(f"A - B, points  {_points(_test_row(whole))}")
        print(f"only A right   {whole.only_a}\nonly B right   {whole.only_b}")
        print(f"p (McNemar)    {p_words(whole.p)}\nkappa          {kappa:.2f}")
        print(f"               {painted(_verdict(whole), 'bold')}\n")
    print_rows(rows, chosen.form, _class_words)
    return 0


def _test_row(test: "PairedTest") -> dict[str, Any]:
    """A test's numbers."""
    return {
        "class": test.name,
        "images": test.n,
        "accuracy_a": float(test.accuracy_a),
        "accuracy_b": float(test.accuracy_b),
        "difference": test.difference.value,
        "low": test.difference.low,
        "high": test.difference.high,
        "only_a": test.only_a,
        "only_b": test.only_b,
        "p": test.p,
        "p_holm": test.p_holm,
        "verdict": _verdict(test),
    }


def _verdict(test: "PairedTest") -> str:
    """Which of the two is better, by their letters."""
    return test.verdict.replace("first", "A").replace("second", "B")


def _points(row: dict[str, Any]) -> str:
    """The difference with its interval, in percentage points."""
    value, low, high = (100 * row[key] for key in ("difference", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _class_words(row: Any) -> dict[str, str]:
    """A class's row for the terminal."""
    from attnlib.stats.intervals import p_words

    return {
        "class": row["class"],
        "images": str(row["images"]),
        "A": f"{row['accuracy_a']:.1%}",
        "B": f"{row['accuracy_b']:.1%}",
        "A - B, points": _points(row),
        "p (Holm)": p_words(row["p_holm"]),
        "verdict": row["verdict"],
    }
