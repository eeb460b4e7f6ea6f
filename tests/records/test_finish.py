"""The end of a run: everything is on the disk before its record says that it is finished."""

import os
from dataclasses import replace
from pathlib import Path

import attnlib as al
from attnlib.training import checkpoint


def test_every_file_is_synced_and_renamed_before_the_record(tiny, tmp_path, monkeypatch):
    synced, renamed = [], []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def rename(self, target):
        assert str(self) in synced, f"{self} was renamed before it was synced"
        renamed.append(Path(target))
        return real_replace(self, target)

    monkeypatch.setattr(checkpoint.os, "fsync", sync)
    monkeypatch.setattr(checkpoint.Path, "replace", rename)
    run = al.run_experiment(replace(tiny, epochs=1, warmup_epochs=0, runs_dir=str(tmp_path)))
    written = [path.name for path in renamed if path.parent == run.path]
    assert written[-1] == "record.json"
    files = {path.name for path in run.path.iterdir() if path.is_file()}
    assert files - {"history.jsonl"} <= set(written), "history is appended to and synced"
    assert str(run.path / "history.jsonl") in synced
    assert not list(run.path.glob("*.tmp"))
