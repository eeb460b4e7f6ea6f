"""What bfloat16 does to accuracy: the same models trained in float32 and in bfloat16, per seed.

Each run is an ordinary one, resumable and recorded in ``--runs-dir``; the record holds every run,
the mean over seeds, and the paired difference by seed with its 95% t interval.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import shlex
from pathlib import Path

import torch
from compare_inputs import compare, print_means
from input import shown_arguments

from attnlib.records.measurements import Row, write_measurements

PRECISIONS = {"float32": "false", "bfloat16": "true"}  # values of amp on a CPU
LEARNING_RATES = {"deit_t": 5e-4, "resnet18": 4e-3}  # the best of lr-MODEL-cpu.json


def train(model: str, precision: str, seed: int, options: argparse.Namespace) -> al.Run:
    """One run, or its record if it is finished."""
    config = al.TrainConfig.from_params(
        model=model,
        profile="cpu-reference",
        data_path=options.data_path,
        limit=options.limit,
        epochs=options.epochs,
        batch_size=128,
        lr=LEARNING_RATES[model],
        amp=PRECISIONS[precision],
        seed=seed,
        device="cpu",
        runs_dir=options.runs_dir,
    )
    return al.run_experiment(config, on_epoch=lambda epoch: print(precision, seed, epoch))


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-path", required=True, help="FILE.npz of images")
    parser.add_argument("--limit", type=int, default=15_000, help="training images (15,000)")
    parser.add_argument("--epochs", type=int, default=3, help="(3)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--runs-dir", default="runs/compare-precision", help="where runs are kept")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for model in LEARNING_RATES:
        runs = {
            (precision, seed): train(model, precision, seed, options)
            for seed in range(options.seeds)
            for precision in PRECISIONS
        }
        print(model)
        found = compare(runs, "precision", "float32")
        print_means(found, "precision", "float32")
        about = {"model": model, "limit": options.limit, "epochs": options.epochs}
        title = runs["float32", 0].record.dataset.title
        rows += [{**about, **row, "dataset": title} for row in found]
    if options.out:
        command = shlex.join(["python", "benchmarks/compare_precision.py", *shown_arguments()])
        write_measurements(options.out, "compare_precision", rows, command)


if __name__ == "__main__":
    main()
