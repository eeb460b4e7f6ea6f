"""Averaged weights: kept beside the others, and chosen by validation images as the others are."""

import json
from dataclasses import replace

import pytest
import torch
from forged_runs import forge, record_values
from safetensors.torch import load_file
from small_runs import small_config

import attnlib as al
from attnlib.experiment import prepare
from attnlib.records.run import AVERAGED_WEIGHTS
from attnlib.training.state import Training


@pytest.fixture(scope="module")
def averaged(tmp_path_factory) -> al.Run:
    return al.run_experiment(small_config(tmp_path_factory.mktemp("runs"), epochs=4, lr=0.01))


def test_averaged_weights_are_those_of_their_best_validation_epoch(averaged):
    validated = [line["val_accuracy_ema"] for line in averaged.history]
    metrics = averaged.record.metrics
    assert metrics.best_epoch_ema == 1 + validated.index(max(validated))
    data = al.load_dataset("digits", limit=160)
    model = averaged.load_model(average=True)
    assert al.predict(model, data.val).accuracy == pytest.approx(max(validated))
    assert metrics.val_accuracy_ema.value == pytest.approx(max(validated))
    assert al.predict(model, data.test).accuracy == metrics.test_accuracy_ema.value


def test_averaged_weights_are_not_the_others_and_are_hashed_in_the_record(averaged):
    ours, theirs = (averaged.load_model(average=average) for average in (False, True))
    assert not torch.equal(ours.head.weight, theirs.head.weight) and not theirs.training
    assert AVERAGED_WEIGHTS in averaged.record.files


def test_best_of_the_average_is_kept_even_if_later_ones_are_worse(averaged, tmp_path):
    config = small_config(tmp_path, epochs=3)
    model, _ = prepare(config, al.load_dataset("digits", limit=160))
    training = Training.start(model, config)
    for epoch, accuracy in enumerate((0.5, 0.9, 0.7), start=1):
        with torch.no_grad():
            training.average.head.bias.fill_(epoch)
        training.keep_best(epoch, 0.1, accuracy)
    assert training.averaged_weights()["head.bias"].unique().tolist() == [2]
    assert training.progress.best_averaged_epoch == 2 and training.progress.best_epoch == 1


def test_a_state_of_an_earlier_version_goes_on_with_its_average(tmp_path):
    config = small_config(tmp_path)
    model, _ = prepare(config, al.load_dataset("digits", limit=160))
    training = Training.start(model, config)
    state = training.state()
    for name in ("best_averaged_epoch", "best_averaged_accuracy"):
        del state.values[name]
    training.restore(state)
    kept = training.averaged_weights()
    assert torch.equal(kept["head.weight"], training.average.head.weight)


def test_a_run_without_an_average_says_how_to_get_one(tiny_run):
    assert "val_accuracy_ema" not in tiny_run.history[0]
    with pytest.raises(ValueError, match="it had ema 0: set ema above 0"):
        tiny_run.load_model(average=True)


def test_an_older_run_with_an_average_says_that_it_was_not_kept(averaged, tmp_path):
    path = tmp_path / averaged.name
    path.mkdir()
    for name in ("config.json", "history.jsonl"):
        (path / name).write_bytes((averaged.path / name).read_bytes())
    values = record_values(averaged.path)
    for name in ("best_epoch_ema", "val_accuracy_ema"):
        del values["metrics"][name]
    forge(path, values)
    with pytest.raises(ValueError, match="older than their keeping"):
        al.load_run(path).load_model(average=True)


def test_a_file_that_is_gone_is_asked_for_by_its_kind(averaged):
    moved = replace(averaged, path=averaged.path / "elsewhere")
    with pytest.raises(ValueError, match="has no averaged weights"):
        moved.load_model(average=True)


def test_the_file_holds_floats_of_the_model_and_the_history_is_json(averaged):
    weights = load_file(averaged.path / AVERAGED_WEIGHTS)
    assert set(weights) == set(averaged.load_model().state_dict())
    lines = (averaged.path / "history.jsonl").read_text().splitlines()
    assert all(0 <= json.loads(line)["val_accuracy_ema"] <= 1 for line in lines)
