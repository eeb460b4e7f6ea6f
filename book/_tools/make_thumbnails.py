"""Keep the test images that the book's figures show in results/thumbnails: make_thumbnails.py DATA.

DATA is CIFAR-10, its archive's folder or an .npz file in the official order. Kept are the first
images, those of the figures of errors and of people, and, for the confusion matrix, more errors.
"""

import argparse
import sys
from pathlib import Path

from attnlib.compare.comparison import Comparison, ErrorsConfig, compare_runs
from attnlib.compare.confusion_page import choose_pictures
from attnlib.compare.paired_tests import error_sets, hardest_images
from attnlib.data.datasets import load_dataset
from attnlib.human.cifar10h import VotesStudy, check_official_order
from attnlib.human.figures import most_accurate
from attnlib.human.run_study import study_votes
from attnlib.records.find import list_runs
from attnlib.records.thumbnails import MOST_THUMBNAILS, write_thumbnails

ROOT = Path(__file__).resolve().parents[2]
FIRST = 64  # of the test set, for maps and their measurement
SOURCE = "Krizhevsky (2009), Learning multiple layers of features from tiny images"


def main() -> None:
    """Choose the images by the kept records and write them."""
    parser = argparse.ArgumentParser(description="Keep the test images that figures show.")
    parser.add_argument("data", help="CIFAR-10: the folder of its archive, or an .npz file")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    options = parser.parse_args()
    data = load_dataset("npz" if options.data.endswith(".npz") else "cifar10", options.data)
    check_official_order(data.test.labels, data.class_names)
    comparison = compare_runs({run.name: run.path for run in list_runs(options.results)})
    study = study_votes(list(comparison.runs.values()), network=False)
    source = {"title": data.title, "source": SOURCE, "data_sha256": data.sha256}
    places = choose_images(comparison, study)
    path = write_thumbnails(data.test, places, options.results, source)
    sys.stdout.write(f"{path}: {len(places)} images, {path.stat().st_size / 1000:.0f} kB\n")


def choose_images(comparison: Comparison, study: VotesStudy) -> list[int]:
    """Places of the images to keep: the first ones, those of figures, errors of many kinds."""
    wanted = [*range(FIRST), *figure_images(comparison, study)]
    chosen = list(dict.fromkeys(wanted))
    more = choose_pictures(comparison, *comparison.pair, MOST_THUMBNAILS).tolist()
    return (chosen + [place for place in more if place not in chosen])[:MOST_THUMBNAILS]


def figure_images(comparison: Comparison, study: VotesStudy) -> list[int]:
    """Places of the images that the figures of errors and of people show."""
    first, second = comparison.pair
    shown = ErrorsConfig().images
    sets = error_sets(comparison.correct(first), comparison.correct(second))
    shows: list[int] = []
    for places in (sets.only_a, sets.only_b, sets.both_wrong):
        shows += places[:shown].tolist()
    shows += hardest_images(comparison, shown).tolist()
    for one in most_accurate(study):
        for disputed in (one.model_alone_wrong, one.majority_alone_wrong):
            shows += [image.image for image in disputed.first]
    return shows


if __name__ == "__main__":
    main()
