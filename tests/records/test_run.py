"""A run's folder: its history, its arrays and its weights are read whole or not at all."""

import json
from dataclasses import replace

import pytest

import attnlib as al
from attnlib.records.run import append_history, cut_history, read_history


def write_lines(path, count):
    for epoch in range(1, count + 1):
        append_history(path, {"epoch": epoch, "val_accuracy": epoch / 10})
    return (path / "history.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("torn", [b'{"epoch": 4, "val', b"\0\0\0", b"\xff", b"[]", b'{"epoch": 4'])
def test_a_torn_last_line_is_passed_over(tmp_path, torn):
    write_lines(tmp_path, 3)
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(torn)
    assert [line["epoch"] for line in read_history(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "damage", [b'{"epoch": 1\n', b"\n", b"\xff\n", b"3\n", b'{"epoch": 9}\n', b""]
)
@pytest.mark.parametrize("line", [1, 2])
def test_a_damaged_line_before_the_last_is_named(tmp_path, line, damage):
    lines = write_lines(tmp_path, 4)
    lines[line - 1] = damage
    (tmp_path / "history.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match=rf"history\.jsonl, line {line} is damaged: "):
        read_history(tmp_path)


def test_a_history_shorter_than_the_state_is_not_cut_to_it(tmp_path):
    write_lines(tmp_path, 2)
    with pytest.raises(ValueError, match="has 2 whole epochs and the saved state 3"):
        cut_history(tmp_path, 3)
    cut_history(tmp_path, 1)
    assert [line["epoch"] for line in read_history(tmp_path)] == [1]


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_run_does_not_go_on_from_a_damaged_history(tiny, tmp_path, damaged):
    """It would end with the epochs that followed the damage only."""
    config = replace(tiny, epochs=3, runs_dir=str(tmp_path))

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        al.run_experiment(config, on_epoch=stop)
    file = tmp_path / config.name / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    lines[damaged - 1] = lines[damaged - 1].replace("{", "[")
    file.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"history\.jsonl"):
        al.run_experiment(config)
    assert file.read_text() == "".join(lines), "what is left must be there to be put right"


def test_every_line_of_a_history_is_the_json_of_one_epoch(tiny_run):
    text = (tiny_run.path / "history.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == tiny_run.history
