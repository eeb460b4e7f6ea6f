"""The command line: what it prints where, and with which code it ends."""

import io
import sys

import pytest
import small_runs  # makes its model known to timm

from attnlib.__main__ import main

SMALL = f"-p model timm/{small_runs.small_vit.__name__} -p profile quick -p limit 64 -p epochs 1"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_without_the_characters_loses_no_run(tmp_path, monkeypatch, encoding):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    folder = tmp_path / "数据"
    words = f"{SMALL} -p device cpu -p runs_dir {folder}"
    assert main(["train", *words.split()]) == 0
    terminal.flush()
    output = terminal.buffer.getvalue().decode(encoding)
    assert ("\\u6570" in output) == (encoding != "utf-8")
    assert list(folder.glob("*/record.json"))


def test_a_wrong_parameter_is_told_and_has_its_own_code(capsys):
    words = f"{SMALL} -p device cpu -p device cuda:7"
    assert main(["train", *words.split()]) == 2
    assert "given as 'cpu' and as 'cuda:7'" in capsys.readouterr().err
