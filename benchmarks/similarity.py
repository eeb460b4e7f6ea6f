"""Whose layers a taught DeiT-T's resemble: CKA between the layers of the rows of ``[reference]``.

The runs must be in ``--runs-dir`` with their weights. The record has a row for each pair of
layers, a mean over seeds, and one for each question, with its interval over seeds and images.
"""

import attnlib as al  # first, since it says how PyTorch's threads wait

# isort: split
import argparse
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from input import shown_arguments
from torch import Tensor

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.compare.layer_overlap import (
    SIMILARITY_KIND,
    TAUGHT,
    measure_trio,
    similarity_rows,
    similarity_table,
)
from attnlib.compare.reference_runs import find_rows, read_table
from attnlib.data.loading import eval_batches
from attnlib.records.answers import find_images
from attnlib.records.find import list_runs
from attnlib.records.measurements import write_measurements


def batches(options: argparse.Namespace, run: al.Run) -> Iterator[Tensor]:
    """The first test images of the run's data, in whole batches."""
    test, told = find_images(run, options.data_path)
    if test is None:
        raise SystemExit(f"error: --data-path: {told}")
    count = min(options.images, len(test)) // options.batch_size * options.batch_size
    chosen, place = test.subset(range(count)), eval_transform(run.config["img_size"])
    for images, _ in eval_batches(chosen, place, batch_size=options.batch_size):
        yield images


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-path", required=True, help="FILE.npz of the runs' images")
    parser.add_argument("--runs-dir", default="runs", help="where the runs are, with weights")
    parser.add_argument("--images", type=int, default=2000, help="test images (2000)")
    parser.add_argument("--batch-size", type=int, default=100, help="images of a batch (100)")
    parser.add_argument("--out", type=Path, help="write a JSON record here")
    options = parser.parse_args()
    if options.batch_size < 4 or options.images < 2 * options.batch_size:
        parser.error("--images, --batch-size: expected two batches or more of at least 4 images")
    rows = find_rows(read_table(), [], list_runs(options.runs_dir))
    trios = {}
    for title, names in TAUGHT.items():
        trio = measure_trio(rows, names, partial(batches, options))
        if trio.taught:
            trios[title] = trio
        else:
            print(f"{title}: not run: one of {', '.join(names)}")
    if not trios:
        raise SystemExit(f"error: {options.runs_dir}: none of the rows that are compared")
    lines = similarity_rows(trios)
    print(similarity_table(lines).to_string())
    if options.out:
        command = shlex.join(["python", "benchmarks/similarity.py", *shown_arguments()])
        write_measurements(options.out, SIMILARITY_KIND, lines, command)


if __name__ == "__main__":
    main()
