"""What TensorBoard shows of a run: every step once, also after a kill, and what came out."""

import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import attnlib as al
from attnlib.training.tensorboard import draw_confusion, table_of_counts


def read(path: Path) -> EventAccumulator:
    """What TensorBoard reads from a run's folder."""
    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    return events


def scalars(events: EventAccumulator, name: str) -> dict[int, float]:
    return {event.step: event.value for event in events.Scalars(name)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    return al.run_experiment(small_config(folder, epochs=2, limit=64, log="tensorboard"))


def test_each_step_and_each_epoch_has_its_numbers(run):
    events = read(run.path)
    losses = scalars(events, "train/loss")
    assert sorted(losses) == sorted(scalars(events, "train/grad_norm")) == [1, 2, 3, 4]
    for epoch in run.history:
        steps = [2 * epoch["epoch"] - 1, 2 * epoch["epoch"]]
        assert np.mean([losses[s] for s in steps]) == pytest.approx(epoch["train_loss"], rel=1e-5)
        assert scalars(events, "train/lr")[steps[1]] == pytest.approx(epoch["lr"], rel=1e-5)
        for name, key in (("loss", "val_loss"), ("accuracy", "val_accuracy")):
            shown = scalars(events, f"validation/{name}")[steps[1]]
            assert shown == pytest.approx(epoch[key], rel=1e-5)


def test_the_first_batch_and_the_confusion_matrix_are_pictures(run):
    events = read(run.path)
    (first,) = events.Images("first batch")
    assert (first.step, first.width) == (0, 8 * 32)  # eight in a row
    (confusion,) = events.Images("test/confusion")
    assert (confusion.step, confusion.width, confusion.height) == (4, 520, 520)
    (text,) = events.Tensors("test/confusion/text_summary")
    table = text.tensor_proto.string_val[0].decode()
    answers = run.arrays("predictions")
    counts = al.confusion_matrix(answers["labels"], answers["logits"].argmax(1), range(10))
    assert table == table_of_counts(counts, run.record.dataset.classes)


def test_log_files_are_among_those_that_the_record_vouches_for(run):
    assert any(name.startswith("tensorboard/") for name in run.record.files)
    assert run.find_damage() == {}


def test_log_is_in_neither_name_nor_configuration_nor_command(run):
    plain = small_config("runs", epochs=2, limit=64)
    assert run.name == plain.name and "log" not in run.config
    assert "tensorboard" not in run.record.command


def test_after_a_kill_each_step_is_shown_once(run, tmp_path):
    config = small_config(tmp_path, epochs=2, limit=64, log="tensorboard")
    for killed_at in ((1, 2), (2, 2), None):
        process = start(config, 0.0, None, killed_at)
        process.join()
    path = tmp_path / config.name
    assert process.exitcode == 0 and len(list((path / "tensorboard").iterdir())) == 3
    ours, theirs = read(path), read(run.path)
    for name in ("train/loss", "train/lr", "validation/accuracy"):
        assert [event.step for event in ours.Scalars(name)] == sorted(scalars(theirs, name))
        assert scalars(ours, name) == pytest.approx(scalars(theirs, name), rel=1e-4)


def test_a_missing_package_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    config = small_config(tmp_path, epochs=1, limit=64, log="tensorboard")
    with pytest.raises(ImportError, match=r"log: .*pip install tensorboard"):
        al.run_experiment(config)
    assert (tmp_path / config.name / "history.jsonl").read_text() == ""


def test_a_picture_of_counts_is_dark_where_a_class_went():
    picture = draw_confusion(np.array([[3, 1], [0, 0]]))
    assert picture.shape == (512, 512)
    assert picture[0, 0] == 64 and picture[0, -1] == 191
    assert picture[-1, 0] == 255, "a class without images is blank"
