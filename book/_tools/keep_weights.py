"""Keep a finished run in results/ with its weights, in float16: python keep_weights.py RUN DATA.

The rounded network is evaluated again on the run's own data, and its record says what it gets.
"""

import argparse
import sys
from pathlib import Path

from attnlib.data.datasets import load_dataset
from attnlib.records.find import load_run
from attnlib.records.keep import keep_weights
from attnlib.records.run import Run

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Keep the run that the command line names, and say what its rounded weights get."""
    parser = argparse.ArgumentParser(description="Keep a run with its weights, in float16.")
    parser.add_argument("run", help="a finished run, by name or folder")
    parser.add_argument("data", nargs="?", help="file or folder of its data, if it needs one")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    options = parser.parse_args()
    try:
        run = load_run(options.run)
        dataset, limit = run.config["dataset"], run.config.get("limit")
        data = load_dataset(dataset, options.data, limit=limit, seed=run.record.seeds.split)
        sys.stdout.write(told(keep_weights(run, data, options.results)))
    except (ValueError, OSError) as fault:
        sys.exit(f"error: {fault}")


def told(run: Run) -> str:
    """What was kept, and the accuracy before and after rounding."""
    kept, before = run.record.kept_weights, run.record.metrics.test_accuracy
    assert kept is not None
    return (
        f"{run.path}: {kept.bytes / 1e6:.1f} MB of weights in {kept.dtype}, "
        f"{kept.test_accuracy.value:.2%} of {before.n} test images right; "
        f"the run itself: {before.value:.2%}\n"
    )


if __name__ == "__main__":
    main()
