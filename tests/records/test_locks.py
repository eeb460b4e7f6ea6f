"""One process to a run: a lock names its holder, and ends with it however it ends."""

import json
import os
import signal
import socket
import threading

import pytest
from small_runs import PROCESSES, hold_lock

from attnlib.records.locks import RunLockedError, lock_run
from attnlib.training.failures import StorageError


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of ``tmp_path / "run"``."""
    taken = tmp_path / "taken"
    process = PROCESSES.Process(target=hold_lock, args=(str(tmp_path / "run"), str(taken)))
    process.start()
    waiting = threading.Event()
    while not taken.exists():
        assert process.is_alive()
        waiting.wait(0.02)
    yield process
    process.kill()
    process.join()


def test_a_run_that_another_process_trains_is_refused_and_the_process_named(holder, tmp_path):
    told = rf"being trained by process {holder.pid} on {socket.gethostname()} \(since 20"
    with pytest.raises(RunLockedError, match=told), lock_run(tmp_path / "run"):
        pass


def test_other_runs_beside_it_are_free(holder, tmp_path):
    with lock_run(tmp_path / "other"):
        pass


def test_the_run_of_a_killed_process_is_taken_over_with_a_note(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    notes: list[str] = []
    with lock_run(tmp_path / "run", notes.append):
        pass
    assert notes == [note for note in notes if f"process {holder.pid} on" in note] and notes


def test_a_lock_that_was_given_back_leaves_no_word_of_its_holder(tmp_path):
    notes: list[str] = []
    for _ in range(2):
        with lock_run(tmp_path / "run", notes.append):
            names = {path.name for path in (tmp_path / ".locks").iterdir()}
            assert names == {"run.lock", "run.json"}
    assert notes == [] and not (tmp_path / ".locks" / "run.json").exists()


def test_a_lock_is_given_back_when_what_it_guards_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), lock_run(tmp_path / "run"):
        raise ZeroDivisionError
    with lock_run(tmp_path / "run"):
        pass


def test_nothing_of_the_lock_is_inside_the_run(tmp_path):
    (tmp_path / "run").mkdir()
    with lock_run(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}'])
def test_a_holder_that_can_not_be_read_is_another_process(holder, tmp_path, content):
    (tmp_path / ".locks" / "run.json").write_text(content)
    with (
        pytest.raises(RunLockedError, match="being trained by another process"),
        lock_run(tmp_path / "run"),
    ):
        pass


def test_a_lock_says_which_process_holds_it(tmp_path):
    with lock_run(tmp_path / "run"):
        told = json.loads((tmp_path / ".locks" / "run.json").read_text())
    assert told["pid"] == os.getpid() and told["host"] == socket.gethostname()


def test_no_place_for_a_lock_is_a_fault_of_storage(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(StorageError, match="choose another runs_dir"),
        lock_run(tmp_path / "file" / "run"),
    ):
        pass
