"""Verdicts: what is joined with what, and what is never compared."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from book_sample import invented_record

import attnlib as al
from attnlib.cost import measure
from attnlib.records.measurements import Measurements
from attnlib.records.record import Accuracy, ClassAccuracy, parse_record
from attnlib.records.run import Run
from attnlib.thesis.counts import Values
from attnlib.thesis.statements import read_errata, read_thesis
from attnlib.thesis.verdicts import (
    VERDICTS,
    Evidence,
    Judge,
    Verdict,
    agreement,
    departures,
    wanted_run,
)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NOTHING = Evidence((), (), (), {})
VALUES = Values(read_thesis(), read_errata())
STATEMENTS = VALUES.thesis.statements
SAME = {"dataset": "cifar10", "limit": None, "img_size": 224, "epochs": 100, "batch_size": 128,
        "tokens": "channel", "teacher": None}  # fmt: skip
DEIT_T_DP = {"model": "deit_t", "pretrained": True, "distillation": "hard", "teacher": "resnet18"}
RESNET18_P = {"model": "resnet18", "pretrained": True, "distillation": "none"}


def share(value: float, n: int = 10_000) -> Accuracy:
    return Accuracy.of(al.wilson_interval(round(value * n), n))


def make_run(accuracy: float, cat: float = 0.9, title: str = "CIFAR-10", **config: Any) -> Run:
    """An invented record, by the thesis's recipe unless ``config`` says otherwise."""
    config = SAME | DEIT_T_DP | config
    teacher = "resnet18-pretrained-cifar10-thesis-s0-00000000"
    usual = parse_record(invented_record("invented", "Invented"))
    rows = [ClassAccuracy(c, share(cat if c == "cat" else accuracy, 1000)) for c in CIFAR10]
    record = replace(
        usual,
        dataset=replace(usual.dataset, name=config["dataset"], title=title, classes=CIFAR10),
        metrics=replace(usual.metrics, test_accuracy=share(accuracy), per_class=tuple(rows)),
        teacher=teacher if config["teacher"] else None,
        device=replace(usual.device, name="a card"),
        precision="bfloat16",
    )
    return Run(Path("invented"), config, [], record)


def measured(device: str, kind: str = "cuda", **rows: float) -> Measurements:
    """Invented speeds at batch 1 of models by name."""
    found = [
        {
            "model": model, "tokens": None, "quantity": "images_per_second", "value": value,
            "low": 0.99 * value, "high": 1.01 * value, "img_size": 224, "batch_size": 1,
            "precision": "float32", "stable": True,
        }
        for model, value in rows.items()
    ]  # fmt: skip
    about = {"type": kind, "name": device, "threads": 1}
    return Measurements(Path("cost.json"), "cost", found, "", {}, {}, about, "2026-01-01")


def verdict(name: str, *runs: Run, costs: tuple[Measurements, ...] = ()) -> Verdict:
    return Judge(VALUES, Evidence(runs, costs, (), {})).verdict(STATEMENTS[name])


def test_run_by_the_thesis_recipe_is_judged_by_its_interval():
    near, far = verdict("accuracy_deit_t_dp", make_run(0.9695)), make_run(0.9650)
    assert near.verdict == "reproduced" and near.ours.startswith("96.95 [96.59, 97.27] %")
    assert "n = 10,000, 1 seed" in near.ours
    assert "CIFAR-10, 224 pixels, from ImageNet weights, a card, bfloat16" in near.why
    apart = verdict("accuracy_deit_t_dp", far)
    assert apart.verdict == "differs" and "-0.60 % from the printed number" in apart.why


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "digits"},
        {"dataset": "npz"},
        {"img_size": 32},
        {"pretrained": False},
        {"distillation": "soft"},
        {"distillation": "none", "teacher": None},
        {"epochs": 10},
        {"batch_size": 64},
        {"limit": 1000},
        {"model": "deit_s"},
    ],
)
def test_run_that_departs_in_one_thing_is_not_compared(other):
    found = verdict("accuracy_deit_t_dp", make_run(0.9710, **other))
    assert found.verdict == "not run" and found.ours == ""
    if "model" not in other:
        assert "nearest record is not comparable" in found.why
        assert not re.search(r"_|\b(True|False|None|npz)\b", found.why.partition("comparable")[2])


def test_untrained_teacher_is_another_row():
    run = make_run(0.9710)
    record = replace(run.record, teacher="resnet18-cifar10-thesis-s1-00000000")
    run = replace(run, record=record)
    assert verdict("accuracy_deit_t_dp", run).verdict == "not run"


def test_jpeg_copy_is_named_and_not_compared():
    run = make_run(0.9611, title="CIFAR-10 (JPEG copy)", dataset="npz")
    found = verdict("accuracy_deit_t_dp", run)
    assert found.verdict == "not run" and found.ours == ""
    assert "CIFAR-10 (JPEG copy), on which its accuracy is 96.11%" in found.why


def test_digits_run_is_never_joined(tiny_run):
    evidence = Evidence((tiny_run,), (), (), {})
    for statement in STATEMENTS.values():
        if statement.join == "run":
            found = Judge(VALUES, evidence).verdict(statement)
            assert found.verdict == "not run" and found.number is None, statement.id
    assert (
        "scikit-learn digits"
        in Judge(VALUES, evidence).verdict(STATEMENTS["accuracy_deit_t_p"]).why
    )


def test_not_run_names_a_command_that_makes_the_row():
    for name in ("deit_t_p", "deit_t_dp", "resnet18_p", "resnet18", "atresnet18_p"):
        words = verdict(f"accuracy_{name}").command.split("OUT.ipynb ")[1].split()
        params = dict(zip(words[1::3], words[2::3], strict=True))
        config = al.TrainConfig.from_params(**params, device="cpu")
        run = replace(make_run(0.9), config=vars(config))
        assert departures(run, wanted_run(VALUES.thesis, name)) == {}, name


def test_seeds_widen_the_answer_to_their_mean():
    runs = [make_run(value) for value in (0.960, 0.970, 0.980)]
    found = verdict("accuracy_deit_t_dp", *runs)
    assert found.ours.startswith("97.00 [94.5") and "3 seeds" in found.ours
    assert found.verdict == "reproduced"


def test_cats_are_counted_from_the_class_of_the_record():
    found = verdict("class_correct_deit_t_dp", make_run(0.97, cat=0.944))
    assert found.verdict == "reproduced" and found.ours.startswith("944.00 [92")
    assert verdict("class_correct_deit_t_dp", make_run(0.97, cat=0.90)).verdict == "differs"


def test_better_in_every_class_needs_both_runs_and_every_class():
    student, teacher = make_run(0.97, cat=0.94), make_run(0.95, cat=0.88, **RESNET18_P)
    assert verdict("classes_better", student).verdict == "not run"
    assert verdict("classes_better", student, teacher).verdict == "reproduced"
    weak = make_run(0.97, cat=0.80)
    found = verdict("classes_better", weak, teacher)
    assert found.verdict == "differs" and found.ours == "9 of 10 classes"


def test_speed_of_a_processor_is_shown_and_not_compared():
    found = verdict("speed_deit_t_dp", costs=(measured("a laptop", "cpu", deit_t=143.25),))
    assert found.verdict == "not run" and "143.2 img/s" in found.ours and "a laptop" in found.why
    assert found.command.startswith(
        "papermill notebooks/cost.ipynb OUT.ipynb -p models all -p save"
    )


def test_speed_of_another_card_differs_and_of_the_thesis_own_may_be_reproduced():
    fast = verdict("speed_deit_t_dp", costs=(measured("NVIDIA H100", deit_t=286.5),))
    assert fast.verdict == "differs" and "2 times the printed speed on NVIDIA H100" in fast.why
    assert "224 pixels, float32, batch 1" in fast.why and "most likely the card" in fast.why
    own = verdict("speed_deit_t_dp", costs=(measured("Tesla K80", deit_t=143.0),))
    assert own.verdict == "reproduced"
    slow = verdict("speed_deit_t_dp", costs=(measured("Tesla K80", deit_t=90.0),))
    assert slow.verdict == "differs" and "most likely" not in slow.why


def test_unstable_speed_is_no_plain_number():
    noisy = measured("NVIDIA H100", deit_t=300.0)
    noisy.rows[0].update(stable=False, low=200.0, high=420.0)
    found = verdict("speed_deit_t_dp", costs=(noisy,))
    assert found.ours == "unstable: 200 to 420 img/s" and found.verdict == "not run"
    noisy.device["name"] = "Tesla K80"
    noisy.rows[0].update(low=100.0)  # so wide that the printed speed lies inside
    found = verdict("speed_deit_t_dp", costs=(noisy,))
    assert found.verdict == "not run" and found.number is None


def test_claim_on_measurements_needs_ours():
    claim = "student_beats_teacher"
    student, teacher = make_run(0.97), make_run(0.95, **RESNET18_P)
    waiting = verdict(claim, student)
    assert (
        waiting.verdict == "not run"
        and "accuracy_deit_t_dp 97.10, accuracy_resnet18_p 95.32" in waiting.why
    )
    assert verdict(claim, student, teacher).verdict == "reproduced"
    assert verdict(claim, make_run(0.94), teacher).verdict == "differs"


def test_claim_against_the_thesis_own_numbers_is_corrected_whatever_we_have():
    resnet = make_run(0.99, **RESNET18_P)
    plain = make_run(0.90, distillation="none", teacher=None)
    assert verdict("two_best", resnet, plain).verdict == "corrected"


def test_arithmetic_that_fails_is_corrected_also_without_an_erratum():
    unlisted = replace(STATEMENTS["times_faster"], erratum=None)
    assert Judge(VALUES, NOTHING).verdict(unlisted).verdict == "corrected"
    counted = replace(STATEMENTS["heads_deit_s"], erratum=None)  # but a count merely differs
    assert Judge(VALUES, NOTHING).verdict(counted).verdict == "differs"


@pytest.mark.parametrize(
    ("name", "expected", "ours"),
    [
        ("times_faster", "corrected", "1.5849"),
        ("times_less_memory", "corrected", "1.7976"),
        ("heads_deit_s", "corrected", "6"),
        ("categories_named", "corrected", "16"),
        ("imagenet_classes", "corrected", "207"),
        ("two_best", "corrected", "false"),
        ("needs_more_memory", "corrected", "false"),
        ("interclass_order", "corrected", "false"),
        ("memory_resnet18_p", "corrected", "822 MB"),
        ("disk_deit_t_dp", "reproduced", "88.63 MB"),
        ("disk_atresnet18_p", "differs", "255.4 MB"),
        ("parameters_added", "reproduced", "4.7649"),
        ("parameters_atresnet18_p", "reproduced", "15,946,570"),
        ("parameters_vit_l_16", "differs", "304,715,752"),
        ("patches", "reproduced", "196"),
        ("interclass_cells", "reproduced", "240"),
        ("gmac_resnet18_1000", "reproduced", "1.8141"),
        ("gmac_resnet50", "differs", "4.0892"),
        ("imagenet_deit_t", "not run", ""),
        ("order_time", "not run", ""),
    ],
)
def test_verdict_that_needs_no_record(name, expected, ours):
    found = Judge(VALUES, NOTHING).verdict(STATEMENTS[name])
    assert (found.verdict, found.ours) == (expected, ours)


def test_weights_have_the_size_of_their_file_wherever_it_is_told():
    for name in ("deit_t", "resnet18"):
        model = measure.build_empty(name, num_classes=10)
        size = f"{measure.weights_size(model) / 1e6:.1f}"
        statement = STATEMENTS["disk_deit_t_dp" if name == "deit_t" else "disk_resnet18_p"]
        assert f"the weights alone take {size} MB" in Judge(VALUES, NOTHING).verdict(statement).why
        assert VALUES.fill(f"{{weights_{name}:.1f}}") == size


def test_what_is_corrected_names_its_erratum_or_its_arithmetic():
    for statement in STATEMENTS.values():
        found = Judge(VALUES, NOTHING).verdict(statement)
        assert found.verdict in VERDICTS and found.why
        if found.verdict == "corrected":
            assert statement.erratum and f"erratum {statement.erratum}" in found.why


@pytest.mark.parametrize(
    ("printed", "ours", "met"),
    [
        ("5", 5.2, "exact"),
        ("5", 4.6, "exact"),
        ("5", 5.7, "cut"),
        ("5", 6.0, ""),
        ("5", 4.4, ""),
        ("1.8", 1.84, "exact"),
        ("1.8", 1.86, "cut"),
        ("1.63", 1.585, ""),
    ],
)
def test_agreement_goes_by_the_printed_digits(printed, ours, met):
    statement = replace(STATEMENTS["encoders"], value=float(printed), printed=printed)
    assert agreement(statement, ours) == met


def test_records_of_a_gpu_replace_what_was_counted_of_memory():
    base = {"model": "resnet18", "tokens": None, "batch_size": 128, "basis": "allocated",
            "attention": "explicit"}  # fmt: skip
    rows = [
        {**base, "quantity": "memory_no_grad_bytes", "value": 830_000_000},
        {**base, "quantity": "memory_autograd_bytes", "value": 2_790_000_000},
        *({**base, "quantity": f"memory_{kind}_bytes", "value": 1, **other}
          for kind in ("no_grad", "autograd")
          for other in ({"basis": "replayed"}, {"attention": "fused"})),
    ]  # fmt: skip
    rows.reverse()
    found = verdict("memory_resnet18_p", costs=(replace(measured("NVIDIA H100"), rows=rows),))
    assert found.ours == "830 MB" and "allocated on NVIDIA H100" in found.why
    assert found.verdict == "corrected" and "2,790 MB with gradients recorded (+0.3%)" in found.why


def test_memory_that_meets_the_printed_figure_without_gradients_reproduces_it():
    printed = STATEMENTS["memory_resnet18_p"].value * 1e6
    base = {"model": "resnet18", "tokens": None, "batch_size": 128, "basis": "allocated",
            "attention": "explicit"}  # fmt: skip
    for factor, expected in ((1.005, "reproduced"), (0.995, "reproduced"), (1.02, "differs")):
        rows = [
            {**base, "quantity": "memory_no_grad_bytes", "value": factor * printed},
            {**base, "quantity": "memory_autograd_bytes", "value": 3 * printed},
        ]
        costs = (replace(measured("NVIDIA H100"), rows=rows),)
        found = verdict("memory_resnet18_p", costs=costs)
        assert found.verdict == expected, found
        assert found.number == pytest.approx(factor * printed / 1e6)


def test_order_of_time_is_fitted_from_measurements():
    tokens = (1225, 1600, 2025, 2500, 3136)
    for power, expected in ((1.95, "reproduced"), (1.6, "differs")):
        rows = [{"layer": "explicit", "tokens": n, "quantity": "seconds", "value": 1e-9 * n**power}
                for n in tokens]  # fmt: skip
        evidence = replace(NOTHING, scalings=(replace(measured("a laptop", "cpu"), rows=rows),))
        found = Judge(VALUES, evidence).verdict(STATEMENTS["order_time"])
        assert found.verdict == expected and found.ours.startswith(f"{power:.2f} [")
    for row in rows[:3]:
        row["stable"] = False
    found = Judge(VALUES, evidence).verdict(STATEMENTS["order_time"])
    assert found.verdict == "not run" and "3 of 5 timings on a laptop are unstable" in found.why
    rows[0]["stable"] = True
    assert Judge(VALUES, evidence).verdict(STATEMENTS["order_time"]).verdict == "differs"
    rows[2]["value"] *= 1.25  # scatter: 2 lies in the interval
    assert Judge(VALUES, evidence).verdict(STATEMENTS["order_time"]).verdict == "reproduced"
    rows[0]["value"] *= 4  # so wide that other whole powers do too
    found = Judge(VALUES, evidence).verdict(STATEMENTS["order_time"])
    assert found.verdict == "not run" and "so wide an interval fits any power" in found.why
    assert found.ours.startswith("undecided: ")
