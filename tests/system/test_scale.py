"""The benchmark of growth: exponents of invented times, and points that are not measured twice."""

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scale():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("scale")
        for name in ("scale", "input"):
            sys.modules.pop(name, None)


def points(scale, seconds, sizes=(10, 100, 1000, 10_000)):
    return [
        scale.Point("list_runs", "runs", n, seconds(n), seconds(n), seconds(n), 5.0) for n in sizes
    ]


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_exponents_of_known_growth(scale, exponent):
    rows = scale.fits(points(scale, lambda n: 1e-6 * n**exponent))
    time = next(row for row in rows if row["quantity"] == "seconds")
    assert time["value"] == pytest.approx(exponent) and time["last"] == pytest.approx(exponent)


def test_what_costs_the_same_at_every_size_hides_growth_in_the_fit_but_not_at_the_end(scale):
    rows = scale.fits(points(scale, lambda n: 100.0 + 1e-4 * n**2))
    time = next(row for row in rows if row["quantity"] == "seconds")
    assert time["value"] < 1 < 1.7 < time["last"] < 2


def test_two_points_are_no_growth(scale):
    assert scale.fits(points(scale, float, sizes=(10, 100))) == []


def test_a_stopped_benchmark_measures_only_what_is_missing(scale, tmp_path, monkeypatch):
    partial, known = tmp_path / "x.partial.jsonl", points(scale, float, sizes=(10, 30))
    lines = [json.dumps(asdict(point)) for point in known]
    partial.write_text("\n".join([*lines, '{"subject": "list_r']), encoding="utf-8")  # a kill
    asked = []

    class Pool:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, task, repetitions):
            asked.append(task.args[:2])
            return argparse.Namespace(result=lambda: points(scale, float, (task.args[1],))[0])

    monkeypatch.setattr(scale, "ProcessPoolExecutor", Pool)
    options = argparse.Namespace(
        subjects="list_runs", largest=100, repetitions=1, patience=1e9, folder=tmp_path
    )
    found = list(scale.measure_all(options, tmp_path, partial))
    assert [point.size for point in found] == [10, 30, 100] and asked == [("list_runs", 100)]
    assert found == list(scale.measure_all(options, tmp_path, partial)) and len(asked) == 1


def test_a_size_that_would_take_too_long_is_left_out_and_said_to_be(
    scale, tmp_path, monkeypatch, capsys
):
    partial = tmp_path / "x.partial.jsonl"
    (slow,) = points(scale, lambda n: 500.0, sizes=(10,))
    partial.write_text(json.dumps(asdict(slow)) + "\n", encoding="utf-8")
    options = argparse.Namespace(
        subjects="list_runs", largest=10**9, repetitions=1, patience=900, folder=tmp_path
    )
    assert list(scale.measure_all(options, tmp_path, partial)) == [slow]
    assert "30  left out: it may take" in capsys.readouterr().out
