"""A few test images come with attnlib, so that figures of images are drawn with images anywhere."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from attnlib.compare.comparison import compare_runs
from attnlib.data.datasets import Split
from attnlib.data.open_image import PHOTOGRAPH_FOLDER, open_image
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.human import figures as human_figures
from attnlib.human.run_study import study_votes
from attnlib.human.sources import known_hashes
from attnlib.records import answers
from attnlib.records.find import list_runs
from attnlib.records.thumbnails import MOST_THUMBNAILS, read_thumbnails, write_thumbnails
from attnlib.training.predict import Predictions
from make_thumbnails import FIRST, figure_images

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 32, 32, 3)).astype(np.uint8)
    return Split(images, rng.integers(0, 10, 200), np.arange(200))


def test_thumbnails_are_the_chosen_images_at_their_places(split, tmp_path):
    write_thumbnails(split, [150, 3, 3, *range(20, 40)], tmp_path, {"title": "noise"})
    kept = read_thumbnails(tmp_path)
    assert kept.indices.tolist() == [3, *range(20, 40), 150]
    for place in (3, 39, 150):
        assert np.array_equal(kept.find(place), split.images[place])
    assert kept.find(4) is None
    assert kept.labels.tolist() == split.labels[kept.indices].tolist()


def test_more_than_the_limit_are_not_kept(split, tmp_path):
    with pytest.raises(ValueError, match="at most 120 thumbnails are kept; got 121"):
        write_thumbnails(split, range(121), tmp_path, {})
    assert read_thumbnails(tmp_path) is None


def test_kept_runs_show_the_committed_thumbnails_where_the_data_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    monkeypatch.chdir(RESULTS.parent)
    runs = [r for r in list_runs(RESULTS) if r.record.dataset.classes == CIFAR10_CLASSES]
    shown, note = answers.find_images(runs[0])
    assert shown is not None and 64 <= len(shown) <= MOST_THUMBNAILS
    assert note.startswith(f"{len(shown)} of the test images come with attnlib and are shown.")
    assert "are not all shown" in note and "-p dataset cifar10" in note
    labels = answers.read_answers(runs[0]).labels
    assert shown.labels.tolist() == labels[shown.indices].tolist()
    monkeypatch.setattr(answers, "read_answers", lambda run: Predictions(
        np.zeros((10_000, 10)), np.roll(labels, 1)))  # fmt: skip
    assert answers.find_images(runs[0])[0] is None, "another order of the test images"


@pytest.mark.slow
def test_thumbnails_hold_every_image_that_figures_of_the_kept_records_show(tmp_path, monkeypatch):
    """If this fails, the records have changed: python book/_tools/make_thumbnails.py FILE.npz."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))  # people's votes come from the record
    monkeypatch.chdir(RESULTS.parent)
    comparison = compare_runs({run.name: run.path for run in list_runs(RESULTS)})
    study = study_votes(list(comparison.runs.values()), network=False)
    kept = set(read_thumbnails().indices.tolist())
    shown = figure_images(comparison, study)
    assert len(shown) >= 32 and set(shown) <= kept
    assert set(range(FIRST)) <= kept


def test_committed_thumbnails_name_their_source():
    told = json.loads((RESULTS / "thumbnails" / "cifar10.json").read_text())
    assert "Krizhevsky" in told["source"] and told["title"].startswith("CIFAR-10")
    assert len(told["indices"]) == len(set(told["indices"])) <= MOST_THUMBNAILS
    assert told["side"] == 32


def test_photographs_that_come_with_attnlib_name_their_licence():
    readme = (PHOTOGRAPH_FOLDER / "README.md").read_text()
    photographs = [path for path in PHOTOGRAPH_FOLDER.iterdir() if path.suffix != ".md"]
    for path in photographs:
        (line,) = [line for line in readme.splitlines() if f"| `{path.name}` |" in line]
        assert "CC0" in line or "public domain" in line
        assert min(open_image(path.stem).size) >= 300
    assert sum(path.stat().st_size for path in photographs) <= 1_000_000


def test_cue_conflict_images_are_the_published_files():
    paths = sorted(human_figures.STIMULI_FOLDER.glob("*.png"))
    digests = {Path(path).name: digest for path, digest in known_hashes().items()}
    assert len(paths) == 4
    for path in paths:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digests[path.name]
    assert "CC BY 4.0" in (human_figures.STIMULI_FOLDER / "README.md").read_text()
    titles = [axes.get_title() for axes in human_figures.cue_conflicts().axes]
    assert "shape cat\ntexture elephant" in titles
