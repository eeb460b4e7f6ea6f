"""kill -9 within an epoch changes nothing, whichever option a run is trained with."""

from dataclasses import replace

import pytest
from small_runs import leftovers, result, small_config, start

import attnlib as al

RESNET = {"model": "resnet18", "img_size": 16, "drop_path": 0.0, "limit": 32, "batch_size": 16}
OPTIONS = {
    "clip_grad": {"clip_grad": 0.5},
    "layer_decay": {"layer_decay": 0.5},
    "sgd": {"opt": "sgd"},
    "freeze": {"freeze": True, "drop_path": 0.0},
    "stem": {"stem": "cifar", **RESNET},
    "grad_checkpointing": {"grad_checkpointing": True},
    "grad_checkpointing-batchnorm": {**RESNET, "model": "atresnet18", "grad_checkpointing": True},
    "log": {"log": "tensorboard"},
    "dynamic_img_size": {"dynamic_img_size": True},
    "initial_checkpoint": {},
    "bfloat16": {"amp": "true"},
    "accumulate": {"accumulate": 2},
    "skip_nonfinite": {"skip_nonfinite": 1},
    "restarts": {"restarts": 1},
}
STARTED = ("freeze", "initial_checkpoint")  # from trained weights


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run whose weights others start from."""
    config = small_config(tmp_path_factory.mktemp("begun"), epochs=1, limit=64, seed=1)
    return str(al.run_experiment(config).path)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_kill_within_an_epoch_changes_nothing(option, tmp_path, request):
    given = {"epochs": 2, "limit": 64} | OPTIONS[option]
    if option in STARTED:
        given["initial_checkpoint"] = request.getfixturevalue("begun")
    whole = small_config(tmp_path / "whole", **given)
    process = start(whole)
    process.join()
    assert process.exitcode == 0
    killed = replace(whole, runs_dir=str(tmp_path / "killed"))
    process = start(killed, 0.0, None, (2, 2))
    process.join()
    assert process.exitcode == -9
    process = start(killed, 0.0, str(tmp_path / "notes.json"))
    process.join()
    assert process.exitcode == 0
    assert "resuming after epoch 1, step 1 of epoch 2" in (tmp_path / "notes.json").read_text()
    assert result(killed) == result(whole)
    assert leftovers(killed) == []
