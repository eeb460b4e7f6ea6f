"""States on disk: whole or not there, and damage is noticed."""

import json

import pytest
import torch

from attnlib import checkpoint
from attnlib.checkpoint import State, load_state, save_state, write_atomically


def state(epoch: int) -> State:
    return State({"weight": torch.full((5,), float(epoch))}, {"epoch": epoch, "lr": 0.1 + 0.2})


def test_state_comes_back_as_it_was(tmp_path):
    save_state(tmp_path, 3, state(3))
    found = load_state(tmp_path)
    assert found is not None and found.values == {"epoch": 3, "lr": 0.1 + 0.2}
    assert torch.equal(found.tensors["weight"], torch.full((5,), 3.0))


def test_nothing_saved_is_none(tmp_path):
    assert load_state(tmp_path) is None and load_state(tmp_path / "absent") is None


def test_only_the_newest_states_are_kept(tmp_path):
    for epoch in range(12):
        save_state(tmp_path, epoch, state(epoch))
    assert sorted({path.stem for path in tmp_path.iterdir()}) == ["epoch-00010", "epoch-00011"]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("place", [0, 40, -1])
def test_flipped_bit_falls_back_to_the_state_before_and_says_so(tmp_path, suffix, place):
    save_state(tmp_path, 1, state(1))
    save_state(tmp_path, 2, state(2))
    path = tmp_path / f"epoch-00002{suffix}"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="falling back to the state before"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated_state_falls_back(tmp_path, share):
    save_state(tmp_path, 1, state(1))
    save_state(tmp_path, 2, state(2))
    path = tmp_path / "epoch-00002.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.warns(UserWarning, match="damaged"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1


def test_kill_while_saving_leaves_the_state_before_and_no_orphans(tmp_path, monkeypatch):
    save_state(tmp_path, 1, state(1))
    real = checkpoint.write_atomically

    def killed(path, content):
        if path.suffix == ".json":
            path.with_name(path.name + ".tmp").write_bytes(content[:10])
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, 2, state(2))
    found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1
    assert {path.stem for path in tmp_path.iterdir()} == {"epoch-00001"}


def test_state_of_another_schema_is_passed_over_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", 99)
    save_state(tmp_path, 1, state(1))
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="schema 99 is not 1"):
        assert load_state(tmp_path) is None


def test_file_is_the_old_or_the_new_one_never_a_part(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, json.dumps("new").encode())
    assert path.read_bytes() == b"old"
