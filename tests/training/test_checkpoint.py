"""States on disk: whole or not there, and damage is noticed."""

import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from attnlib.training import checkpoint
from attnlib.training.checkpoint import State, load_state, save_state


def state(epoch: int) -> State:
    return State({"weight": torch.full((5,), float(epoch))}, {"epoch": epoch, "lr": 0.1 + 0.2})


def test_state_comes_back_as_it_was(tmp_path):
    save_state(tmp_path, 3, 0, state(3))
    found = load_state(tmp_path)
    assert found is not None and found.values == {"epoch": 3, "lr": 0.1 + 0.2}
    assert torch.equal(found.tensors["weight"], torch.full((5,), 3.0))


def test_nothing_saved_is_none(tmp_path):
    assert load_state(tmp_path) is None and load_state(tmp_path / "absent") is None


def test_only_the_newest_states_are_kept(tmp_path):
    for epoch in range(12):
        save_state(tmp_path, epoch, 0, state(epoch))
    assert sorted({path.stem for path in tmp_path.iterdir()}) == [
        "epoch-00010-step-0000000",
        "epoch-00011-step-0000000",
    ]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("place", [0, 40, -1])
def test_flipped_bit_falls_back_to_the_state_before_and_says_so(tmp_path, suffix, place):
    save_state(tmp_path, 1, 0, state(1))
    save_state(tmp_path, 2, 0, state(2))
    path = tmp_path / f"epoch-00002-step-0000000{suffix}"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="falling back to epoch-00001"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated_state_falls_back(tmp_path, share):
    save_state(tmp_path, 1, 0, state(1))
    save_state(tmp_path, 2, 0, state(2))
    path = tmp_path / "epoch-00002-step-0000000.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.warns(UserWarning, match="damaged"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1


def test_kill_while_saving_leaves_the_state_before_and_no_orphans(tmp_path, monkeypatch):
    save_state(tmp_path, 1, 0, state(1))
    real = checkpoint.write_atomically

    def killed(path, content):
        if path.suffix == ".json":
            path.with_name(path.name + ".tmp").write_bytes(content[:10])
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, 2, 0, state(2))
    found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1
    assert {path.stem for path in tmp_path.iterdir()} == {"epoch-00001-step-0000000"}


def test_state_of_another_schema_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "STATE_SCHEMA", 99)
    save_state(tmp_path, 1, 0, state(1))
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"no saved state can be read: .*schema 99 is not 2"):
        load_state(tmp_path)


def test_a_hundred_flipped_bits_are_a_hundred_found(tmp_path):
    save_state(tmp_path, 1, 0, state(1))
    files = sorted(tmp_path.iterdir())
    rng = np.random.default_rng(0)
    for trial in range(100):
        path = files[trial % 2]
        content = bytearray(path.read_bytes())
        bit = int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no saved state can be read"):
            load_state(tmp_path)
        path.write_bytes(whole)
    assert load_state(tmp_path) is not None


def test_state_reaches_the_disk_before_its_name_and_its_name_before_the_manifest(
    tmp_path, monkeypatch
):
    events = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_sync(descriptor)

    def rename(path, target):
        events.append(target.suffix)
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    save_state(tmp_path, 1, 0, state(1))
    assert events == ["file", ".safetensors", "folder", "file", ".json", "folder"]


def test_state_of_a_later_step_is_newer(tmp_path):
    for epoch, step in ((1, 900), (1, 1000), (2, 0)):
        save_state(tmp_path, epoch, step, state(1000 * epoch + step))
        found = load_state(tmp_path)
        assert found is not None and found.values["epoch"] == 1000 * epoch + step


def test_pickle_in_place_of_a_state_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "ran"))

    save_state(tmp_path, 1, 0, state(1))
    for path in list(tmp_path.iterdir()):
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="no saved state can be read"):
        load_state(tmp_path)
    assert not (tmp_path / "ran").exists()


ODD = [
    b"", b"5", b"null", b"[]", b"{}", b'{"a": 1, "b": 2}', b"[1, 2]", b'["x", null]', b'"text"',
    b'["x", "y", "z"]', b"\xff\xfe", b"[" * 100_000, b"NaN", b"[[], {}]", b'[true, "{}"]',
]  # fmt: skip


def sealed(values: object) -> bytes:
    return checkpoint._sealed(values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [*ODD, sealed([]), sealed(None), sealed({}), sealed({"schema": 2}),
     sealed({"schema": 2, "sha256": 3, "values": {}}),
     sealed({"schema": 2, "sha256": "0", "values": []}), sealed({"schema": [2]})],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_manifest_of_odd_json_falls_back_like_a_damaged_one(tmp_path, content):
    save_state(tmp_path, 1, 0, state(1))
    save_state(tmp_path, 2, 0, state(2))
    (tmp_path / "epoch-00002-step-0000000.json").write_bytes(content)
    with pytest.warns(UserWarning, match="falling back to epoch-00001"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 1


JUNK = [
    "epoch-99999-junk.json", "epoch-.json", "epoch-zzz.json", "epoch-00009-step-0000000 (1).json",
    "epoch-00009-step-0000000.json.bak", "._epoch-00009-step-0000000.json", "notes.json",
    *(f"epoch-000{epoch}-step-0000000.json" for epoch in ("09", "10", "11")),
]  # fmt: skip


def test_junk_beside_states_deletes_none_of_them_and_is_let_alone(tmp_path):
    save_state(tmp_path, 1, 0, state(1))
    save_state(tmp_path, 2, 0, state(2))
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in JUNK:
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "epoch-00012-folder.json").mkdir()
    with pytest.warns(UserWarning, match="falling back to epoch-00002"):
        found = load_state(tmp_path)
    assert found is not None and found.values["epoch"] == 2
    assert {name: (tmp_path / name).read_bytes() for name in good} == good
    save_state(tmp_path, 3, 0, state(3))
    names = {path.name for path in tmp_path.iterdir()}
    assert set(JUNK) <= names
    states = {name for name in names - set(JUNK) if name.endswith(".safetensors")}
    assert states == {f"epoch-0000{epoch}-step-0000000.safetensors" for epoch in (2, 3)}
