"""Two processes train as one: the same batches, the same weights, one writer."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faulty_group import faulty_net, train_both
from small_runs import child_environment, small_config, start

import attnlib as al
from attnlib import experiment
from attnlib.training.checkpoint import load_state
from attnlib.training.distributed import part_of_batch

SCRIPT = """
import sys, torch, small_runs
from attnlib import experiment
from attnlib.__main__ import main
torch.set_num_threads(1)
experiment.SAVE_SECONDS = 0.0
sys.exit(main())
"""


def torchrun(tmp_path: Path, config: al.TrainConfig, processes: int = 2) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--standalone", str(script), "train", *config.options.split()]
    command += ["-p", "runs_dir", config.runs_dir]
    return subprocess.Popen(
        command, env=child_environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def weights(config: al.TrainConfig) -> torch.Tensor:
    state = load_state(Path(config.runs_dir) / config.name / "state")
    assert state is not None
    names = sorted(name for name in state.tensors if name.startswith("model."))
    return torch.cat([state.tensors[name].flatten() for name in names])


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Twenty steps in one process: cutmix, drop-path, averaging, an odd batch."""
    config = small_config(tmp_path_factory.mktemp("single"), epochs=4, batch_size=31)
    process = start(config)
    process.join()
    assert process.exitcode == 0
    return config, weights(config)


def test_two_processes_end_as_one_does_after_twenty_steps(single, tmp_path):
    config, expected = single
    both = replace(config, runs_dir=str(tmp_path))
    process = torchrun(tmp_path, both)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert (weights(both) - expected).abs().max() < 1e-5
    assert output.count("epoch 4/4") == 1 and output.count("test accuracy") == 1
    run, alone = al.load_run(tmp_path / both.name), al.load_run(Path(config.runs_dir) / config.name)
    assert run.record.device.processes == 2 and len(run.history) == 4
    for ours, theirs in zip(run.history, alone.history, strict=True):
        for key in ("train_loss", "val_loss"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-4)


def test_killed_rank_ends_the_job_with_a_message_and_one_process_goes_on(single, tmp_path):
    config, expected = single
    both = replace(config, runs_dir=str(tmp_path))
    process = torchrun(tmp_path, both)
    folder = tmp_path / both.name / "state"
    deadline = time.monotonic() + 600
    while not list(folder.glob("epoch-00001*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    children = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    os.kill(int(children[1]), signal.SIGKILL)
    output, _ = process.communicate(timeout=600)
    assert (process.returncode != 0 and "SIGKILL" in output.upper()) or "-9" in output
    assert not (tmp_path / both.name / "record.json").exists()
    saved = load_state(folder)
    assert saved is not None
    notes = []
    al.run_experiment(both, on_note=notes.append)
    assert any(note.startswith("resuming after epoch") for note in notes)
    assert (weights(both) - expected).abs().max() < 1e-5


def test_notebook_on_a_machine_with_several_gpus_says_how_to_use_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(experiment, "run_in_group", lambda *_: None)
    notes = []
    config = small_config(tmp_path)
    al.run_experiment(replace(config, device="cuda"), on_note=notes.append)
    (note,) = notes
    assert "torchrun --nproc-per-node 4 -m attnlib train -p model timm/small_vit" in note
    notes.clear()
    al.run_experiment(config, on_note=notes.append)
    assert notes == []


def test_too_many_processes_for_a_batch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="can't be cut into"):
        part_of_batch(4, 0, 3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("memory", "out of memory with 16 images of 32 x 32 pixels at once"),
        ("nan", "at step 4 of 5 in epoch 1"),
    ],
)
def test_fault_of_one_process_of_two_ends_both_with_its_message(tmp_path, kind, message):
    """Neither waits for the other, which would take half an hour."""
    config = small_config(tmp_path, epochs=2, drop_path=0.0)
    config = replace(config, model=f"timm/{faulty_net.__name__}")
    for code, output in train_both(config, kind, tmp_path):
        assert code, output
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert errors and all(message in line for line in errors), output
        assert "Traceback (most recent call last)" not in output
    report = tmp_path / config.name / "fault.json"
    if kind == "nan":
        found = json.loads(report.read_text())
        assert found["first_bad_layer"] == "2 (Faulty), forward"
        assert len(set(found["samples"])) == 32
    else:
        assert not report.exists()
