"""The thesis's numbers as data: read whole, consistent, and computed with."""

import tomllib
from pathlib import Path

import pytest

from attnlib.config import MODELS
from attnlib.thesis import statements as module
from attnlib.thesis.arithmetic import FORMULAS, compute, names_in
from attnlib.thesis.counts import COUNTS, Printed, Values, count_statement
from attnlib.thesis.statements import KINDS, read_errata, read_thesis

TEXT = Path(__file__).parents[2] / "attnlib" / "thesis" / "thesis.toml"
THESIS = read_thesis()


@pytest.fixture(scope="module")
def values() -> Values:
    return Values(THESIS, read_errata())


def test_table_8_2_is_read_as_printed():
    found = {
        name: [THESIS.statements[f"{q}_{name}"].printed for q in ("speed", "disk", "memory")]
        for name in ("deit_t_dp", "resnet18_p", "atresnet18_p")
    }
    assert found["deit_t_dp"] == ["143.25", "88.7", "5001"]
    assert found["resnet18_p"] == ["227.03", "179.1", "2782"]
    assert found["atresnet18_p"] == ["170.81", "268.5", "3193"]


def test_number_printed_in_three_tables_is_one_statement_with_three_places():
    accuracy = THESIS.statements["accuracy_deit_t_dp"]
    assert accuracy.printed == "97.10" and accuracy.step == pytest.approx(0.01)
    assert accuracy.places[0] == "Table 8.1, row DeiT-T_dp, column Cifar-10"
    assert accuracy.places[1:] == ("8.1.1, Table 8.2", "8.1.2, Table 8.3")
    assert accuracy.place.startswith("8.1.1, Table 8.1") and accuracy.chapter == 8


def test_two_values_for_one_number_are_refused(monkeypatch):
    text = TEXT.read_text(encoding="utf-8")
    changed = text.replace('["11", "95.32", "227.03"]', '["11", "95.33", "227.03"]')
    assert changed != text
    monkeypatch.setattr(module, "_read", lambda name: tomllib.loads(changed))
    with pytest.raises(ValueError, match=r"accuracy_resnet18_p: 95\.32 and 95\.33"):
        read_thesis()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('join = "count"\ncount = "encoders"', 'join = "cuont"', "'cuont' is none of run"),
        ('kind = "cited"', 'kind = "sited"', "'sited' is none of measured"),
        ("heads_deit_s = {", "heads_deit_x = {", "remarks on unknown statements: heads_deit_x"),
    ],
)
def test_slip_in_the_file_is_named(monkeypatch, old, new, told):
    text = TEXT.read_text(encoding="utf-8").replace(old, new)
    monkeypatch.setattr(module, "_read", lambda name: tomllib.loads(text))
    with pytest.raises(ValueError, match=told):
        read_thesis()


def test_subjects_of_table_8_1_are_the_experiments():
    text = (TEXT.parents[2] / "notebooks" / "experiments.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["thesis"]
    own = {name: about for name, about in THESIS.subjects.items() if about.get("own")}
    assert set(own) == set(rows)
    for name, row in rows.items():
        for key in ("model", "pretrained", "distillation", "teacher"):
            assert own[name].get(key) == row.get(key), (name, key)


def test_models_are_of_the_zoo_and_counts_exist(values):
    assert {s["model"] for s in THESIS.subjects.values() if "model" in s} <= set(MODELS)
    for statement in THESIS.statements.values():
        assert statement.join != "count" or statement.count in COUNTS, statement.id
        assert statement.join != "formula" or statement.formula in values, statement.id
        assert statement.join != "none" or statement.needs, statement.id
        assert statement.kind in KINDS
    assert {spec["count"] for spec in values.errata.counts.values()} <= set(COUNTS)
    with pytest.raises(ValueError, match=r"pixels: no count ''"):
        count_statement(THESIS, THESIS.statements["pixels"])


def test_remarks_name_errata_that_exist(values):
    numbers = {s.erratum for s in THESIS.statements.values()} - {None}
    assert numbers <= set(values.errata.entries)


@pytest.mark.parametrize(
    ("formula", "numbers", "result"),
    [
        ("speed_ratio", {"speed_resnet18_p": 3.0, "speed_deit_t_dp": 2.0}, 1.5),
        ("two_best", {"accuracy_resnet18_p": 97.1, "accuracy_deit_t_p": 97.3}, False),
        ("head_width", {"width_small": 384, "heads_small": 6, "another": 0}, 64),
    ],
)
def test_formula_is_computed_from_the_numbers_that_it_names(formula, numbers, result):
    assert compute(formula, numbers) == result


def test_every_formula_takes_numbers_that_exist(values):
    for formula in FORMULAS:
        assert set(names_in(formula)) <= set(values), formula
        assert isinstance(values[formula], float | int), formula


def test_unknown_name_is_named(values):
    with pytest.raises(KeyError, match="speed_of_light"):
        values["speed_of_light"]


def test_printed_number_computes_and_shows_as_in_the_thesis(values):
    assert f"{Printed(97.1, '97.10')} {Printed(97.1, '97.10'):.1f}" == "97.10 97.1"
    assert values.fill("{accuracy_deit_t_dp} {speed_ratio:.2f}") == "97.10 1.58"


def test_counts_meet_the_known_ones(values):
    goldens = {
        "count_deit_t": 5_528_660,
        "count_resnet18": 11_181_642,
        "count_atresnet18": 15_946_570,
        "count_atresnet18_spatial": 14_305_610,
        "tokens_vit_b_16": 197,
        "tokens_deit_t": 198,
        "heads_small": 6,
    }
    assert {name: values[name] for name in goldens} == goldens
    gmac = {"gmac_deit_t": 1.261, "gmac_deit_b": 17.56, "gmac_vit_l_16": 61.56}
    for name, golden in gmac.items():
        assert values[name] == pytest.approx(golden, abs=0.01)
