"""What the input paths do to accuracy: the same small model, trained through each, several seeds.

Each run is an ordinary one, resumable and recorded in ``--runs-dir``; the table and the record hold
the mean over seeds and, for each path against ``reference``, the paired difference by seed with its
95% t interval.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from input import shown_arguments

from attnlib.config import INPUTS
from attnlib.records.measurements import Row, write_measurements
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


def compare(runs: Mapping[tuple[str, int], al.Run], key: str, baseline: str) -> list[Row]:
    """A row for each run, by value and seed, then one for each value with the mean over seeds."""
    values, seeds = (list(dict.fromkeys(part)) for part in zip(*runs, strict=True))
    accuracies = {at: run.record.metrics.test_accuracy.value for at, run in runs.items()}
    rows: list[Row] = []
    for (value, seed), run in runs.items():
        accuracy = run.record.metrics.test_accuracy
        rows.append({
            key: value, "seed": seed, "accuracy": accuracy.value, "low": accuracy.low,
            "high": accuracy.high, "n": accuracy.n,
            "train_loss": run.history[-1]["train_loss"], "run": run.name,
        })  # fmt: skip
    for value in values:
        own = [accuracies[value, seed] for seed in seeds]
        row: Row = {key: value, "seed": None, "accuracy": sum(own) / len(own)}
        if value != baseline:
            gap = mean_interval([accuracies[value, s] - accuracies[baseline, s] for s in seeds])
            row |= {"difference": gap.value, "low": gap.low, "high": gap.high}
        rows.append(row)
    return rows


def print_means(rows: Sequence[Row], key: str, baseline: str) -> None:
    """The mean of each value over seeds, and its difference from the baseline."""
    for row in rows:
        if row["seed"] is None:
            gap = f"  {{difference:+.2%}} [{{low:+.2%}}, {{high:+.2%}}] to {baseline}"
            print(f"{row[key]:10} {row['accuracy']:.2%}" + (
                gap.format(**row) if "difference" in row else ""
            ))  # fmt: skip


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
    runs = {(path, s): train(path, s, options) for s in range(options.seeds) for path in INPUTS}
    rows = compare(runs, "path", "reference")
    print_means(rows, "path", "reference")
    if options.out:
        about = {
            k: v for k, v in vars(options).items() if k not in ("data_path", "out", "runs_dir")
        }
        command = shlex.join(["python", "benchmarks/compare_inputs.py", *shown_arguments()])
        title = runs["fast", 0].record.dataset.title
        rows = [row | about | {"dataset": title} for row in rows]
        write_measurements(options.out, "compare_inputs", rows, command, device=options.device)


if __name__ == "__main__":
    main()
