r"""How fast attnlib trains: on real data, on one batch that never changes, and timm's own parts.

The last is a loop assembled from timm as DeiT's script does it. Same model, batch and optimiser;
all take turns within each repetition, and ratios are taken within a repetition. Real against
unchanging says what making batches costs; attnlib against timm's parts says what the whole loop
gains. On a CPU that computes bfloat16, timm's parts run twice: in attnlib's precision, and in
float32, which is what its loop does there unless asked otherwise. On a GPU of known peak the share
of its FLOPs is printed beside images a second. What a CPU trains:

    python benchmarks/step.py --data-path cifar10-jpeg.npz --models deit_t,resnet18 \
        --img-size 32 --batch-size 64 --out step-cpu-32.json
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import copy
import itertools
import os
import resource
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm.optim
import timm.utils
import torch
from input import Samples, shown_arguments
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from attnlib.catalogue import TRANSFORMERS
from attnlib.config import SMALL_PATCH_SIZE
from attnlib.cost.measure import count_gmac
from attnlib.data.loading import Batch, make_source
from attnlib.losses import Objective, cross_entropy_objective, distillation_objective
from attnlib.records.measurements import write_measurements
from attnlib.records.provenance import describe_device
from attnlib.training.loop import Trainer
from attnlib.training.state import Training, amp_dtype, precision_name

ENDS = ("", "_low", "_high")
# Ways that the others are compared with, by the column of their ratios.
PEERS = {
    "to_timm": "timm", "to_timm_float32": "timm, float32", "to_unchanging": "unchanging batch",
}  # fmt: skip
# Dense peaks in TFLOP/s of the makers' data sheets, by what the device's name contains:
# (16 bits, 32 bits as TF32 where there is TF32).
PEAKS = {
    "H200": (989.4, 494.7), "H100": (989.4, 494.7), "A100": (311.9, 155.9), "L4": (121.0, 60.5),
    "T4": (65.1, 8.1), "K80": (0.0, 4.1),
}  # fmt: skip


class Unchanging:
    """A source that gives one batch again and again."""

    def __init__(self, batch: Batch):
        self.only = Batch(batch.images.clone(), batch.targets.clone())

    def batch(self, epoch: int, step: int, indices: object) -> Batch:
        """The batch."""
        return self.only

    def batches(self, epoch: int, steps: Sequence[object]) -> Iterator[Batch]:
        """The batch, for each step."""
        return itertools.repeat(self.only, len(steps))


@dataclass
class Bench:
    """One model and the ways to train it."""

    data: al.Dataset
    config: al.TrainConfig
    model: nn.Module
    teacher: nn.Module | None

    def objective(self) -> Objective:
        """What is minimised."""
        if self.teacher is None:
            return cross_entropy_objective
        return distillation_objective(self.teacher, "hard")

    def attnlib(self, path: str | None) -> Callable[[], None]:
        """One pass of attnlib's loop over the data; ``path`` None: over one batch."""
        config = replace(self.config, input=path or "fast")
        source = make_source(self.data.train, config, len(self.data.class_names))
        if path is None:
            source = Unchanging(source.batch(0, 0, np.arange(config.batch_size)))
        training = Training.start(copy.deepcopy(self.model), config)
        trainer = Trainer(training, self.data, config, self.objective(), source=source)

        def run() -> None:
            training.begin_epoch()
            trainer.train_epoch()

        return run

    def timm(self, workers: int, dtype: torch.dtype | None) -> Callable[[], None]:
        """The same by timm's parts, as DeiT's script puts them together; ``dtype`` of autocast."""
        config, device = self.config, torch.device(self.config.device)
        model = copy.deepcopy(self.model).train()
        optimizer = timm.optim.create_optimizer_v2(model, "adamw", config.lr, config.weight_decay)
        average = timm.utils.ModelEmaV2(model, config.ema) if config.ema else None
        mix = Mixup(
            config.mixup, config.cutmix, label_smoothing=0.1, num_classes=len(self.data.class_names)
        )
        base, cuda = SoftTargetCrossEntropy(), device.type == "cuda"
        order = np.random.default_rng(0).permutation(len(self.data.train))
        loader = DataLoader(
            Samples(self.data.train, config.img_size),
            batch_sampler=order.reshape(-1, config.batch_size).tolist(),
            num_workers=workers,
            persistent_workers=True,
            pin_memory=cuda,
        )

        def loss_of(images: Tensor, targets: Tensor) -> Tensor:
            if self.teacher is None:
                return base(model(images), targets)
            return self.objective()(model, images, targets)

        def run() -> None:
            for images, labels in loader:
                images, labels = images.to(device, non_blocking=True), labels.to(device)
                images, targets = mix(images, labels)
                with torch.autocast(device.type, dtype, enabled=dtype is not None):
                    loss = loss_of(images, targets)
                loss.item()  # DeiT's loop looks at each loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if average is not None:
                    average.update(model)
                if cuda:
                    torch.cuda.synchronize()  # and waits

        return run


def seconds(run: Callable[[], None], device: str) -> float:
    """Time of one pass."""
    started = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(bench: Bench, options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one model: speed of each way, ratios to the loop of timm's parts."""
    dtype = amp_dtype(bench.config)
    ways = {"timm": bench.timm(options.workers, dtype), "unchanging batch": bench.attnlib(None)}
    if dtype is not None and options.device == "cpu":
        ways["timm, float32"] = bench.timm(options.workers, None)
    ways |= {path: bench.attnlib(path) for path in options.inputs.split(",")}
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for repetition in range(options.repetitions + 1):
        for way, run in ways.items():
            speed = len(bench.data.train) / seconds(run, options.device)
            if repetition:  # the first one warms up
                speeds[way].append(speed)
    flops = flops_per_image(bench)
    rows = []
    for way, values in speeds.items():
        median = statistics.median(values)
        row: dict[str, object] = {"model": name_of(bench), "way": way, "images_per_second": median}
        row |= {"low": min(values), "high": max(values), "tflops": median * flops / 1e12}
        row["share_of_peak"] = share_of_peak(median * flops, bench.config)
        row["precision"] = "float32" if "float32" in way else precision_name(bench.config)
        for key, other in PEERS.items():
            if other not in speeds:
                continue
            ratios = [a / b for a, b in zip(values, speeds[other], strict=True)]
            row |= {key: statistics.median(ratios), f"{key}_low": min(ratios)}
            row |= {f"{key}_high": max(ratios)}
        rows.append(row)
    return rows


def name_of(bench: Bench) -> str:
    """The model, and its teacher."""
    return bench.config.model + (" with teacher" if bench.teacher is not None else "")


def flops_per_image(bench: Bench) -> float:
    """Of a step, by convention: forward, twice that backward, and a teacher's forward."""
    teacher = count_gmac(bench.teacher) if bench.teacher is not None else 0.0
    return 2e9 * (3 * count_gmac(bench.model) + teacher)


def share_of_peak(flops: float, config: al.TrainConfig) -> float | None:
    """Share of the device's peak, if its peak is known here."""
    if not config.device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(config.device)
    peaks = next((peak for known, peak in PEAKS.items() if known in name), None)
    peak = peaks[0 if amp_dtype(config) else 1] if peaks else 0.0
    return flops / (peak * 1e12) if peak else None


def prepare(name: str, data: al.Dataset, options: argparse.Namespace) -> Bench:
    """A model, ``deit_t+resnet18`` with its teacher, ready to be trained."""
    student, _, teacher = name.partition("+")
    is_small = options.img_size == 32 and student in TRANSFORMERS  # as in the profiles
    patch_size = SMALL_PATCH_SIZE if is_small else None
    config = al.TrainConfig(
        model=student, patch_size=patch_size, img_size=options.img_size,
        batch_size=options.batch_size, augment="thesis", cutmix=1.0, ema=0.99996,
        label_smoothing=0.1, device=options.device, amp=options.amp, compile=options.compile,
    )  # fmt: skip
    torch.manual_seed(0)
    classes = len(data.class_names)
    model = al.create_model(
        student, classes, options.img_size, distilled=bool(teacher), patch_size=patch_size
    )
    teaching = al.create_model(teacher, classes, options.img_size) if teacher else None
    for network in (model, teaching):
        if network is not None:
            network.to(options.device)
    return Bench(data, config, model, teaching)


def peak_mib(device: str) -> float:
    """Peak memory of the device, or of the process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-path", help="FILE.npz of images; if not given, embedded digits")
    parser.add_argument(
        "--models", default="deit_t,deit_t+resnet18,resnet18,atresnet18",
        help="comma-separated; STUDENT+TEACHER distils",
    )  # fmt: skip
    parser.add_argument("--inputs", default="fast", help="attnlib's paths, comma-separated (fast)")
    parser.add_argument("--img-size", type=int, default=224, help="pixels of a side (224)")
    parser.add_argument("--batch-size", type=int, default=128, help="images (128)")
    parser.add_argument("--batches", type=int, default=8, help="in a repetition (8)")
    parser.add_argument("--repetitions", type=int, default=5, help="after one to warm up (5)")
    parser.add_argument("--workers", type=int, default=2, help="of the loop of timm's parts (2)")
    parser.add_argument("--threads", type=int, default=2, help="of the process (2)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    parser.add_argument(
        "--amp", choices=("auto", "true", "false"), default="auto", help="mixed precision (auto)"
    )
    parser.add_argument("--compile", action="store_true", help="attnlib's steps compiled")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    count = options.batches * options.batch_size
    data = al.load_dataset("npz" if options.data_path else "digits", options.data_path)
    positions = np.resize(np.arange(len(data.train)), count)
    data = replace(data, train=data.train.subset(positions))
    rows: list[dict[str, object]] = []
    print(f"{describe_device(options.device)}, batch {options.batch_size} at {options.img_size}")
    heads = "".join(f"{'of ' + other:18}" for other in ("timm", "timm float32", "unchanging"))
    print(f"{'model':22}{'way':18}{'images/s':10}{heads}TFLOP/s")
    for name in options.models.split(","):
        for row in measure(prepare(name, data, options), options):
            rows.append(row | {"dataset": data.title, "peak_mib": round(peak_mib(options.device))})
            shown = "{:.2f} ({:.2f}-{:.2f})"
            share = row["share_of_peak"]
            print(
                f"{row['model']:22}{row['way']:18}{row['images_per_second']:<10.1f}"
                + "".join(
                    f"{shown.format(*(row[k + end] for end in ENDS)) if k in row else '':18}"
                    for k in PEERS
                )
                + f"{row['tflops']:.3f}" + (f" ({share:.1%} of peak)" if share else ""),
                flush=True,
            )  # fmt: skip
    print(f"peak memory {peak_mib(options.device):.0f} MiB")
    if options.out:
        known = {k: v for k, v in vars(options).items() if k not in ("data_path", "out", "device")}
        about = known | {"cores": len(os.sched_getaffinity(0))}
        rows = [row | {k: v for k, v in about.items() if k != "models"} for row in rows]
        command = shlex.join(["python", "benchmarks/step.py", *shown_arguments()])
        write_measurements(options.out, "step", rows, command, device=options.device)


if __name__ == "__main__":
    main()
