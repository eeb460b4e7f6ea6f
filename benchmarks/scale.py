"""How time and memory grow with images, classes and runs, with fitted exponents.

Each point is measured in a process of its own and written at once, so that a benchmark that was
stopped goes on where it was:

    python benchmarks/scale.py --out scale-cpu.json

Images are noise in an uncompressed archive that is memory-mapped (3 GB for a million at 32 pixels,
in --folder). Networks are tiny, since what is asked is how the parts around them grow. An exponent
of 1 is linear. The fit over all points is flattened by what costs the same at every size, so the
growth between the last two points stands beside it.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from input import shown_arguments
from torch import nn

from attnlib.cost.scaling import fit_exponent
from attnlib.data import mapped
from attnlib.data.loading import make_source
from attnlib.losses import cross_entropy_objective
from attnlib.records.measurements import write_measurements
from attnlib.records.provenance import describe_device
from attnlib.records.record import Accuracy, ClassAccuracy, hash_files, write_record
from attnlib.records.run import pack_arrays
from attnlib.stats.intervals import wilson_interval
from attnlib.training.distributed import Group
from attnlib.training.loop import Trainer
from attnlib.training.schedule import plan_epoch
from attnlib.training.state import Training

ROOT = Path(__file__).resolve().parents[1]
SIDE, BATCH, STEPS = 32, 64, 8  # pixels of an image, images of a step, steps that are timed
TEST_IMAGES = 2000  # of forged runs, and of data that grow in classes
SEEDS = 5  # of each recipe of the forged runs
PRELOADED = ["attnlib", "pandas", "matplotlib.pyplot", "sklearn.metrics"]  # slow to import
GROWTH = 2.0  # exponent with which the cost of a next point is feared


@dataclass(frozen=True)
class Subject:
    """One thing that is measured: how, over what, and at which sizes."""

    over: str
    sizes: tuple[int, ...]
    prepare: Callable[[int, Path], Callable[[], object]]


@dataclass(frozen=True)
class Point:
    """A measured point: median and range of its repetitions, and memory beyond the start's."""

    subject: str
    over: str
    size: int
    seconds: float
    seconds_low: float
    seconds_high: float
    peak_mib: float


class TinyNet(nn.Module):
    """A patch embedding, a mean and a head: the least that can be trained."""

    img_size = SIDE

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 8, stride=8)
        self.head = nn.Linear(16, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, K)."""
        return self.head(self.embed(images).mean((2, 3)))


# --- data of any size


def archive(images: int, classes: int, folder: Path) -> Path:
    """An uncompressed archive of noise with so many training images, written once."""
    path = folder / f"noise-{images}-{classes}.npz"
    if path.exists():
        return path
    rng, parts = np.random.default_rng(0), {}
    for part, count in (("train", images), ("test", max(TEST_IMAGES, classes))):
        drawn = folder / f"{part}_images.npy"
        array = np.lib.format.open_memmap(drawn, "w+", np.uint8, (count, SIDE, SIDE, 3))
        for start in range(0, count, 10_000):
            array[start : start + 10_000] = rng.integers(
                0, 256, array[start : start + 10_000].shape, np.uint8
            )
        array.flush()
        labels = folder / f"{part}_labels.npy"
        np.save(labels, np.arange(count) % classes)
        parts[part] = (drawn, labels)
    with zipfile.ZipFile(path.with_suffix(".tmp"), "w", zipfile.ZIP_STORED) as file:
        for drawn, labels in parts.values():
            for member in (drawn, labels):
                file.write(member, member.name)
                member.unlink()
    path.with_suffix(".tmp").rename(path)
    return path


def open_data(images: int, classes: int, folder: Path) -> al.Dataset:
    """The archive's data, memory-mapped whatever the machine's memory."""
    mapped.SHARE = 0.0  # type: ignore[misc]
    return al.load_dataset("npz", archive(images, classes, folder))


def settings(**changes: object) -> al.TrainConfig:
    """The configuration of what is timed."""
    return al.TrainConfig(
        dataset="npz", img_size=SIDE, batch_size=BATCH, augment="light", cutmix=1.0, device="cpu",
        **changes,
    )  # fmt: skip


def prepare_opening(images: int, folder: Path) -> Callable[[], object]:
    """Opening a data set: reading its labels, hashing its pixels, drawing its splits."""
    archive(images, 10, folder)
    return lambda: open_data(images, 10, folder)


def prepare_epoch(images: int, folder: Path) -> Callable[[], object]:
    """What an epoch costs before its first step: its order and its plan."""
    config = settings()
    return lambda: list(plan_epoch(images, config, 0, Group()))


def input_of(data: al.Dataset) -> Callable[[], object]:
    """A few batches of the input path, spread over the whole data set."""
    source = make_source(data.train, settings(), len(data.class_names))
    places = np.random.default_rng(0).integers(0, len(data.train), (STEPS, BATCH))
    return lambda: [None for _ in source.batches(0, list(enumerate(places)))]


def step_of(data: al.Dataset) -> Callable[[], object]:
    """A few steps, from the batch to the updated weights."""
    config = settings()
    few = replace(data, train=data.train.subset(np.arange(STEPS * BATCH) % len(data.train)))
    training = Training.start(TinyNet(len(data.class_names)), config)
    trainer = Trainer(training, few, config, cross_entropy_objective)

    def run() -> None:
        training.begin_epoch()
        trainer.train_epoch()

    return run


def evaluation_of(data: al.Dataset, split: al.Split) -> Callable[[], object]:
    """Predictions on a split, with what a record says about them."""
    model = TinyNet(len(data.class_names))

    def run() -> object:
        answers = al.predict(model, split)
        return answers.interval, answers.loss, answers.per_class()

    return run


def by_images(
    make: Callable[[al.Dataset], Callable[[], object]],
) -> Callable[[int, Path], Callable[[], object]]:
    """A measure of a data set with so many images of ten classes."""
    return lambda images, folder: make(open_data(images, 10, folder))


def by_classes(
    make: Callable[[al.Dataset], Callable[[], object]],
) -> Callable[[int, Path], Callable[[], object]]:
    """A measure of a data set with so many classes."""
    return lambda classes, folder: make(open_data(10_000, classes, folder))


# --- runs of any number


def forge_runs(count: int, classes: int, folder: Path) -> Path:
    """So many finished runs with random answers, five seeds a recipe, written once."""
    runs = folder / f"forged-{count}-{classes}"
    if (runs / "whole").exists():
        return runs
    shutil.rmtree(runs, ignore_errors=True)
    rng = np.random.default_rng(0)
    labels = np.arange(max(TEST_IMAGES, 2 * classes)) % classes
    for number in range(count):
        forge_run(runs / f"deit_t-npz-forged-s{number % SEEDS}-{number:08x}", number, labels, rng)
    (runs / "whole").touch()
    return runs


def forge_run(path: Path, number: int, labels: np.ndarray, rng: np.random.Generator) -> None:
    """One run that answers most of the ``labels`` correctly; what it says of the rest is copied."""
    kept = al.list_runs(ROOT / "results")[0]
    path.mkdir(parents=True)
    classes = int(labels.max()) + 1
    logits = rng.standard_normal((len(labels), classes), np.float32)
    logits[np.arange(len(labels)), labels] += 4.0
    right = logits.argmax(axis=1) == labels
    accuracy = Accuracy.of(wilson_interval(int(right.sum()), len(labels)))
    names = tuple(f"class {label}" for label in range(classes))
    sizes = np.bincount(labels).tolist()
    shares = [wilson_interval(int(right[labels == k].sum()), sizes[k]) for k in range(classes)]
    metrics = replace(
        kept.record.metrics,
        test_accuracy=accuracy,
        per_class=tuple(
            ClassAccuracy(name, Accuracy.of(share))
            for name, share in zip(names, shares, strict=True)
        ),
    )
    data = replace(kept.record.dataset, title="Noise", sha256="0" * 64, classes=names)
    config = kept.config | {"seed": number % SEEDS, "lr": 1e-3 * (1 + number // SEEDS)}
    (path / "config.json").write_text(json.dumps(config))
    (path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in kept.history))
    (path / "predictions.npz").write_bytes(pack_arrays({"logits": logits, "labels": labels}))
    record = replace(
        kept.record, name=path.name, dataset=data, metrics=metrics, teacher=None,
        files=hash_files(path),
    )  # fmt: skip
    write_record(path, record)


def prepare_list(count: int, folder: Path) -> Callable[[], object]:
    """Listing all runs."""
    runs = forge_runs(count, 10, folder)
    return lambda: al.list_runs(runs)


def prepare_errors(count: int, classes: int, folder: Path) -> Callable[[], object]:
    """All cells of the errors notebook, without the start of a kernel."""
    runs = forge_runs(count, classes, folder)
    notebook = json.loads((ROOT / "notebooks" / "errors.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    sources.insert(1, f"runs_dir = {str(runs)!r}")
    os.chdir(folder)  # where no other runs are
    import matplotlib

    matplotlib.use("Agg")

    def run() -> None:
        namespace: dict[str, object] = {"__name__": "__main__"}
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            for source in sources:
                exec(source, namespace)  # noqa: S102  # the project's own notebook
        matplotlib.pyplot.close("all")

    return run


def prepare_pages(count: int, folder: Path) -> Callable[[], object]:
    """The book's pages about runs, before Sphinx reads them."""
    runs, out = forge_runs(count, 10, folder), folder / f"pages-{count}"
    script = ROOT / "book" / "_tools" / "make_pages.py"
    command = [sys.executable, str(script), "--runs", str(runs), "--results", str(folder / "none")]
    return lambda: subprocess.run([*command, "--out", str(out)], check=True)


def prepare_book(count: int, folder: Path) -> Callable[[], object]:
    """The whole book with so many runs in it, built by Sphinx from the start."""
    sys.path[:0] = [str(ROOT / place) for place in ("tests", "book/_ext", "book/_tools")]
    import book_sample

    runs, place = forge_runs(count, 10, folder), folder / f"book-{count}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    book_sample.copy_sources(place)
    for name, title in (("data", "The data"), ("train", "Training a model")):
        book_sample.write_executed(place, name, title)
    book_sample.write_runs(place)
    shutil.copytree(runs, place / "runs", dirs_exist_ok=True)
    book_sample.make_pages(place)

    def run() -> None:
        shutil.rmtree(place / "_build", ignore_errors=True)
        built = book_sample.build(place)
        if built.returncode:
            raise RuntimeError(f"the book did not build:\n{built.stdout[-2000:]}{built.stderr}")

    return run


IMAGES = (1_000, 10_000, 100_000, 1_000_000)
CLASSES = (10, 30, 100, 300, 1_000)
RUNS = (10, 30, 100, 300, 1_000)
SUBJECTS = {
    "opening": Subject("images", IMAGES, prepare_opening),
    "plan of an epoch": Subject("images", IMAGES, prepare_epoch),
    "input path": Subject("images", IMAGES, by_images(input_of)),
    "step": Subject("images", IMAGES, by_images(step_of)),
    "evaluation": Subject("images", IMAGES, by_images(lambda d: evaluation_of(d, d.train))),
    "input path, classes": Subject("classes", CLASSES, by_classes(input_of)),
    "step, classes": Subject("classes", CLASSES, by_classes(step_of)),
    "evaluation, classes": Subject(
        "classes", CLASSES, by_classes(lambda d: evaluation_of(d, d.test))
    ),
    "errors notebook, classes": Subject(
        "classes", CLASSES, lambda classes, folder: prepare_errors(2, classes, folder)
    ),
    "list_runs": Subject("runs", RUNS, prepare_list),
    "errors notebook": Subject(
        "runs", RUNS, lambda count, folder: prepare_errors(count, 10, folder)
    ),
    "pages of runs": Subject("runs", RUNS, prepare_pages),
    "book": Subject("runs", RUNS, prepare_book),
}


# --- measuring


def anonymous_mib() -> float:
    """Memory of this process that no file backs, since mapped pages can be given back."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
    except (OSError, StopIteration):  # not Linux: the greatest so far, files and all
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def children_mib() -> float:
    """The most memory of any program that this process has run."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


@contextlib.contextmanager
def watched_memory() -> Iterator[list[float]]:
    """A list whose last entry is the most memory of this process that was seen inside."""
    peak, done = [anonymous_mib()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak.append(max(peak.pop(), anonymous_mib()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        peak.append(max(peak.pop(), anonymous_mib()))


def measure(name: str, size: int, folder: Path, repetitions: int) -> Point:
    """Measure one point; called in a process of its own."""
    torch.set_num_threads(1)
    subject, times = SUBJECTS[name], []
    run = subject.prepare(size, folder)
    before, children = anonymous_mib(), children_mib()
    with watched_memory() as peak:
        for _ in range(repetitions + 1):  # the first one warms up
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
            if times[-1] > 60:
                break
    used = times[1:] or times
    mib = children_mib() if children_mib() > children else peak[-1] - before
    middle = statistics.median(used)
    return Point(name, subject.over, size, middle, min(used), max(used), round(mib, 2))


def fits(points: Sequence[Point]) -> list[dict[str, object]]:
    """Exponents of each subject's time and memory: of all its points, and of the last two."""
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(point.subject for point in points):
        own = sorted((p for p in points if p.subject == name), key=lambda point: point.size)
        if len(own) < 3:
            continue
        for quantity in ("seconds", "peak_mib"):
            sizes = [point.size for point in own]
            values = [max(getattr(point, quantity), 0.1 * (quantity != "seconds")) for point in own]
            fit = fit_exponent(sizes, values)
            last = math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])
            rows.append(
                {"part": "exponents", "subject": name, "over": own[0].over, "quantity": quantity}
                | {"last": last, "largest": sizes[-1]}
                | {"value": fit.value, "low": fit.low, "high": fit.high}
            )
    return rows


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--subjects", default=";".join(SUBJECTS), help=f"with ; between: {'; '.join(SUBJECTS)}"
    )
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger sizes")
    parser.add_argument("--repetitions", type=int, default=3, help="after one to warm up (3)")
    parser.add_argument(
        "--patience", type=float, default=900.0,
        help="leave out a size that may take more seconds, judged by the one before (900)",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="of data and forged runs; kept if given")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    return parser.parse_args()


def read_points(path: Path | None) -> list[Point]:
    """The points measured before a benchmark was stopped; a line torn by a kill is removed."""
    if path is None or not path.exists():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            points.append(Point(**json.loads(line)))
    path.write_text("".join(as_line(point) for point in points), encoding="utf-8")
    return points


def as_line(point: Point) -> str:
    """A point as a line of the file in which the points so far are kept."""
    return json.dumps(asdict(point)) + "\n"


def measure_all(options: argparse.Namespace, folder: Path, partial: Path | None) -> Iterator[Point]:
    """The points that were measured before, and then the others, each in a new process."""
    known = {(point.subject, point.size): point for point in read_points(partial)}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for name in options.subjects.split(";"):
        subject, before = SUBJECTS[name.strip()], None
        for size in (size for size in subject.sizes if size <= options.largest):
            point = known.get((name.strip(), size))
            if point is None and before is not None:
                feared = before.seconds * (size / before.size) ** GROWTH
                if before.seconds > 1 and feared > options.patience:
                    print(f"{name:26}{size:9,}  left out: it may take {feared:,.0f} s", flush=True)
                    break
            if point is None:
                with ProcessPoolExecutor(1, mp_context=context) as process:
                    task = functools.partial(measure, name.strip(), size, folder)
                    point = process.submit(task, options.repetitions).result()
                if partial is not None:
                    with partial.open("a", encoding="utf-8") as file:
                        file.write(as_line(point))
            before = point
            yield point


def main() -> None:
    """Measure what is missing, print, write."""
    options = parse_options()
    partial = options.out and options.out.with_suffix(".partial.jsonl")
    print(f"{describe_device('cpu')}\n{'subject':26}{'size':>9}  seconds (range){'':13}MiB")
    points = []
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for point in measure_all(options, folder.resolve(), partial):
            points.append(point)
            took = f"{point.seconds:.4g} ({point.seconds_low:.4g} to {point.seconds_high:.4g})"
            print(f"{point.subject:26}{point.size:9,}  {took:28}{point.peak_mib:.1f}", flush=True)
    found = fits(points)
    for row in found:
        print(
            f"{row['subject']:26}{row['quantity']:10}exponent {row['value']:.2f} "
            f"[{row['low']:.2f}, {row['high']:.2f}], at the end {row['last']:.2f}"
        )
    if options.out:
        rows = [{"part": "points", **asdict(point)} for point in points]
        command = shlex.join(["python", "benchmarks/scale.py", *shown_arguments()])
        write_measurements(options.out, "scale", [*rows, *found], command)
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
