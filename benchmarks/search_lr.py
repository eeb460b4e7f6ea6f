"""Which learning rate a profile's runs should have: short runs, compared on the validation set.

Each run is an ordinary one, resumable and recorded in ``--runs-dir``, on a part of the training
images and for few epochs. The record holds a row a model and rate; ``is_best`` marks the choice.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import shlex
from pathlib import Path

import torch
from input import shown_arguments

from attnlib.records.measurements import write_measurements


def train(model: str, lr: float, options: argparse.Namespace) -> al.Run:
    """One run, or its record if it is finished."""
    name, _, pretrained = model.partition(":")
    params = {
        "model": name, "pretrained": pretrained == "pretrained", "lr": lr,
        "profile": options.profile, "data_path": options.data_path, "limit": options.limit,
        "epochs": options.epochs, "device": options.device, "runs_dir": options.runs_dir,
    }  # fmt: skip
    config = al.TrainConfig.from_params(**params | dict(options.params))
    return al.run_experiment(config, on_epoch=lambda epoch: print(model, lr, epoch, flush=True))


def search(model: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row a learning rate, the best of them marked."""
    runs = {lr: train(model, lr, options) for lr in options.lrs}
    accuracies = {
        lr: max(epoch["val_accuracy"] for epoch in run.history) for lr, run in runs.items()
    }
    best = max(accuracies, key=lambda lr: accuracies[lr])
    return [
        {
            "model": model, "lr": lr, "val_accuracy": accuracies[lr], "is_best": int(lr == best),
            "epochs": options.epochs, "limit": options.limit, "profile": options.profile,
            "batch_size": run.config["batch_size"], "dataset": run.record.dataset.title,
            "params": " ".join(f"-p {name} {value}" for name, value in options.params),
            "run": run.name,
        }
        for lr, run in runs.items()
    ]  # fmt: skip


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="NAME or NAME:pretrained")
    parser.add_argument("--data-path", required=True, help="FILE.npz of images")
    parser.add_argument("--profile", default="cpu-reference", help="(cpu-reference)")
    parser.add_argument(
        "--lrs", type=float, nargs="+", default=[2.5e-4, 5e-4, 1e-3, 2e-3], help="(2.5e-4 to 2e-3)"
    )
    parser.add_argument("--limit", type=int, default=9_000, help="training images (9,000)")
    parser.add_argument("--epochs", type=int, default=2, help="(2)")
    parser.add_argument(
        "-p", dest="params", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="any other parameter of the runs, as of a notebook",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    parser.add_argument("--runs-dir", default="runs/search-lr", help="where runs are kept")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for model in options.models for row in search(model, options)]
    for row in rows:
        print("{model:28} {lr:.1e} {val_accuracy:.2%}".format(**row), "best" * row["is_best"])
    if options.out:
        command = shlex.join(["python", "benchmarks/search_lr.py", *shown_arguments()])
        write_measurements(options.out, "search_lr", rows, command, device=options.device)


if __name__ == "__main__":
    main()
