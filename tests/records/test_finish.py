"""The end of a run: everything is on the disk before its record says that it is finished."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import attnlib as al
from attnlib.records.finish import to_keep
from attnlib.training import checkpoint
from attnlib.training.predict import Predictions


def test_every_file_is_synced_and_renamed_before_the_record(tiny, tmp_path, monkeypatch):
    synced, renamed = [], []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def rename(self, target):
        assert str(self) in synced, f"{self} was renamed before it was synced"
        renamed.append(Path(target))
        return real_replace(self, target)

    monkeypatch.setattr(checkpoint.os, "fsync", sync)
    monkeypatch.setattr(checkpoint.Path, "replace", rename)
    run = al.run_experiment(replace(tiny, epochs=1, warmup_epochs=0, runs_dir=str(tmp_path)))
    written = [path.name for path in renamed if path.parent == run.path]
    assert written[-1] == "record.json"
    files = {path.name for path in run.path.iterdir() if path.is_file()}
    assert files - {"history.jsonl"} <= set(written), "history is appended to and synced"
    assert str(run.path / "history.jsonl") in synced
    assert not list(run.path.glob("*.tmp"))


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e6, 1e30, 3e38])
def test_logits_of_any_size_are_kept_finite_and_their_loss_is_true(scale):
    logits = (np.linspace(-1, 1, 40).reshape(4, 10) * scale).astype(np.float32)
    kept = to_keep(logits)
    assert np.isfinite(kept).all() and kept.dtype == (np.float16 if scale < 6e4 else np.float32)
    assert (kept.argmax(axis=1) == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(kept, logits, rtol=1e-3, atol=1e-3 * scale)
    loss = Predictions(kept.astype(np.float32), np.zeros(4, np.int64)).loss
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=1, keepdims=True)
    true = (np.log(np.exp(shifted).sum(axis=1)) - shifted[:, 0]).mean()
    assert loss == pytest.approx(true, rel=2e-3)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_logits_that_are_not_finite_are_not_taken_for_a_wrong_parameter(bad):
    logits = np.zeros((5, 10), np.float32)
    logits[3, 2] = bad
    with pytest.raises(FloatingPointError, match="on 1 of 5 test images"):
        to_keep(logits)


class Loud(nn.Module):
    """A tiny network whose logits exceed float16."""

    def __init__(self, num_classes=10, **options):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        return 1e7 * self.head(images.mean(dim=(2, 3)))


def test_a_run_whose_logits_exceed_float16_is_finished_with_true_metrics(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr("attnlib.experiment.build_model", lambda *args, **options: Loud())
    run = al.run_experiment(replace(tiny, epochs=1, warmup_epochs=0, runs_dir=str(tmp_path)))
    answers = run.arrays("predictions")
    assert np.abs(answers["logits"]).max() > np.finfo(np.float16).max
    assert np.isfinite(answers["logits"]).all() and run.record.metrics.test_loss > 1000
    right = (answers["logits"].argmax(axis=1) == answers["labels"]).mean()
    assert right == run.record.metrics.test_accuracy.value
