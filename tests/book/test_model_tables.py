"""Tables read off the models: they agree with what the thesis prints and with themselves."""

from pathlib import Path

import pytest

from attnbook import model_tables
from attnlib.augmentation.randaugment import OPERATIONS
from attnlib.config import PROFILES
from attnlib.thesis.statements import read_thesis

ROOT = Path(__file__).resolve().parents[2]

STATED = read_thesis().statements


@pytest.fixture(scope="module")
def layers() -> dict[str, list[str]]:
    """The table of layers by the name of the stage."""
    return {row[0]: row[1:] for row in model_tables.resnet_layers().rows}


def test_stages_repeat_as_often_as_the_thesis_prints(layers: dict[str, list[str]]):
    for number in (2, 3, 4, 5):
        for place, depth in enumerate(model_tables.RESNETS, start=1):
            name = "resnet18_1000" if depth == 18 else f"resnet{depth}"
            stated = STATED[f"conv{number}_blocks_{name}"].printed
            cell = layers[f"conv{number}_x"][place]
            assert cell.endswith(f"\n{stated} times"), (number, depth, cell)


def test_stages_end_at_the_sides_of_the_paper(layers: dict[str, list[str]]):
    sides = [row[0].partition(model_tables.TIMES)[0] for row in layers.values()]
    assert sides == ["112", "56", "28", "14", "7", "1", ""]


def test_small_resnets_have_pairs_and_large_ones_bottlenecks(layers: dict[str, list[str]]):
    times = model_tables.TIMES
    assert layers["conv5_x"][1].split("\n")[:2] == [f"3{times}3, 512"] * 2
    bottleneck = [f"1{times}1, 512", f"3{times}3, 512", f"1{times}1, 2048"]
    assert layers["conv5_x"][5].split("\n")[:3] == bottleneck


def test_arithmetic_of_resnet18_is_the_printed_one(layers: dict[str, list[str]]):
    assert layers["multiply-adds"][1] == f"{STATED['gmac_resnet18_1000'].printed}e9"


def test_parts_of_atresnet_add_up_to_what_it_adds():
    rows = model_tables.encoder_parameters().rows
    for column in (1, 2):
        numbers = [
            int(row[column].replace(",", "").replace(model_tables.MINUS, "-")) for row in rows
        ]
        *parts, added, whole = numbers
        assert sum(parts) == added
        assert whole - added == 11_181_642  # ResNet-18 with ten classes


def test_every_operation_stands_in_the_table_with_what_it_does():
    rows = model_tables.operation_table().rows
    assert [row[0].strip("`") for row in rows] == [*OPERATIONS]
    assert dict(rows)["`Rotate`"] == "turned by 27 degrees, either way"
    assert not any("{" in row[1] for row in rows)


def test_every_file_of_the_package_stands_in_the_table_under_its_folder():
    rows = model_tables.module_table().rows
    package = ROOT / "attnlib"
    files = {str(p.relative_to(package)) for p in package.rglob("*.py") if p.stem[0] != "_"}
    assert sorted((row[0] + row[1]).replace("`", "") for row in rows) == sorted(files)
    assert all(row[2].endswith(".") and len(row[2].split()) > 2 for row in rows)


def test_recipe_names_each_value_that_the_thesis_profile_sets_and_its_source():
    rows = model_tables.recipe().rows
    named = [row[0].partition("`: ")[0].strip("`") for row in rows]
    assert set(PROFILES["thesis"]) - {"dataset"} <= set(named)
    batch = rows[named.index("batch_size")]
    assert batch[1:4] == ["128", "128", "32"] and batch[4] == "section 7.6"
    assert all(row[4] for row in rows)
