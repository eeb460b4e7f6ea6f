"""kill -9 at any moment costs time, never work: the run ends as if nothing had happened."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from small_runs import leftovers, result, small_config, start, start_command, wait_for_state

import attnlib as al
from attnlib.training.checkpoint import KEEP, load_state


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was never interrupted, and how long it took."""
    start(small_config(tmp_path_factory.mktemp("warm"), epochs=1)).join()
    config = small_config(tmp_path_factory.mktemp("whole"))
    started = time.monotonic()
    process = start(config)
    wait_for_state(config)
    began = time.monotonic() - started
    process.join()
    assert process.exitcode == 0
    return result(config), began, time.monotonic() - started


def kill_and_compare(whole, tmp_path: Path, kills: int, seed: int) -> None:
    expected, began, seconds = whole
    rng, killed, sitting = random.Random(seed), 0, 0
    config = small_config(tmp_path / "0")
    states = Path(config.runs_dir) / config.name / "state"
    while killed < kills:
        process = start(config)
        time.sleep(rng.uniform(0.5 * began, began + 0.3 * (seconds - began)))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        if process.exitcode == 0:  # it came to its end before the kill: begin another
            assert result(config) == expected
            sitting += 1
            config = small_config(tmp_path / str(sitting))
            states = Path(config.runs_dir) / config.name / "state"
        elif list(states.glob("*.json")):
            assert load_state(states) is not None  # and no warning, which would be an error
            assert len(list(states.glob("*.json"))) <= KEEP
    process = start(config)
    process.join()
    assert process.exitcode == 0 and result(config) == expected
    assert leftovers(config) == []


def test_twenty_kills_at_random_moments_change_nothing(whole, tmp_path):
    kill_and_compare(whole, tmp_path, kills=20, seed=0)


@pytest.mark.slow
@pytest.mark.skipif("ATTNLIB_NIGHTLY" not in os.environ, reason="200 kills: set ATTNLIB_NIGHTLY=1")
def test_two_hundred_kills_at_random_moments_change_nothing(whole, tmp_path):
    kill_and_compare(whole, tmp_path, kills=200, seed=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_step_saves_and_the_same_command_goes_on(whole, tmp_path, number):
    config = small_config(tmp_path)
    process = start(config, 1e9)  # only the signal makes a state within an epoch
    wait_for_state(config)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == (143 if number == signal.SIGTERM else 1)  # 1: an uncaught Ctrl-C
    saved = load_state(wait_for_state(config))
    assert saved is not None and not (tmp_path / config.name / "record.json").exists()
    again = start(config, 0.0, str(tmp_path / "notes.json"))
    again.join()
    notes = json.loads((tmp_path / "notes.json").read_text())
    assert notes[0].startswith("resuming after epoch") and result(config) == whole[0]


LONG = "-p model timm/small_vit -p profile quick -p epochs 500 -p limit 320"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_line_ends_with_the_code_of_its_signal(tmp_path, number, code):
    process, told = start_command(tmp_path / "runs", LONG)
    while "\nepoch" not in (told.read_text() if told.exists() else ""):
        assert process.is_alive(), told.read_text()
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join()
    output = told.read_text()
    assert process.exitcode == code, output
    assert "stopping: sav" in output and "Traceback" not in output


def test_second_process_is_refused_by_the_name_of_the_first_and_a_dead_ones_run_is_taken_over(
    tmp_path,
):
    config = small_config(tmp_path, epochs=500)
    first = start(config)
    wait_for_state(config)
    with pytest.raises(ValueError, match=rf"is being trained by process {first.pid} on "):
        al.run_experiment(config)
    first.kill()
    first.join()
    short = small_config(tmp_path)
    for path in (tmp_path / ".locks").iterdir():
        path.rename(path.with_name(path.name.replace(config.name, short.name)))
    notes = []
    al.run_experiment(short, on_note=notes.append)
    assert notes[0].startswith(f"taking over from process {first.pid} on ")
    assert not list((tmp_path / ".locks").glob(f"{short.name}.json"))
