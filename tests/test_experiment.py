"""The whole program in small: train, evaluate, record, resume, teach."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import attnlib as al
from attnlib import experiment
from attnlib.records import finish
from attnlib.records.run import read_history
from attnlib.training.checkpoint import load_state, save_state
from attnlib.training.epoch import Epoch, describe_seconds
from attnlib.training.loop import Trainer
from attnlib.training.state import Training


def params(config: al.TrainConfig, path: object, **changes: object) -> al.TrainConfig:
    return replace(config, runs_dir=str(path), **changes)


def weights(run: al.Run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


def test_finished_run_has_every_file_of_the_record(tiny_run):
    files = {path.name for path in tiny_run.path.iterdir()}
    assert files == {
        "config.json", "history.jsonl", "record.json", "predictions.npz", "attention.npz",
        "features.npz", "model.safetensors", "state",
    }  # fmt: skip


def test_record_is_complete_and_of_the_schema(tiny_run):
    assert tiny_run.record.status == "finished"
    assert tiny_run.record.dataset.sizes.train == 100
    assert tiny_run.record.cost.parameters == sum(
        p.numel() for p in tiny_run.load_model().parameters()
    )


def test_record_holds_no_machine_path(tiny_run):
    text = "".join(p.read_text() for p in tiny_run.path.glob("*.json*"))
    assert str(tiny_run.path.parent) not in text


def test_history_has_a_line_an_epoch(tiny_run):
    assert [line["epoch"] for line in tiny_run.history] == [1, 2]
    assert all(Epoch(**line).seconds > 0 for line in tiny_run.history)


def test_kept_weights_are_those_of_the_best_validation_epoch(tiny_run):
    data = al.load_dataset("digits", limit=100)
    validated = al.predict(tiny_run.load_model(), data.val)
    best = max(line["val_accuracy"] for line in tiny_run.history)
    assert validated.accuracy == pytest.approx(best)
    assert tiny_run.record.metrics.val_accuracy.value == pytest.approx(best)


def test_test_accuracy_is_that_of_the_kept_predictions_and_weights(tiny_run):
    data = al.load_dataset("digits", limit=100)
    answers = tiny_run.arrays("predictions")
    kept = (answers["logits"].argmax(axis=1) == answers["labels"]).mean()
    assert kept == tiny_run.record.metrics.test_accuracy.value
    again = al.predict(tiny_run.load_model(), data.test)
    np.testing.assert_allclose(again.logits, answers["logits"], atol=5e-3)
    assert answers["labels"].tolist() == data.test.labels.tolist()


def test_attention_of_the_record_is_the_models(tiny_run):
    arrays = tiny_run.arrays("attention")
    blocks = [name for name in arrays if name.startswith("block")]
    assert len(blocks) == 12 and arrays["block_00"].shape == (8, 3, 1, 5)
    rows = arrays["block_05"] / 255 * arrays["peak_05"][..., None]
    np.testing.assert_allclose(rows.sum(axis=-1), 1, atol=0.02)


def test_best_epoch_is_the_validation_sets_even_if_later_ones_are_worse(tiny, monkeypatch):
    data = al.load_dataset("digits", limit=100)
    model, objective = experiment.prepare(tiny, data, None)
    training, weights_by_epoch = Training.start(model, replace(tiny, epochs=3)), []
    accuracies = iter([0.5, 0.9, 0.7])

    def validated(model, split, **options):
        assert split is data.val
        weights_by_epoch.append(model.head.bias.detach().clone())
        return SimpleNamespace(accuracy=next(accuracies), loss=1.0)

    monkeypatch.setattr("attnlib.training.loop.predict", validated)
    list(Trainer(training, data, replace(tiny, epochs=3), objective).train())
    assert (training.progress.best_epoch, training.progress.best_accuracy) == (2, 0.9)
    assert torch.equal(training.best_weights["head.bias"], weights_by_epoch[1])


def test_run_never_tests_before_the_last_epoch(tiny, tmp_path, monkeypatch):
    asked = []
    data = al.load_dataset("digits", limit=100)
    monkeypatch.setattr(experiment, "load_dataset", lambda *a, **k: data)
    real = finish.predict

    def watched(model, split, **options):
        asked.append(split is data.test)
        return real(model, split, **options)

    monkeypatch.setattr("attnlib.training.loop.predict", watched)
    al.run_experiment(params(tiny, tmp_path))
    assert asked == [False, False]


def test_same_run_twice_gives_bitwise_the_same_weights(tiny, tiny_run, tmp_path):
    torch.rand(3)
    again = al.run_experiment(params(tiny, tmp_path))
    assert weights(again) == weights(tiny_run)
    assert [line["train_loss"] for line in again.history] == [
        line["train_loss"] for line in tiny_run.history
    ]


def test_another_seed_gives_other_weights(tiny, tiny_run, tmp_path):
    other = al.run_experiment(params(tiny, tmp_path, seed=1))
    assert weights(other) != weights(tiny_run)


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stopped_run_goes_on_and_ends_as_if_it_had_not_stopped(tiny, tmp_path, ema):
    config = replace(tiny, epochs=3, ema=ema, cutmix=1.0, drop_path=0.1, augment="light")
    whole = al.run_experiment(params(config, tmp_path / "whole"))

    def stop(epoch):
        if epoch.epoch == 2:
            raise StoppedError

    parts = params(config, tmp_path / "parts")
    with pytest.raises(StoppedError):
        al.run_experiment(parts, on_epoch=stop)
    seen, notes = [], []
    resumed = al.run_experiment(parts, on_epoch=seen.append, on_note=notes.append)
    assert notes == ["resuming after epoch 2"]
    assert [epoch.epoch for epoch in seen] == [1, 2, 3]  # the past is reported too
    assert weights(resumed) == weights(whole)
    for key in ("lr", "train_loss", "val_loss", "val_accuracy"):
        assert [e[key] for e in resumed.history] == [e[key] for e in whole.history]
    assert resumed.record.metrics == whole.record.metrics
    assert (whole.record.metrics.test_accuracy_ema is not None) == (ema > 0)


def test_history_that_is_ahead_of_the_state_is_cut_back_to_it(tiny, tmp_path):
    config = params(tiny, tmp_path, epochs=3)

    def stop(epoch):
        if epoch.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        al.run_experiment(config, on_epoch=stop)
    for path in (tmp_path / config.name / "state").glob("epoch-00002*"):
        path.unlink()  # as if killed after the line and before the state
    notes = []
    run = al.run_experiment(config, on_note=notes.append)
    assert notes == ["resuming after epoch 1"]
    assert [line["epoch"] for line in run.history] == [1, 2, 3]


def test_torn_history_line_is_replaced_on_resuming(tiny, tmp_path):
    config = params(tiny, tmp_path)

    def stop(epoch):
        raise StoppedError

    with pytest.raises(StoppedError):
        al.run_experiment(config, on_epoch=stop)
    path = tmp_path / config.name
    with (path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tr')
    assert [line["epoch"] for line in read_history(path)] == [1]
    assert [line["epoch"] for line in al.run_experiment(config).history] == [1, 2]


def test_finished_run_is_read_and_not_repeated(tiny, tiny_run):
    seen, notes = [], []
    config = params(tiny, tiny_run.path.parent)
    again = al.run_experiment(config, on_epoch=seen.append, on_note=notes.append)
    assert again.record == tiny_run.record and "finished" in notes[0]
    assert [epoch.epoch for epoch in seen] == [1, 2]


def test_teacher_named_by_its_model_is_trained_first_and_used(tiny, tmp_path):
    config = params(tiny, tmp_path, distillation="hard", teacher="resnet18", epochs=1)
    run = al.run_experiment(config)
    names = {r.record.name: r for r in al.list_runs(tmp_path)}
    teacher = names[run.record.teacher]
    assert teacher.config["model"] == "resnet18" and len(names) == 2
    assert run.title == "DeiT-T, hard distillation from ResNet-18"
    assert run.record.cost.parameters > 0
    assert run.record.metrics.test_accuracy_softmax is not None
    by_name = params(config, tmp_path, teacher=teacher.name)
    assert al.run_experiment(by_name).record.metrics == run.record.metrics


def test_teacher_of_another_size_or_unknown_is_refused(tiny, tiny_run):
    student = replace(
        tiny, distillation="soft", teacher=tiny_run.name, runs_dir=str(tiny_run.path.parent)
    )
    with pytest.raises(ValueError, match="give both the same img_size"):
        al.run_experiment(replace(student, img_size=48))
    with pytest.raises(ValueError, match=r"no finished run 'nobody'\. Finished runs: "):
        al.run_experiment(replace(student, teacher="nobody"))


def test_data_that_changed_under_a_run_are_refused(tiny, tmp_path):
    arrays = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        arrays_of = {
            f"{part}_images": arrays.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            f"{part}_labels": np.arange(count) % 2,
        }
        np.savez(tmp_path / f"{part}.npz", **arrays_of)
    both = {**np.load(tmp_path / "train.npz"), **np.load(tmp_path / "test.npz")}
    np.savez(tmp_path / "data.npz", **both)
    config = params(
        tiny, tmp_path / "runs", dataset="npz", data_path=str(tmp_path / "data.npz"),
        limit=None, epochs=1,
    )  # fmt: skip
    al.run_experiment(config)
    both["train_images"] = both["train_images"][::-1]
    np.savez(tmp_path / "data.npz", **both)
    with pytest.raises(ValueError, match="was made on other data"):
        al.run_experiment(config)


@pytest.mark.parametrize("name", ["resnet18", "atresnet18", "timm/test_vit"])
def test_other_families_run_to_a_record(tiny, tmp_path, name):
    size = 160 if name == "timm/test_vit" else 32
    run = al.run_experiment(
        params(tiny, tmp_path, model=name, patch_size=None, epochs=1, limit=32, img_size=size)
    )
    assert np.isfinite(run.arrays("predictions")["logits"]).all()
    assert run.load_model().training is False


def test_network_of_the_readers_own_goes_through_the_whole_path(tiny, tmp_path):
    """The code of the book's chapter on doing it yourself, as it stands there."""
    book = (Path(__file__).parents[1] / "book" / "reproduce.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", book, re.DOTALL)
    scope: dict[str, object] = {"__name__": __name__}
    exec(script.partition("config =")[0], scope)  # noqa: S102
    config = al.TrainConfig.from_params(model="timm/tiny_net", epochs=1, limit=64, device="cpu")
    run = al.run_experiment(params(config, tmp_path))
    assert run.record.cost.parameters == 3 * 32 * 9 + 32 + 32 * 10 + 10
    assert run.arrays("predictions")["logits"].shape == (359, 10)


def test_vit_overfits_32_images(tiny):
    config = replace(tiny, limit=32, epochs=40, batch_size=32, lr=1e-3)
    data = al.load_dataset("digits", limit=32)
    model, objective = experiment.prepare(config, data, None)
    trainer = Trainer(Training.start(model, config), data, config, objective)
    losses = [epoch.train_loss for epoch in trainer.train()]
    assert losses[-1] < 0.5 < 2 < losses[0]


@pytest.mark.parametrize(
    ("seconds", "told"), [(4.6, "5 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_are_told_as_people_say_them(seconds, told):
    assert describe_seconds(seconds) == told


def test_run_that_is_not_there_is_refused_with_those_that_are(tiny_run):
    with pytest.raises(ValueError, match=tiny_run.name):
        al.load_run("absent", tiny_run.path.parent)
    with pytest.raises(ValueError, match="It has: attention, features, predictions"):
        tiny_run.arrays("weights")


def test_run_trains_on_each_device(tiny, tmp_path, device):
    amp = "true" if device == "cuda" else "auto"
    run = al.run_experiment(params(tiny, tmp_path, device=device, epochs=1, amp=amp))
    assert run.record.device.type == device


@pytest.mark.parametrize(
    ("amp", "precision"), [("auto", "float32"), ("false", "float32"), ("true", "bfloat16 autocast")]
)
def test_precision_is_resolved_on_the_machine_and_recorded_beside_what_was_asked(
    tiny, tmp_path, amp, precision
):
    run = al.run_experiment(params(tiny, tmp_path, epochs=1, amp=amp))
    assert run.record.precision == precision and run.config["amp"] == amp


def test_a_state_from_before_later_parameters_goes_on(tiny, tmp_path):
    """States of an older attnlib lack parameters that came later, and had a boolean ``amp``."""
    config = params(tiny, tmp_path, epochs=2)

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        al.run_experiment(config, on_epoch=stop)
    states = tmp_path / config.name / "state"
    saved = load_state(states)
    old = {k: v for k, v in saved.values["config"].items() if k != "skip_nonfinite"}
    values = saved.values | {"config": old | {"amp": False}}
    save_state(states, 1, 0, saved._replace(values=values))
    notes = []
    al.run_experiment(config, on_note=notes.append)
    assert notes[0].startswith("resuming after epoch 1")


@pytest.mark.parametrize("order", [("bfloat16", "float16"), ("float16", "bfloat16")])
def test_run_goes_on_in_another_precision_and_says_so(tiny, tmp_path, monkeypatch, order):
    def compute_in(name):
        for module in ("training.state", "training.loop", "records.finish"):
            path = f"attnlib.{module}.amp_dtype"
            monkeypatch.setattr(path, lambda config: getattr(torch, name))

    def stop(epoch):
        raise StoppedError

    first, second = order
    compute_in(first)
    with pytest.raises(StoppedError):
        al.run_experiment(params(tiny, tmp_path), on_epoch=stop)
    compute_in(second)
    notes = []
    run = al.run_experiment(params(tiny, tmp_path), on_note=notes.append)
    assert f"precision was {first} autocast, now {second} autocast" in notes[1]
    assert [line["precision"] for line in run.history] == [f"{name} autocast" for name in order]
    assert run.record.precision == f"{first} autocast, then {second} autocast"


def test_resuming_says_that_code_or_threads_have_changed(tiny, tmp_path, monkeypatch):
    def stop(epoch):
        raise StoppedError

    with pytest.raises(StoppedError):
        al.run_experiment(params(tiny, tmp_path, epochs=3), on_epoch=stop)
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 5)
    monkeypatch.setattr(experiment, "describe_git", lambda: {"commit": "0123abc", "dirty": True})
    notes = []
    with pytest.raises(StoppedError):
        al.run_experiment(params(tiny, tmp_path, epochs=3), on_epoch=stop, on_note=notes.append)
    assert notes[0] == "resuming after epoch 1"
    assert f"threads was {threads}, now {threads + 5}" in notes[1]
    assert "now 0123abc, with uncommitted changes" in notes[1] and "last digits" in notes[1]
