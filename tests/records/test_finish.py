"""The end of a run: everything is on the disk before its record says that it is finished."""

import os
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_runs  # makes its model known to timm
import timm
from book_sample import invented_epoch
from timm.models import register_model
from torch import nn

import attnlib as al
from attnlib.data.datasets import Dataset, Split
from attnlib.records.finish import RECORDED_PICTURES, Times, finish, to_keep
from attnlib.records.provenance import now
from attnlib.records.run import build_model, write_config, write_history
from attnlib.training import checkpoint
from attnlib.training.distributed import Group
from attnlib.training.predict import Predictions
from attnlib.training.state import Training


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

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(checkpoint.Path, "replace", rename)
    run = al.run_experiment(replace(tiny, epochs=1, warmup_epochs=0, runs_dir=str(tmp_path)))
    written = [path.name for path in renamed if path.parent == run.path]
    assert written[-1] == "record.json"
    files = {path.name for path in run.path.iterdir() if path.is_file()}
    assert files <= set(written)
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


FAMILIES = [
    "cait_xxs24_224", "coat_tiny", "convit_tiny", "convnext_atto", "cpubone_nano",
    "crossvit_tiny_240", "cspnext_tiny", "davit_tiny", "deit_tiny_patch16_224", "densenet121",
    "edgenext_x_small", "efficientformerv2_s0", "efficientvim_m1", "efficientvit_b0",
    "efficientvit_m0", "ese_vovnet19b_slim_dw", "eva02_tiny_patch14_224", "fasternet_t0",
    "fastvit_t12", "ghostnet_050", "gmixer_12_224", "hardcorenas_b", "hgnetv2_b0",
    "hiera_tiny_224", "inception_next_atto", "lcnetv2_small", "levit_128s", "mambaout_femto",
    "maxvit_pico_rw_256", "mobilenetv3_small_050", "mobileone_s1", "mobilevit_xxs", "mvitv2_tiny",
    "nest_tiny", "nf_regnet_b0", "pvt_v2_b0", "regnetx_002", "repghostnet_050", "repvit_m1",
    "rexnet_100", "shvit_s1", "starnet_s050", "swiftformer_xs", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256", "tiny_vit_5m_224", "tinynet_c", "twins_svt_small",
    "vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "volo_d1_224", "xcit_nano_12_p8_224",
]  # fmt: skip
"""A small model of each of those of timm's families that are quickly built."""


def finish_untrained(name, side, folder):
    """The end of a run of random weights on two images; its folder."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    split = Split(images, np.arange(2), np.arange(2))
    classes = tuple("abcdefghij")
    data = Dataset("digits", "Noise", classes, split, split, split, "0" * 64)
    config = al.TrainConfig.from_params(
        model=f"timm/{name}", profile="quick", img_size=side, device="cpu", runs_dir=str(folder)
    )
    path = folder / config.name
    path.mkdir(parents=True)
    model = build_model(vars(config), len(classes))
    training = Training.start(model, config)
    training.progress.best_epoch = 1
    training.best_weights = {k: v.clone() for k, v in model.state_dict().items()}
    write_config(path, config)
    write_history(path, [invented_epoch(1)])
    finish(training, data, config, path, Times(now(), 1.0), None, Group())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_of_timm_prevents_the_record(name, tmp_path):
    """What can't be drawn is named with its reason, and what is drawn can be read."""
    side = timm.get_pretrained_cfg(name).input_size[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm's own code
        run = al.load_run(finish_untrained(name, side, tmp_path))
    for picture in RECORDED_PICTURES:
        reason = run.record.not_drawn.get(picture)
        assert bool(run.arrays(picture)) != bool(reason), (picture, reason)


@register_model
def averaging(num_classes=10, **options):
    """A network of one's own, whose ``average`` is a layer."""
    layers = {"average": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    return nn.Sequential(OrderedDict(**layers, head=nn.Linear(3, num_classes)))


def test_a_layer_called_average_is_not_taken_for_the_way_of_averaging_heads(tmp_path):
    run = al.load_run(finish_untrained(averaging.__name__, 32, tmp_path))
    assert run.record.metrics.test_accuracy_softmax is None


@pytest.mark.parametrize("fault", [ValueError("no\nplace"), RuntimeError(), MemoryError("full")])
@pytest.mark.parametrize("picture", ["attention", "features"])
def test_a_picture_that_fails_is_named_in_the_record(picture, fault, tmp_path, monkeypatch):
    def fail(model, split, size):
        raise fault

    monkeypatch.setitem(RECORDED_PICTURES, picture, fail)
    run = al.load_run(finish_untrained(small_runs.small_vit.__name__, 32, tmp_path))
    assert run.record.not_drawn == {picture: "no place" if "no" in str(fault) else
                                    str(fault) or type(fault).__name__}  # fmt: skip
    assert run.arrays(picture) == {} and run.arrays("predictions")["logits"].shape == (2, 10)
