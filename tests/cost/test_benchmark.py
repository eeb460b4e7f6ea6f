"""The survey: whole rows, skipped ones with a reason, tables that never hide a doubt."""

import pytest

from attnlib.cost import benchmark
from attnlib.cost.benchmark import EVERYTHING, CostConfig
from attnlib.records.measurements import select
from attnlib.thesis.cost_table import thesis_table

KEYS = {
    "model", "tokens", "img_size", "num_classes", "precision", "quantity", "value", "unit", "low",
    "high", "batch_size", "attention", "repeats", "stable", "basis", "reason",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    config = CostConfig.from_params(
        models="resnet18,atresnet18", img_size=32, batch_sizes="1,2", repeats=2, device="cpu"
    )
    return benchmark.survey(config)


def speed(**changes):
    row = {"model": "deit_t", "tokens": None, "quantity": "images_per_second", "value": 100.0,
           "low": 98.0, "high": 103.0, "batch_size": 1, "stable": True, "reason": None}  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"models": "deit_x"}, r"unknown name 'deit_x'\. Did you mean 'deit_t'\? Valid: all, deit"),
        ({"models": "deit_t,"}, "models: unknown name ''"),
        ({"batch_sizes": "1,two"}, "batch_sizes: expected whole numbers >= 1 .*; got 'two'"),
        ({"batch_sizes": "0"}, "got '0'"),
        ({"model": "deit_t"}, r"model: no such parameter\. Did you mean 'models'\?"),
        ({"repeats": 0}, "repeats: expected a whole number >= 1; got 0"),
    ],
)
def test_wrong_parameters_stop_before_any_work(params, told):
    with pytest.raises(ValueError, match=told):
        CostConfig.from_params(**params)


def test_command_measures_the_same_again_and_names_no_place():
    config = CostConfig.from_params(models="all", repeats=30, device="cpu", save="somewhere")
    assert config.names == EVERYTHING
    assert config.command == "papermill notebooks/cost.ipynb OUT.ipynb -p models all -p repeats 30"


def test_every_row_has_every_key_and_a_value_or_a_reason(rows):
    assert all(set(row) == KEYS for row in rows)
    assert all((row["value"] is None) == bool(row["reason"]) for row in rows)


def test_both_readings_of_atresnet_are_measured(rows):
    counted = {(r["model"], r["tokens"]) for r in select(rows, quantity="parameters")}
    assert counted == {("resnet18", None), ("atresnet18", "channel"), ("atresnet18", "spatial")}


def test_two_models_are_compared_on_each_machine_by_the_range_of_their_ratio():
    def speed(model, low, high, batch_size=1):
        return {"model": model, "quantity": "images_per_second", "batch_size": batch_size,
                "value": low, "low": low, "high": high}  # fmt: skip

    here = [speed("deit_t", 40, 48), speed("resnet18", 32, 40), speed("deit_t", 1, 1, 4)]
    kept = [speed("deit_t", 20, 20), speed("resnet18", 40, 50)]
    words = benchmark.compare_speeds("deit_t", "resnet18", {"A": kept, "here": here})
    assert words == (
        "One image at a time, the speed of DeiT-T over that of ResNet-18: 0.40 to 0.50 on A; "
        "1.00 to 1.50 on here"
    )
    assert benchmark.compare_speeds("deit_t", "resnet50", {"here": here}) == ""


def test_speeds_have_a_row_a_batch_size_and_memory_one_a_kind(rows):
    own = select(rows, model="resnet18")
    assert [r["batch_size"] for r in select(own, quantity="images_per_second")] == [1, 2]
    assert {r["attention"] for r in select(own, quantity="saved_bytes")} == {"fused", "explicit"}
    assert all(r["batch_size"] == 128 for r in select(own, quantity="memory_no_grad_bytes"))


def test_what_does_not_fit_is_a_row_with_its_reason(monkeypatch):
    monkeypatch.setattr(benchmark, "free_memory", lambda device: 10**7)
    notes = []
    config = CostConfig.from_params(models="resnet18", img_size=32, repeats=1, device="cpu")
    rows = benchmark.survey(config, notes.append)
    (row,) = select(rows, quantity="images_per_second")
    assert row["value"] is None and row["reason"] == "needs 0.0 GB, 0.0 GB are free"
    assert notes == [f"ResNet-18, batch 1, images_per_second: {row['reason']}"]
    assert select(rows, quantity="parameters")[0]["value"] == 11_181_642


def test_what_would_take_too_long_is_a_row_with_its_reason():
    config = CostConfig.from_params(
        models="resnet18", img_size=32, batch_sizes="1,8192", repeats=1, seconds=0.5, device="cpu"
    )
    slow = select(benchmark.survey(config), batch_size=8192)
    assert [row["value"] for row in slow] == [None] and "(limit 0.5 s)" in slow[0]["reason"]


def test_time_is_expected_from_the_pace_and_every_forward():
    assert benchmark.too_slow(pace=10.0, batch_size=20, seconds=16.0) == ""  # 3 + 5 forwards of 2 s
    assert benchmark.too_slow(pace=10.0, batch_size=20, seconds=15.9).startswith("would take 16 s")
    assert benchmark.too_slow(pace=0.0, batch_size=20, seconds=1.0) == ""  # not known yet


@pytest.mark.parametrize(("needed", "fits"), [(7, True), (9, False)])
def test_four_fifths_of_the_free_memory_may_be_used(monkeypatch, needed, fits):
    monkeypatch.setattr(benchmark, "free_memory", lambda device: 10**10)
    assert (benchmark.lacking(needed * 10**9, "cpu") == "") is fits
    monkeypatch.setattr(benchmark, "free_memory", lambda device: None)
    assert benchmark.lacking(needed * 10**12, "cpu") == ""


def test_an_unstable_speed_is_a_range_and_a_missing_one_a_reason():
    assert benchmark.speed_text(speed()) == "100 (98 to 103)"
    assert benchmark.speed_text(speed(stable=False, low=60.0)) == "unstable: 60 to 103"
    assert benchmark.speed_text(speed(value=None, reason="too large")) == "not run: too large"
    table = benchmark.speed_table([speed(), speed(batch_size=8, stable=False, low=60.0)])
    assert table.loc["DeiT-T"].tolist() == ["100 (98 to 103)", "unstable: 60 to 103"]


def test_tables_show_the_thesis_beside_both_readings_of_its_words():
    config = CostConfig.from_params(models="deit_t", batch_sizes="1", repeats=1, device="cpu")
    rows = [row for row in benchmark.model_rows(config, "deit_t", None) if row["basis"] != "timed"]
    table = thesis_table(rows)
    assert table.loc["DeiT-T", ("disk", "thesis")] == "88.7"
    assert table.loc["DeiT-T", ("disk", "training checkpoint")] == "88.6"
    assert table.loc["DeiT-T", ("memory", "no_grad")] == "256.7"
    counts = benchmark.count_table(rows)
    assert counts.loc["DeiT-T"].tolist() == ["5,528,660", "1.261", "22.2", "88.63"]
    memory = benchmark.memory_table(rows)
    assert memory.loc["DeiT-T"].tolist() == ["257", "4,523", "4,504"]
