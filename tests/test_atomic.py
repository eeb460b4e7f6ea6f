"""Files that are written whole or not at all."""

import os

import pytest

from attnlib.atomic import write_atomically


def test_file_is_the_old_or_the_new_one_never_a_part(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
