"""A run's folder: its history, its arrays and its weights are read whole or not at all."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from book_sample import invented_epoch
from forged_runs import forge, record_values
from small_runs import small_config

import attnlib as al
from attnlib.records.record import refresh_hashes
from attnlib.records.run import cut_history, read_history, write_history


def write_lines(path, count):
    write_history(path, [invented_epoch(epoch) for epoch in range(1, count + 1)])
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


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A finished run of some hundred kilobytes."""
    return al.run_experiment(small_config(tmp_path_factory.mktemp("runs"), epochs=2))


@pytest.fixture
def copied(small_run, tmp_path):
    """A copy of a finished run that a test may damage."""
    return Path(shutil.copytree(small_run.path, tmp_path / small_run.name))


def read_whole(path):
    """All that can be read of a run, through the calls that read it."""
    run = al.load_run(path)
    for file in path.glob("*.npz"):
        run.arrays(file.stem)
    if run.has_weights:
        run.load_model()
    faults = run.find_damage()
    if faults:
        raise ValueError("; ".join(faults.values()))


def flip(path, random_bits):
    """Flip one bit of the file; what puts it back."""
    place, bit = random_bits.randrange(path.stat().st_size), random_bits.randrange(8)

    def turn():
        with path.open("r+b") as file:
            file.seek(place)
            value = file.read(1)[0]
            file.seek(place)
            file.write(bytes([value ^ 1 << bit]))

    turn()
    return turn


def test_of_300_flipped_bits_each_is_found_and_its_file_named(copied):
    read_whole(copied)
    files = sorted(path for path in copied.rglob("*") if path.is_file())
    assert len(files) >= 10
    random_bits = random.Random(0)
    for number in range(300):
        path = files[number % len(files)]
        put_back = flip(path, random_bits)
        with pytest.raises(ValueError) as raised:
            read_whole(copied)
        assert path.name in str(raised.value), (number, path.name, str(raised.value))
        put_back()
    read_whole(copied)


def test_every_bit_of_the_record_itself_counts(copied):
    file = copied / "record.json"
    whole = file.read_bytes()
    random_bits = random.Random(1)
    for _ in range(1000):
        put_back = flip(file, random_bits)
        with pytest.raises(ValueError, match=r"record\.json"):
            al.load_run(copied)
        put_back()
    assert file.read_bytes() == whole
    al.load_run(copied)


def test_one_flipped_bit_in_the_weights_is_found_before_they_are_used(copied):
    run = al.load_run(copied)
    flip(copied / "model.safetensors", random.Random(2))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        run.load_model()


def test_a_file_that_the_record_does_not_know_is_not_read(copied):
    (copied / "attention.npz").replace(copied / "more.npz")
    with pytest.raises(ValueError, match=r"more\.npz is not among the files"):
        al.load_run(copied).arrays("more")


@pytest.mark.parametrize("name", ["config.json", "history.jsonl"])
def test_a_file_that_every_run_needs_is_missed_by_name(copied, name):
    (copied / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        al.load_run(copied)


def test_a_run_without_weights_or_arrays_is_still_a_run(copied):
    for name in ("model.safetensors", "features.npz"):
        (copied / name).unlink()
    shutil.rmtree(copied / "state")
    run = al.load_run(copied)
    assert run.find_damage() == {} and not run.has_weights


def test_files_changed_on_purpose_get_new_hashes(copied):
    np.savez(copied / "attention.npz", indices=np.arange(3))
    with pytest.raises(ValueError, match=r"attention\.npz is damaged"):
        al.load_run(copied).arrays("attention")
    refresh_hashes(copied)
    assert al.load_run(copied).arrays("attention")["indices"].tolist() == [0, 1, 2]
    read_whole(copied)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4" + bytes(40)])
def test_torn_arrays_of_a_run_without_hashes_are_named(copied, content):
    forge(copied, record_values(copied))
    (copied / "features.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"features\.npz can't be read"):
        al.load_run(copied).arrays("features")


@pytest.mark.parametrize("content", [b"", b"torn", bytes(64)])
def test_torn_weights_of_a_run_without_hashes_are_named(copied, content):
    forge(copied, record_values(copied))
    (copied / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors can't be read"):
        al.load_run(copied).load_model()


KEPT = sorted((Path(__file__).parents[2] / "results").glob("*/record.json"))


@pytest.mark.parametrize("record", KEPT, ids=lambda path: path.parent.name)
def test_every_kept_run_has_hashes_of_all_its_files(record):
    run = al.load_run(record.parent)
    assert {p.name for p in record.parent.iterdir()} - {"record.json"} <= set(run.record.files)
    read_whole(record.parent)


def test_a_finished_run_is_not_taken_for_one_of_another_configuration(small_run, tmp_path):
    """Files of another seed in the folder, under a record with the folder's name."""
    asked = small_config(tmp_path, epochs=2, seed=1)
    path = Path(shutil.copytree(small_run.path, tmp_path / asked.name))
    with pytest.raises(ValueError, match=f"its record is that of {small_run.name}"):
        al.run_experiment(asked)
    forge(path, record_values(path) | {"name": asked.name})
    with pytest.raises(ValueError, match=r"another configuration: seed was 0, now 1\."):
        al.run_experiment(asked)
    refresh_hashes(path)
    with pytest.raises(ValueError, match=r"another configuration: seed was 0, now 1\."):
        al.run_experiment(asked)
