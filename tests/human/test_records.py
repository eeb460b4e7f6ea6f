"""Studies of networks beside people: the kept records, their tables and figures."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from attnlib.human import figures, run_study
from attnlib.human.bootstrap import measure_agreement
from attnlib.human.cifar10h import GROUPS, Crowd, VotesStudy, compare_votes
from attnlib.human.claims import BOTH, PROTOCOLS
from attnlib.human.decisions import read_decisions
from attnlib.human.records import (
    measurement_folders,
    read_study,
    read_votes_study,
    write_votes_study,
)
from attnlib.human.run_study import StudyParams, figure_systems, study_votes
from attnlib.human.study import claims_table, protocol_table

KEPT = Path(__file__).parents[2] / "results" / "measurements"


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache; nothing here may ask for more."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "empty"))


def test_a_saved_study_of_votes_is_read_back_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 10)
    counts = rng.multinomial(50, np.full(10, 0.1), size=100)
    counts[np.arange(100), labels] += 30
    counts[20:40] = np.eye(10, dtype=int)[labels[20:40]] * 50  # of one voice
    counts[90:] = np.roll(counts[90:], 1, axis=1)  # and wrong
    decisions = np.where(rng.random(100) < 0.7, labels, 0)
    compared = [compare_votes("a run", labels, decisions, counts, resamples=10)]
    study = VotesStudy("told", [Crowd(name, 25, 0.5) for name in GROUPS], compared)
    write_votes_study(study, tmp_path / "results" / "measurements")
    again = read_votes_study(["first"])
    assert again.told.startswith("first\n") and "human-cifar10h.json" in again.told
    assert again.people == study.people
    (one,), (other,) = study.compared, again.compared
    assert one.model_alone_wrong.total and one.majority_alone_wrong.first
    for f in fields(one):
        if f.name in ("accuracy", "kappa", "class_js", "inter_js"):
            assert getattr(other, f.name) == pytest.approx(getattr(one, f.name), abs=1e-6)
        elif f.name != "groups":
            assert getattr(other, f.name) == getattr(one, f.name)
    for group, kept in zip(one.groups, other.groups, strict=True):
        assert kept[:3] == group[:3]
        assert kept.model == pytest.approx(group.model, abs=1e-6, nan_ok=True)


def test_votes_are_not_asked_for_where_the_decisions_were_out_of_reach(offline, monkeypatch):
    monkeypatch.setattr(run_study, "load_votes", lambda: pytest.fail("asked for"))
    study = study_votes([], network=False)
    assert "neither in the cache" in study.told
    assert [crowd.name for crowd in study.people] == list(GROUPS)  # from the kept record


def test_kept_record_holds_the_published_numbers_and_the_protocol_s_effect():
    study = read_study()
    vit, resnet, people = (one.measures for one in study.find("ViT-B_32", "resnet50", "people"))
    found = [round(m.value, 4) for one in (vit, resnet) for m in list(one.values())[1:]]
    assert found == [0.1365, 0.1908, 0.6267, 0.5502, 0.0680, 0.2268, 0.5777, 0.2139]
    assert people["kappa"].value == pytest.approx(0.331, abs=5e-4)
    moved = {one.measure: one.difference for one in study.shifts if one.text == BOTH}
    assert moved["inter_js"].low > vit["inter_js"].value - resnet["inter_js"].value
    wrong_way = [claim for claim in study.claims if claim.verdict == "the opposite holds"]
    assert [claim.measure for claim in wrong_way] == ["inter_js", "inter_js"]


def test_kept_decisions_of_the_network_are_those_of_the_kept_record():
    study, systems = read_study(), []
    for protocol in PROTOCOLS:
        systems.append(read_decisions(KEPT / "human" / f"{run_study.NETWORK}-{protocol}.csv"))
    assert len(systems[0].images) == 1280
    for one, row in zip(measure_agreement(systems, resamples=1),
                        study.find(*(s.system for s in systems)), strict=True):  # fmt: skip
        for measure in ("accuracy", "shape_bias"):
            kept = row.measures[measure].value
            assert one.estimate(measure).value == pytest.approx(kept, abs=1e-6)


def test_protocol_s_effect_is_told_as_a_share_of_the_gap():
    study = read_study()
    (vit,), (resnet,) = study.find("ViT-B_32"), study.find("resnet50")
    gap = vit.measures["inter_js"].value - resnet.measures["inter_js"].value
    table = protocol_table(study)
    told = table.loc["both, as a share of the gap", "inter-class JS distance"]
    moved = next(s for s in study.shifts if (s.text, s.measure) == (BOTH, "inter_js"))
    assert told == f"{moved.difference.value / gap:+.0%}" and int(told.strip("+%")) > 100


def test_claims_by_different_protocols_stand_beside_what_protocol_alone_does():
    table = claims_table(read_study())
    larger = table.loc["ResNet's inter-class distance is larger than ViT's"]
    assert larger["verdict"] == "the opposite holds" and larger["difference"].startswith("-0.049")
    assert larger["protocol alone"].startswith("-")  # turned as the difference is
    same = table[table.index == "augmentation takes ViT towards people"]
    assert (same["protocol alone"] == "-").all() and len(same) == 3
    assert (table.loc["people rely on shape more than ViT", "protocol alone"]) == "-"


def test_figures_show_each_system_with_a_mark_of_its_own_and_people_as_a_band():
    study = read_study()
    systems = figure_systems(study, StudyParams())
    figure = figures.agreement_with_people(study, systems)
    for panel, measure in zip(figure.axes, ("kappa", "class_js", "inter_js"), strict=True):
        drawn = [bars.lines[0] for bars in panel.containers]
        assert [line.get_xdata()[0] for line in drawn] == [
            one.measures[measure].value for one in systems
        ]
        looks = {(line.get_marker(), line.get_color()) for line in drawn}
        assert len(looks) == len(systems) == 5
        assert panel.patches  # the band
        assert [label.get_text().split("\n")[0] for label in panel.get_yticklabels()] == [
            one.title for one in systems
        ]
    best = max((one for one in study.systems if one.system != "people"),
               key=lambda one: one.measures["kappa"].value)  # fmt: skip
    assert f"tables, {best.title} has the highest" in figure.finding, "of all, drawn or not"
    assert "EfficientNet-Lite0" in [one.title for one in systems], "a title, not a key"
    bias = figures.shape_bias_by_category(study, systems).axes[0]
    assert len(bias.containers) == 16 * 6
    gaps = figures.protocol_beside_gaps(study)
    assert [len(panel.containers) for panel in gaps.axes] == [8] * 4


def test_figure_of_votes_has_a_point_for_each_run_and_group():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 10)
    counts = rng.multinomial(50, np.full(10, 0.1), size=100)
    counts[:40] = np.eye(10, dtype=int)[labels[:40]] * 50
    runs = [compare_votes(name, labels, labels, counts, resamples=5) for name in "ab"]
    people = [Crowd(name, 25, 0.9) for name in GROUPS]
    axes = figures.accuracy_by_uncertainty(VotesStudy("", people, runs)).axes[0]
    assert len(axes.containers) == 2 * 4
    wrong = [(labels + (np.arange(100) < n)) % 10 for n in range(9)]
    many = [
        compare_votes(f"{n} wrong, X", labels, answers, counts, resamples=5)
        for n, answers in enumerate(wrong)
    ]
    figure = figures.accuracy_by_uncertainty(VotesStudy("", people, many))
    drawn = [text.get_text() for text in figure.legends[0].get_texts()[1:]]
    assert drawn == ["0 wrong", "2 wrong", "3 wrong", "5 wrong", "6 wrong", "8 wrong"]
    nothing = figures.accuracy_by_uncertainty(VotesStudy("", [], []))
    assert "not at hand" in nothing.axes[0].texts[0].get_text()


def test_measurements_are_looked_for_beside_the_work_and_in_the_checkout():
    assert Path("results/measurements") in measurement_folders()
    assert KEPT in measurement_folders()
