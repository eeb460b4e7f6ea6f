"""``attnlib show``: one run, its scores, where its numbers come from, and whether it is intact."""

import argparse
import json
from typing import TYPE_CHECKING

from attnlib.commands.arguments import Subcommands, add_command, add_run
from attnlib.commands.output import format_table, painted, warn

if TYPE_CHECKING:
    from attnlib.records.record import Accuracy, Score
    from attnlib.records.run import Run

DAMAGED = 2
LABELS = {
    "test_accuracy": "test accuracy",
    "test_accuracy_top5": "top-5 accuracy",
    "test_accuracy_softmax": "heads' softmax averaged",
    "test_accuracy_ema": "averaged weights",
    "val_accuracy": "validation accuracy",
    "val_accuracy_ema": "averaged, validation",
    "test_calibration_error": "calibration error",
    "test_brier_score": "Brier score",
}


def add_show(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "show",
        "show one run: scores, provenance, and whether its files are intact",
        "attnlib show RUN --json | jq .metrics.test_accuracy",
        show,
    )
    add_run(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the record and the configuration as JSON"
    )


def show(chosen: argparse.Namespace) -> int:
    """Print what a run has left behind; 2 if a file of it is damaged."""
    from attnlib.records.find import find_run
    from attnlib.records.record import to_json

    run = find_run(chosen.run, chosen.runs_dir)
    if chosen.json:
        values = to_json(run.record) | {"config": run.config, "history": run.history}
        print(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_run(run)
    damage = run.find_damage()
    for fault in damage.values():
        warn(f"damaged: {fault}")
    return DAMAGED if damage else 0


def print_run(run: "Run") -> None:
    """Print the scores, the classes and the facts."""
    metrics = run.record.metrics
    print(painted(run.title, "bold"))
    print(f"run {run.name}\nin {run.path}\n")
    for name, label in LABELS.items():
        score = getattr(metrics, name)
        if score is not None:
            print(f"{label:25}{score_words(score)}")
    print(f"{'cross-entropy':25}{metrics.test_loss:.4f} nats")
    epochs = run.config["epochs"]
    averaged = f", of the average {metrics.best_epoch_ema}" if metrics.best_epoch_ema else ""
    print(f"{'best epoch':25}{metrics.best_epoch} of {epochs}{averaged}\n")
    rows = [
        {
            "class": one.name,
            "images": str(one.accuracy.n) if one.accuracy else "0",
            "accuracy": f"{one.accuracy.value:.1%}" if one.accuracy else "-",
        }
        for one in metrics.per_class
    ]
    print(format_table(rows))
    print(f"\n{run.summary()}")


def score_words(score: "Accuracy | Score") -> str:
    """A recorded score with its interval, shares in percent."""
    from attnlib.records.record import Accuracy

    form = "{:.2%} [{:.2%}, {:.2%}]" if isinstance(score, Accuracy) else "{:.4f} [{:.4f}, {:.4f}]"
    return form.format(score.value, score.low, score.high) + f" on {score.n} images"
