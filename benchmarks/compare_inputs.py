"""What the input paths do to accuracy: the same small model, trained through each, several seeds.

Each run is an ordinary one, resumable and recorded in ``--runs-dir``; the table and the record hold
the mean over seeds and, for each path against ``reference``, the paired difference by seed with its
95% t interval.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import shlex
from pathlib import Path

import torch
from input import shown_arguments

from attnlib.config import INPUTS
from attnlib.records.measurements import write_measurements
from attnlib.stats.intervals import mean_interval


def train(path: str, seed: int, options: argparse.Namespace) -> al.Run:
    """One run, or its record if it is finished."""
    config = al.TrainConfig.from_params(
        model=options.model,
        profile="thesis",
        pretrained=False,
        dataset="npz",
        data_path=options.data_path,
        limit=options.limit,
        epochs=options.epochs,
        warmup_epochs=1,
        batch_size=options.batch_size,
        img_size=options.img_size,
        lr=options.lr,
        ema=0.0,
        input=path,
        seed=seed,
        device=options.device,
        runs_dir=options.runs_dir,
    )
    return al.run_experiment(config, on_epoch=lambda epoch: print(path, seed, epoch, flush=True))


def compare(options: argparse.Namespace) -> tuple[list[dict[str, object]], str]:
    """A row a path and seed, and a row a path with the mean over seeds; the data set's title."""
    runs = {(p, s): train(p, s, options) for s in range(options.seeds) for p in INPUTS}
    accuracies = {key: run.record.metrics.test_accuracy.value for key, run in runs.items()}
    rows: list[dict[str, object]] = []
    for (path, seed), run in runs.items():
        accuracy = run.record.metrics.test_accuracy
        rows.append({
            "path": path, "seed": seed, "accuracy": accuracy.value, "low": accuracy.low,
            "high": accuracy.high, "n": accuracy.n,
            "train_loss": run.history[-1]["train_loss"], "run": run.name,
        })  # fmt: skip
    for path in INPUTS:
        own = [accuracies[path, seed] for seed in range(options.seeds)]
        gaps = [accuracies[path, s] - accuracies["reference", s] for s in range(options.seeds)]
        row: dict[str, object] = {"path": path, "seed": None, "accuracy": sum(own) / len(own)}
        if path != "reference":
            gap = mean_interval(gaps)
            row |= {"difference": gap.value, "low": gap.low, "high": gap.high}
        rows.append(row)
    return rows, runs["fast", 0].record.dataset.title


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-path", required=True, help="FILE.npz of images")
    parser.add_argument("--model", default="timm/test_resnet", help="(timm/test_resnet)")
    parser.add_argument("--img-size", type=int, default=64, help="pixels of a side (64)")
    parser.add_argument("--limit", type=int, default=10_000, help="training images (10,000)")
    parser.add_argument("--epochs", type=int, default=8, help="(8)")
    parser.add_argument("--batch-size", type=int, default=64, help="(64)")
    parser.add_argument("--lr", type=float, default=2e-3, help="(2e-3)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    parser.add_argument("--runs-dir", default="runs/compare-inputs", help="where runs are kept")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, title = compare(options)
    for row in rows:
        if row["seed"] is None:
            gap = "  {difference:+.2%} [{low:+.2%}, {high:+.2%}] to reference"
            print(f"{row['path']:10} {row['accuracy']:.2%}" + (
                gap.format(**row) if "difference" in row else ""
            ))  # fmt: skip
    if options.out:
        about = {
            k: v for k, v in vars(options).items() if k not in ("data_path", "out", "runs_dir")
        }
        command = shlex.join(["python", "benchmarks/compare_inputs.py", *shown_arguments()])
        rows = [row | about | {"dataset": title} for row in rows]
        write_measurements(options.out, "compare_inputs", rows, command, device=options.device)


if __name__ == "__main__":
    main()
