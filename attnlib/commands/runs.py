"""``attnlib runs``: a table of the finished runs."""

import argparse
from typing import TYPE_CHECKING, Any

from attnlib.commands.arguments import Subcommands, add_command, add_forms, add_runs_dir
from attnlib.commands.output import PrintedRow, print_rows, warn
from attnlib.commands.train import single_values
from attnlib.config import TrainConfig
from attnlib.parameters import parse_params

if TYPE_CHECKING:
    from attnlib.records.run import Run

SORTS = ("name", "accuracy", "loss", "parameters", "seconds", "finished")


def add_runs(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "runs",
        "list the finished runs, sorted and filtered",
        "attnlib runs --sort accuracy --reverse -p model deit_t",
        list_finished,
    )
    parser.add_argument("--sort", choices=SORTS, default="name", help="(default: name)")
    parser.add_argument("--reverse", action="store_true", help="the greatest first")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help="only runs with this value of a parameter; may be repeated",
    )  # fmt: skip
    add_runs_dir(parser)
    add_forms(parser)


def list_finished(chosen: argparse.Namespace) -> int:
    """Print a row for each finished run; folders that can't be read are named."""
    from attnlib.records.find import find_folders, read_runs

    wanted = single_values(chosen.parameters)
    values = {**dict.fromkeys(wanted), **parse_params(TrainConfig, dict(wanted))}
    found = read_runs(*find_folders("results", chosen.runs_dir))
    runs = [run for run in found.runs if has_values(run, values)]
    rows = sorted(map(row_of_run, runs), key=lambda row: row[chosen.sort], reverse=chosen.reverse)
    if rows:
        print_rows(rows, chosen.form, words_of_run)
    elif chosen.form == "json":
        print("[]")
    for folder, reason in found.left_out.items():
        warn(f"left out: {folder}: {reason}")
    if not rows:
        warn("no finished run" + (" has these values" if found.runs else ""))
    return 0


def has_values(run: "Run", values: dict[str, Any]) -> bool:
    """Whether the run's configuration has these values; parameters it lacks have the default."""
    config = TrainConfig.from_values(run.config)
    return all(getattr(config, name) == value for name, value in values.items())


def row_of_run(run: "Run") -> PrintedRow:
    """What is listed of a run."""
    record, accuracy = run.record, run.record.metrics.test_accuracy
    return {
        "name": run.name,
        "title": run.title,
        "data": record.dataset.title,
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "images": accuracy.n,
        "loss": record.metrics.test_loss,
        "parameters": record.cost.parameters,
        "seconds": record.cost.wall_seconds,
        "finished": record.finished,
        "weights": run.has_weights,
    }


def words_of_run(row: PrintedRow) -> dict[str, str]:
    """A run's row for the terminal."""
    return {
        "run": row["name"],
        "data": row["data"],
        "accuracy": f"{row['accuracy']:.2%}",
        "95% interval": f"{row['low']:.2%} to {row['high']:.2%}",
        "parameters": f"{row['parameters']:,}",
        "finished": row["finished"][:10],
        "weights": "yes" if row["weights"] else "no",
    }
