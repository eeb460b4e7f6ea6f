"""The list of errors as a whole: complete, checked, and its page."""

import ast
import re
import sys
from pathlib import Path

import pytest

import make_errata
from attnlib.data.downloads import DownloadError, cache_dir
from attnlib.human import sources
from attnlib.stats.consistency import (
    classwise_errors,
    confusion_matrix,
    error_consistency,
    interclass_errors,
    js_distance,
    shape_bias,
)
from attnlib.thesis.arithmetic import FORMULAS, names_in
from attnlib.thesis.counts import Values
from attnlib.thesis.statements import read_errata, read_thesis

ROOT = Path(__file__).parents[2]
ERRATA = read_errata()


@pytest.fixture(scope="module")
def values() -> Values:
    return Values(read_thesis(), ERRATA)


def checks() -> list[str]:
    files = ("test_errata_numbers.py", "test_errata_methods.py")
    trees = [ast.parse((Path(__file__).parent / name).read_text("utf-8")) for name in files]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


def test_each_of_the_thirty_has_a_check_of_its_own():
    assert list(ERRATA.entries) == list(range(1, 31))
    named = [erratum.check for erratum in ERRATA.entries.values()]
    assert sorted(named) == sorted(checks())
    for number, erratum in ERRATA.entries.items():
        assert erratum.check.startswith(f"test_erratum_{number:02}_")


def test_each_check_asserts_something():
    for name in ("test_errata_numbers.py", "test_errata_methods.py"):
        for node in ast.parse((Path(__file__).parent / name).read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert any(isinstance(inner, ast.Assert) for inner in ast.walk(node)), node.name


def test_every_group_is_used_and_known():
    assert {erratum.group for erratum in ERRATA.entries.values()} == set(ERRATA.groups)


def test_every_number_in_a_text_can_be_computed(values):
    for erratum in ERRATA.entries.values():
        for text in (erratum.thesis, erratum.truth):
            filled = values.fill(text)
            assert not re.search(r"[{}]|\bnan\b|\binf\b", filled), filled


def test_every_fact_has_a_value_and_a_source():
    for name, fact in ERRATA.facts.items():
        assert fact["value"] > 0 and fact["source"], name


def test_every_fact_count_and_formula_is_used(values):
    texts = [e.thesis + e.truth for e in ERRATA.entries.values()]
    texts += [f"{s.formula} {s.note}" for s in values.thesis.statements.values()]
    texts += [" ".join(names_in(formula)) for formula in FORMULAS]
    tests = "".join(
        path.read_text("utf-8") for path in Path(__file__).parent.glob("test_errata_*.py")
    )
    for name in (*ERRATA.facts, *ERRATA.counts, *FORMULAS):
        assert any(re.search(rf"\b{name}\b", text) for text in (*texts, tests)), name


def test_sources_are_in_the_bibliography():
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for erratum in ERRATA.entries.values():
        for key in erratum.sources:
            assert re.search(rf"^@\w+\{{{key},", bibliography, re.MULTILINE), key


def test_facts_agree_with_the_published_decisions(values):
    try:
        systems = {s.system: s for s in sources.load_published()}
    except DownloadError as fault:
        pytest.skip(f"the published decisions are not in {cache_dir()} nor within reach: {fault}")
    people = [system for system in systems.values() if system.is_person]
    names = {"vit_b_32": "ViT-B_32", "vit_b_32_ft": "ViT-B_32_ft", "resnet50": "resnet50",
             "resnet50_ft": "resnet50_ft"}  # fmt: skip

    def measured(system, other):
        pair = [confusion_matrix(s.shapes, s.responses, list(ERRATA.categories))
                for s in (system, other)]  # fmt: skip
        return {
            "kappa": error_consistency(
                system.responses == system.shapes, other.responses == other.shapes
            ),
            "js_class": js_distance(*map(classwise_errors, pair)),
            "js_inter": js_distance(*map(interclass_errors, pair)),
        }

    for name, published_name in names.items():
        system = systems[published_name]
        found = [measured(system, person) for person in people]
        for measure in ("kappa", "js_class", "js_inter"):
            fact = ERRATA.facts.get(f"{measure}_{name}")
            mean = sum(row[measure] for row in found) / len(found)
            assert fact is None or mean == pytest.approx(fact["value"], abs=6e-5), (name, measure)
        fact = ERRATA.facts.get(f"shape_bias_{name}")
        bias = shape_bias(system.shapes, system.textures, system.responses)
        assert fact is None or bias == pytest.approx(fact["value"], abs=6e-5)


def test_page_tells_every_entry_with_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_errata.py", "--out", str(tmp_path / "runs")])
    make_errata.main()
    page = tmp_path / "runs" / "errata.md"
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^# .*", text) == ["# Errors of the thesis"]
    assert len(re.findall(r"(?m)^### \d+\. ", text)) == 30
    for number in range(1, 31):
        assert text.count(f"(erratum-{number})=") == 1 and f"](erratum-{number})" in text
    assert "227.03 / 143.25 = 1.585" in text and "5001 / 2782 = 1.80" in text
    assert "1.0e-06 at epoch 0 to 1.243e-04 at epoch 5" in text
