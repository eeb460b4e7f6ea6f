"""The official networks have pages where their weights are in the cache, and else a line."""

import json
import os
import shutil
from pathlib import Path

import book_sample
import numpy as np
import pytest
import torch
from page_pictures import count_pictures, figures_of
from PIL import Image

import make_official
from attnlib.human import sources
from attnlib.models import zoo
from attnlib.models.zoo import cached_weights, create_model
from make_official import PAGES, make_pages, missing, retitled

ROOT = Path(__file__).parents[2]
# Files of the right shape don't have the published hash. The kernel of a notebook imports this.
ANY_HASH = "from attnlib.models import zoo\nzoo.Variant.sha256 = property(lambda variant: None)\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    return tmp_path / "cache"


def put(model: str) -> None:
    """A file of the official one's name and shape, with random weights, into the cache."""
    torch.manual_seed(0)
    state = create_model(model, 1000).state_dict()
    is_deit = model.startswith("deit")  # its authors wrap the weights
    torch.save({"model": state} if is_deit else state, cached_weights(model))


def test_pages_without_their_files_are_left_out_in_one_line_each(cache: Path, tmp_path: Path):
    out = tmp_path / "runs"
    (out / "official").mkdir(parents=True)
    (out / "official" / "attention.ipynb").write_text("of an earlier call")
    make_pages(out, [])
    said = (out / "official.md").read_text()
    lines = [line for line in said.splitlines() if line.startswith("- ")]
    assert len(lines) == len(PAGES)
    first = "deit_tiny_distilled_patch16_224-b40b3cf7.pth"
    assert first.replace("_", r"\_") in lines[0] and "not in the cache" in lines[0]
    assert list((out / "official").iterdir()) == []


def test_a_file_that_is_not_the_published_one_counts_as_missing(cache: Path):
    for model in PAGES["attention"].models:
        cached_weights(model).write_bytes(b"a page to log in")
    assert "deit" in missing(PAGES["attention"])


def test_people_need_the_decisions_and_the_images_too(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zoo.Variant, "sha256", property(lambda variant: None))
    page = PAGES["human"]
    for model in page.models:
        cached_weights(model).touch()
    paths = [path for path in sources.known_hashes() if path != sources.VOTES]
    assert f"{len(paths) - 1} more" in missing(page)
    for path in paths:
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).touch()
    assert missing(page) == ""
    shutil.rmtree(cache / "human" / "cue-conflict", ignore_errors=True)
    for path in paths:
        if path.endswith(".csv"):
            (cache / path).parent.mkdir(parents=True, exist_ok=True)
            (cache / path).touch()
    assert missing(page)
    (cache / sources.STIMULI_TAR).touch()
    assert missing(page) == "", "one archive holds all images"


@pytest.mark.parametrize("name", PAGES)
def test_official_pages_share_no_label_with_the_book(name: str):
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    before = [cell["metadata"].get("mystnb", {}) for cell in notebook["cells"]]
    labels = {each["figure"]["name"] for each in before if "figure" in each}
    after = retitled(notebook, "A title")
    assert after["cells"][0]["source"][0] == "# A title\n"
    found = [cell["metadata"].get("mystnb", {}) for cell in after["cells"]]
    others = {each["figure"]["name"] for each in found if "figure" in each}
    assert len(others) == len(labels) and not others & labels


@pytest.mark.slow
def test_stand_ins_in_the_cache_make_pages_of_a_strict_book_without_a_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From files of the right shape to pages: small sizes and few images, all else as it is.

    The book has no run yet, as in a fresh clone, and says so.
    """
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ANY_HASH)
    paths = [tmp_path / "site", ROOT, ROOT / "book" / "_ext", os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(zoo.Variant, "sha256", property(lambda variant: None))
    for model in ("deit_t", "resnet18"):
        put(model)
    book = tmp_path / "copy"
    book_sample.copy_sources(book)
    for name in PAGES:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", book / "notebooks")
    monkeypatch.setattr(make_official, "ROOT", book)
    stimuli = tmp_path / "stimuli"
    stimuli.mkdir()
    for seed, name in enumerate(("cat1-dog1", "dog1-cat1", "bear1-clock1", "clock1-bear1")):
        noise = np.random.default_rng(seed).integers(0, 256, (224, 224, 3)).astype(np.uint8)
        Image.fromarray(noise).save(stimuli / f"{name}.png")
    asked = {
        "attention": {"sample": 2, "image": "cat"},
        "features": {"side": 64},
        "human": {"models": "resnet18", "data_path": str(stimuli), "resamples": 10},
    }
    for name, page in PAGES.items():
        models = tuple(model for model in page.models if model != "deit_b")
        small = page._replace(
            models=models, parameters=page.parameters | asked[name], published=False
        )
        monkeypatch.setitem(PAGES, name, small)
    make_pages(book / "book" / "runs", [])
    said = (book / "book" / "runs" / "official.md").read_text()
    assert "left out" not in said, said
    texts = {}
    for name in PAGES:
        executed = json.loads((book / "book/runs/official" / f"{name}.ipynb").read_text())
        outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
        texts[name] = "".join("".join(output.get("text", [])) for output in outputs)
        assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "DeiT-T, ImageNet weights" in texts["attention"]
    assert "2 prefix tokens and 14 x 14 patches" in texts["attention"]
    assert "ResNet-18, ImageNet weights" in texts["features"]
    for name, title in (("data", "The data"), ("train", "Training a model")):
        book_sample.write_executed(book, name, title)
    book_sample.make_pages(book)
    built = book_sample.build(book)
    said = (built.stdout + built.stderr).splitlines()
    assert built.returncode == 0, [line for line in said if "WARNING" in line or "ERROR" in line]
    page = book / "_build" / "html" / "runs" / "official" / "attention.html"
    assert "Outputs match this code" in page.read_text()
    drawn = figures_of(page)["fig-official-attention-kinds"]
    assert count_pictures(drawn) == 7, "the cat and its six maps"
    runs = (book / "_build" / "html" / "runs" / "index.html").read_text(encoding="utf-8")
    assert "no finished run record" in runs
