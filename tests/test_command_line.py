"""The command line: what it prints where, and with which code it ends."""

import pytest
from small_runs import run_command

SMALL = "-p model timm/small_vit -p profile quick -p limit 64 -p epochs 1 -p device cpu"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_without_the_characters_loses_no_run(tmp_path, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    process = run_command(tmp_path / "数据", SMALL, encoding=encoding)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert ("\\u6570" in output) == (encoding != "utf-8")
    assert list((tmp_path / "数据").glob("*/record.json"))


def test_a_wrong_parameter_is_told_and_has_its_own_code(tmp_path):
    process = run_command(tmp_path, SMALL + " -p device cuda:7")
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "given as 'cpu' and as 'cuda:7'" in errors
