"""What rounding the showcase networks' weights for the page "Look inside" does to their answers.

python benchmarks/rounding.py --data-path cifar10.npz --out results/measurements/rounding.json
"""

import argparse
import shlex
import sys

from attnlib.explorer.rounding import KIND, measure_rounding
from attnlib.records.answers import find_images
from attnlib.records.find import find_showcase
from attnlib.records.measurements import write_measurements


def main() -> None:
    """Measure both networks on their whole test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", help="file or folder of the test images")
    parser.add_argument("--out", required=True, help="file to write")
    options = parser.parse_args()
    showcase = find_showcase()
    if showcase is None:
        sys.exit("no distilled transformer with its teacher and their weights in results or runs")
    rows = []
    for run in showcase:
        split, told = find_images(run, options.data_path)
        if split is None:
            sys.exit(told)
        rows.append(measure_rounding(run, split))
        print(rows[-1])
    write_measurements(options.out, KIND, rows, shlex.join(["python", *sys.argv]))


if __name__ == "__main__":
    main()
