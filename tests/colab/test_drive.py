"""With ``drive`` a run lies on Google Drive: what a disconnect costs, and what it does not."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from small_runs import result, small_config

import attnlib as al
from attnlib import experiment
from attnlib.colab import drive

EPOCHS = 4


class DisconnectError(Exception):
    """Colab has taken its machine back."""


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A notebook of Colab, as far as we see it; where its Drive was mounted."""
    mounted: list[str] = []
    module = ModuleType("google.colab.drive")
    module.mount = mounted.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.drive", module)
    monkeypatch.setattr(drive, "DRIVE", tmp_path / "drive")
    return mounted


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After how many epochs a state was saved, each time."""
    times: list[int] = []
    save_state = experiment.save_state
    monkeypatch.setattr(
        experiment, "save_state", lambda *args: times.append(args[1]) or save_state(*args)
    )
    return times


def test_outside_colab_drive_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    with pytest.raises(ValueError, match=r"drive: .* Colab alone\. Elsewhere .* runs_dir says"):
        al.TrainConfig.from_params(drive=True)
    assert al.TrainConfig.from_params(drive="false").runs_dir == "runs"


@pytest.mark.parametrize("given", ["runs", "mine/runs", "../elsewhere", None])
def test_runs_dir_is_a_folder_of_drive(colab: list[str], given: str | None):
    config = al.TrainConfig.from_params(drive="True", runs_dir=given)
    folder = drive.DRIVE / "MyDrive" / "attnlib" / (given or "runs")
    assert config.runs_dir == os.path.normpath(folder)
    again = al.TrainConfig.from_params(drive=True, runs_dir=config.runs_dir)
    assert again.runs_dir == config.runs_dir
    assert colab == []  # nobody is asked for leave before there is something to write


@pytest.mark.parametrize("given", ["/tmp/runs", "../../../runs"])
def test_a_runs_dir_beside_drive_is_refused(colab: list[str], given: str):
    with pytest.raises(ValueError, match=r"runs_dir: with drive expected a folder below"):
        al.TrainConfig.from_params(drive=True, runs_dir=given)


def test_name_command_and_record_are_those_of_the_same_run_elsewhere(colab: list[str]):
    here, there = small_config("runs"), small_config("runs", drive=True)
    assert (here.name, here.command) == (there.name, there.command)


def test_on_drive_states_are_saved_by_the_clock_alone_and_at_the_end(
    colab: list[str], saved: list[int], tmp_path: Path
):
    al.run_experiment(small_config(tmp_path, epochs=EPOCHS))
    assert saved == [1, 2, 3, 4]
    saved.clear()
    config = small_config("runs", epochs=EPOCHS, drive=True)
    run = al.run_experiment(config)
    assert saved == [EPOCHS] and colab == [str(drive.DRIVE)]
    assert run.path == drive.DRIVE / "MyDrive" / "attnlib" / "runs" / config.name
    assert result(config) == result(small_config(tmp_path, epochs=EPOCHS))


def test_on_drive_a_state_is_saved_once_the_last_is_old(
    colab: list[str], saved: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(drive, "DRIVE_SAVE_SECONDS", 0.0)
    al.run_experiment(small_config("runs", epochs=2, drive=True))
    assert saved == [1, 2]


def test_after_a_disconnect_the_same_call_goes_on_from_the_state_on_drive(
    colab: list[str], saved: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    config = small_config("runs", epochs=EPOCHS, drive=True)

    def disconnect(epoch: object) -> None:
        monkeypatch.setattr(experiment, "save_state", lambda *args: None)  # too early for the next
        if epoch.epoch == 3:
            raise DisconnectError

    monkeypatch.setattr(drive, "DRIVE_SAVE_SECONDS", 0.0)
    with pytest.raises(DisconnectError):
        al.run_experiment(config, on_epoch=disconnect)
    assert saved == [1]
    monkeypatch.undo()
    notes: list[str] = []
    al.run_experiment(replace(config, drive=False), on_note=notes.append)
    assert "resuming after epoch 1" in notes
    whole = small_config(tmp_path, epochs=EPOCHS)
    al.run_experiment(whole)
    assert result(config) == result(whole)


def test_stopping_saves_on_drive_too(colab: list[str], saved: list[int]):
    config = small_config("runs", epochs=EPOCHS, drive=True)
    with pytest.raises(KeyboardInterrupt):
        al.run_experiment(config, on_epoch=lambda epoch: os.kill(os.getpid(), signal.SIGINT))
    assert saved == [1]
