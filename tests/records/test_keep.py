"""A run's weights are kept rounded, with what the rounded network gets on its record."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import attnlib as al
from attnlib.data import downloads
from attnlib.data.datasets import load_dataset
from attnlib.data.downloads import DownloadError
from attnlib.records import keep
from attnlib.records.check_weights import check_weights
from attnlib.records.find import newest_run
from attnlib.records.keep import MOST_BYTES, keep_weights, round_weights
from attnlib.records.record import refresh_hashes, write_record
from attnlib.training.predict import predict

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def data(tiny_run):
    return load_dataset("digits", limit=tiny_run.config["limit"])


@pytest.fixture
def kept(tiny_run, data, tmp_path):
    return keep_weights(tiny_run, data, tmp_path)


def test_kept_weights_are_half_the_size_and_load_as_any_runs(kept, tiny_run, data):
    ours, theirs = (run.path / "model.safetensors" for run in (kept, tiny_run))
    assert ours.stat().st_size < 0.55 * theirs.stat().st_size
    model, trained = kept.load_model(), tiny_run.load_model()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), trained(images), atol=1e-2, rtol=0)
    assert not torch.equal(model(images), trained(images)), "nothing was rounded"
    assert predict(model, data.test).accuracy == kept.record.kept_weights.test_accuracy.value


def test_record_says_what_the_rounded_network_gets_and_hashes_the_kept_file(kept, tiny_run, data):
    said = kept.record.kept_weights
    content = (kept.path / "model.safetensors").read_bytes()
    assert set(kept.record.files) == {path.name for path in kept.path.iterdir()} - {"record.json"}
    assert kept.record.files["model.safetensors"] == hashlib.sha256(content).hexdigest()
    assert said.rounded_from == tiny_run.record.files["model.safetensors"]
    assert (said.dtype, said.bytes) == ("float16", len(content))
    assert (said.test_accuracy.n, said.val_accuracy.n) == (len(data.test), len(data.val))
    assert kept.record.metrics == tiny_run.record.metrics, "the run's own results stay"
    assert kept.find_damage() == {}
    check_weights(kept, data)


def test_weights_changed_after_they_were_kept_are_refused(kept, data):
    file = kept.path / "model.safetensors"
    weights = load_file(file)
    save_file({k: torch.randn_like(v) for k, v in weights.items()}, file)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        kept.load_model()
    refresh_hashes(kept.path)
    said = kept.record.kept_weights
    better = replace(said, val_accuracy=replace(said.val_accuracy, value=1.0, high=1.0))
    write_record(kept.path, replace(al.load_run(kept.path).record, kept_weights=better))
    with pytest.raises(ValueError, match="they are not the weights that it is about"):
        check_weights(al.load_run(kept.path), data)


def test_vectors_stay_whole_and_what_float16_can_not_hold_is_refused():
    weights = {"w": torch.rand(2, 2), "running_var": torch.tensor([1e-9]), "n": torch.tensor(3)}
    rounded = round_weights(weights)
    assert rounded["w"].dtype == torch.float16
    assert torch.equal(rounded["running_var"], weights["running_var"])
    assert torch.equal(rounded["n"], weights["n"])
    with pytest.raises(ValueError, match="w: its values don't fit into float16"):
        round_weights({"w": torch.full((2, 2), 1e5)})


def test_only_a_runs_own_weights_on_its_own_data_are_kept(kept, tiny_run, data, tmp_path):
    with pytest.raises(ValueError, match="the data are not those of"):
        keep_weights(tiny_run, replace(data, sha256="0" * 64), tmp_path)
    with pytest.raises(ValueError, match="holds rounded weights already"):
        keep_weights(kept, data, tmp_path)


def test_kept_weights_have_a_limit_together(tiny_run, data, tmp_path, monkeypatch):
    shutil.copytree(tiny_run.path, tmp_path / "other")
    monkeypatch.setattr(keep, "MOST_BYTES", (tmp_path / "other/model.safetensors").stat().st_size)
    with pytest.raises(ValueError, match="remove those of another run first"):
        keep_weights(tiny_run, data, tmp_path)
    assert not (tmp_path / tiny_run.name).exists()


def test_large_arrays_stay_behind_and_an_older_copy_of_them_goes(
    kept, tiny_run, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(keep, "MOST_ARRAY_BYTES", 0)
    again = keep_weights(tiny_run, data, tmp_path)
    left = {path.name for path in again.path.iterdir()}
    assert left == {"config.json", "history.jsonl", "record.json", "model.safetensors"}
    assert (again.find_damage(), again.record.metrics) == ({}, tiny_run.record.metrics)


def test_an_installed_attnlib_fetches_the_weights_that_it_lacks(kept, tmp_path, monkeypatch):
    """A wheel holds the records without the weights: they come from the repository, by hash."""
    content = (kept.path / "model.safetensors").read_bytes()
    (kept.path / "model.safetensors").unlink()
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    asked = []

    def transfer(url, part, *_):
        asked.append(url)
        part.write_bytes(content)

    monkeypatch.setattr(downloads, "_transfer", transfer)
    run = al.load_run(kept.path)
    assert run.has_weights
    run.load_model()
    assert asked == [
        f"https://github.com/attnlib/attnlib/raw/main/results/{kept.name}/model.safetensors"
    ]
    content = b"others"
    (tmp_path / "cache" / "weights" / f"{kept.name}.safetensors").unlink()
    with pytest.raises(DownloadError, match="sent another file"):
        run.load_model()
    assert run.has_weights and not run.fetch_weights()
    assert newest_run(kept.path.parent) is None, "it is passed over: its weights can't be had"
    assert newest_run(kept.path.parent, weights=False).name == kept.name


def test_committed_weights_stay_within_their_limit():
    assert sum(p.stat().st_size for p in RESULTS.glob("*/model.safetensors")) <= MOST_BYTES
    assert sum(p.stat().st_size for p in RESULTS.rglob("*") if p.is_file()) <= 40_000_000
