"""How fast the three input paths make batches, side by side with timm's own parts in a DataLoader.

The reference is timm's transforms (the thesis's recipe: jitter and both flips on) in DataLoader
workers, with timm's Mixup where batches are mixed. All paths take turns within each repetition, on
the same cores, and ratios are taken within a repetition.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import os
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import Mixup
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from attnlib.augmentation.pil_transforms import thesis_transform
from attnlib.data.loading import make_source
from attnlib.records.measurements import write_measurements
from attnlib.records.provenance import describe_device

MIXING = {"plain": {}, "mixed": {"cutmix": 1.0, "mixup": 0.8}}


class Samples(Dataset):
    """A split through timm's transforms, up to normalised tensors, as DeiT's script does it."""

    def __init__(self, split: al.Split, img_size: int):
        self.split = split
        self.transform = transforms.Compose(thesis_transform(img_size).transforms[:3])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.split.images[index])
        return self.transform(image), int(self.split.labels[index])


@dataclass
class Contest:
    """The same batches for all: positions in the split, one row a step."""

    data: al.Dataset
    positions: np.ndarray
    options: argparse.Namespace

    def reference(self, mixing: dict[str, float]) -> Callable[[], Iterator[object]]:
        """Made of timm's parts."""
        loader = DataLoader(
            Samples(self.data.train, self.options.img_size),
            batch_sampler=self.positions.tolist(),
            num_workers=self.options.workers,
            persistent_workers=True,
            pin_memory=self.options.device != "cpu",
        )
        mix = Mixup(
            mixup_alpha=mixing.get("mixup", 0.0),
            cutmix_alpha=mixing.get("cutmix", 0.0),
            label_smoothing=0.1,
            num_classes=len(self.data.class_names),
        )

        def batches() -> Iterator[object]:
            for images, labels in loader:
                images, labels = images.to(self.options.device), labels.to(self.options.device)
                yield mix(images, labels) if mixing else (images, labels)

        return batches

    def source(self, path: str, mixing: dict[str, float]) -> Callable[[], Iterator[object]]:
        """One of attnlib's paths."""
        config = al.TrainConfig(
            input=path,
            augment="thesis",
            img_size=self.options.img_size,
            label_smoothing=0.1,
            device=self.options.device,
            **mixing,
        )
        source = make_source(self.data.train, config, len(self.data.class_names))
        return lambda: source.batches(0, list(enumerate(self.positions)))


def images_per_second(batches: Callable[[], Iterator[object]], images: int, device: str) -> float:
    """Speed from the asking to the last batch."""
    started = time.perf_counter()
    for _ in batches():
        pass
    if device != "cpu":
        torch.cuda.synchronize()
    return images / (time.perf_counter() - started)


def measure(contest: Contest, repetitions: int) -> dict[str, list[float]]:
    """Images per second of every path and mixing, one number a repetition."""
    runners = {}
    for name, mixing in MIXING.items():
        runners[f"reference {name}"] = contest.reference(mixing)
        for path in ("faithful", "fast"):
            runners[f"{path} {name}"] = contest.source(path, mixing)
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for repetition in range(repetitions + 1):
        for name, batches in runners.items():
            speed = images_per_second(batches, contest.positions.size, contest.options.device)
            if repetition:  # the first one warms up
                speeds[name].append(speed)
    return speeds


def summarise(speeds: dict[str, list[float]], about: dict[str, object]) -> list[dict[str, object]]:
    """Median speed and range, and the same of the ratio to the reference with the same mixing."""
    rows = []
    for name, values in speeds.items():
        path, mixing = name.split()
        ratios = [v / r for v, r in zip(values, speeds[f"reference {mixing}"], strict=True)]
        row = {"path": path, "mixing": mixing}
        for key, numbers in (("images_per_second", values), ("ratio", ratios)):
            row |= {
                key: statistics.median(numbers),
                f"{key}_low": min(numbers),
                f"{key}_high": max(numbers),
            }
        rows.append(row | about)
    return rows


def peak_memory(device: str) -> dict[str, int]:
    """Peak MiB: of this process, of the largest worker, of the device."""
    usage = {"process": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    peaks = {f"peak_mib_{k}": resource.getrusage(who).ru_maxrss // 1024 for k, who in usage.items()}
    if device != "cpu":
        peaks["peak_mib_device"] = torch.cuda.max_memory_allocated() // 2**20
    return peaks


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-path", help="FILE.npz of images; if not given, embedded digits")
    parser.add_argument("--img-size", type=int, default=224, help="pixels of a side (224)")
    parser.add_argument("--batch-size", type=int, default=128, help="images (128)")
    parser.add_argument("--batches", type=int, default=8, help="in a repetition (8)")
    parser.add_argument("--repetitions", type=int, default=5, help="after one to warm up (5)")
    parser.add_argument("--workers", type=int, default=2, help="of the reference (2)")
    parser.add_argument("--threads", type=int, default=2, help="of the process (2)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    data = al.load_dataset("npz" if options.data_path else "digits", options.data_path)
    rng = np.random.default_rng(0)
    count = options.batches * options.batch_size
    positions = rng.permutation(np.resize(np.arange(len(data.train)), count))
    contest = Contest(data, positions.reshape(options.batches, options.batch_size), options)
    speeds = measure(contest, options.repetitions)
    about = {
        "dataset": data.title,
        "native": data.train.images.shape[1],
        "cores": len(os.sched_getaffinity(0)),
        **{k: v for k, v in vars(options).items() if k not in ("data_path", "out", "device")},
        **peak_memory(options.device),
    }
    rows = summarise(speeds, about)
    print(f"{describe_device(options.device)}\n{about}")
    print(f"{'path':11}{'mixing':8}{'images/s, median (range)':34}ratio to reference (range)")
    for row in rows:
        speed, ratio = (
            "{:{f}} ({:{f}} to {:{f}})".format(
                *(row[key + end] for end in ("", "_low", "_high")), f=form
            )
            for key, form in (("images_per_second", ".0f"), ("ratio", ".2f"))
        )
        print(f"{row['path']:11}{row['mixing']:8}{speed:34}{ratio}")
    if options.out:
        command = shlex.join(["python", "benchmarks/input.py", *shown_arguments()])
        write_measurements(options.out, "input", rows, command, device=options.device)


def shown_arguments() -> list[str]:
    """Arguments without folders, which differ from machine to machine."""
    return [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]


if __name__ == "__main__":
    main()
