"""Reference runs: which record belongs to which row, and what the rows answer."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forged_runs import forge, record_values

from attnlib.compare import figures
from attnlib.compare.reference_runs import (
    RUN_CLAIMS,
    ReferenceParams,
    RunClaim,
    answer,
    answer_table,
    compare,
    describe,
    find_rows,
    gather_rows,
    missing_table,
    pair_runs,
    read_table,
    reference_table,
)
from attnlib.config import PROFILES, TrainConfig, row_parameters
from attnlib.records.answers import read_answers
from attnlib.records.find import load_run
from attnlib.stats.intervals import wilson_interval
from attnlib.thesis.statements import read_thesis
from attnlib.thesis.verdicts import estimate_words

ROOT = Path(__file__).parents[2]
ROWS = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())["reference"]
N = 2_000
LABELS = np.arange(N) % 10


@pytest.fixture
def write(tiny_run, tmp_path):
    """Write a reference run of ``row`` whose first ``right`` answers are right."""

    def write_run(row, right, profile="cpu-reference", seed=0, teacher=None, **changes):
        params = row_parameters(ROWS[row], profile)
        if start := params.get("initial_checkpoint"):
            params["initial_checkpoint"] = f"{start.partition('.')[2]}-npz-{profile}-s0-01234567"
        if ROWS[row].get("teacher"):
            params["teacher"] = ROWS[row]["teacher"].removesuffix("_p")
        given = {**params, "seed": seed, "data_path": "x.npz", **changes}
        config = TrainConfig.from_params(**given)
        folder = tmp_path / config.name
        folder.mkdir()
        values = {**tiny_run.config, **vars(config)}
        (folder / "config.json").write_text(json.dumps(values))
        (folder / "history.jsonl").write_text(json.dumps(tiny_run.history[0]) + "\n")
        record = record_values(tiny_run.path)
        record |= {"name": config.name, "title": config.title, "teacher": teacher}
        record["seeds"]["run"] = seed
        record["metrics"]["best_epoch"] = 1
        share = wilson_interval(right, N)
        record["metrics"]["test_accuracy"] = {**share._asdict(), "method": "Wilson, 95%"}
        forge(folder, record)
        answers = np.where(np.arange(N) < right, LABELS, (LABELS + 1) % 10)
        logits = np.eye(10, dtype=np.float16)[answers]
        np.savez_compressed(folder / "predictions.npz", logits=logits, labels=LABELS)
        return load_run(folder)

    return write_run


def test_each_record_goes_to_the_row_of_its_configuration(write):
    resnet = write("resnet18", 900)
    efficient = write("efficientnet_lite0_p", 950)
    pretrained = write("resnet18_p", 920)
    runs = [
        resnet,
        efficient,
        write("deit_t", 600),
        write("deit_t_hard", 700, teacher=resnet.name),
        write("deit_t_soft", 650, teacher=resnet.name),
        write("deit_t_soft_code", 660, teacher=resnet.name),
        write("deit_t_soft_paper", 670, teacher=resnet.name),
        pretrained,
        write("deit_t_p", 800),
        write("deit_t_dp", 810, teacher=pretrained.name),
        write("atresnet18_p", 890),
        write("atresnet18_spatial_p", 880),
    ]
    rows = find_rows(ROWS, runs)
    assert [len(row.runs) for row in rows.values()] == [1] * len(ROWS)
    assert rows["deit_t_dp"].runs[0].record.teacher == pretrained.name
    assert rows["deit_t_hard"].runs[0].record.teacher == resnet.name
    assert rows["atresnet18_spatial_p"].runs[0].config["tokens"] == "spatial"
    assert len({row.title for row in rows.values()}) == len(ROWS)


def test_trials_and_parts_of_the_data_are_no_reference_runs(write):
    part, short = write("resnet18", 900, limit=100), write("resnet18", 900, epochs=2)
    assert not find_rows(ROWS, [part], [part, short])["resnet18"].runs


def test_runs_of_another_length_than_their_row_are_left_out(write):
    short, whole = write("resnet18", 800, epochs=2), write("resnet18", 900)
    assert find_rows(ROWS, [short])["resnet18"].runs == ()
    assert find_rows(ROWS, [short, whole])["resnet18"].runs == (whole,)
    assert find_rows(ROWS, [short], [whole])["resnet18"].runs == (whole,)


def test_runs_on_other_data_are_in_no_row(write):
    """A network is pretrained by the same recipe as a row's, on another data set."""
    run = write("resnet18", 900)
    other = write("resnet18", 500, data_path="other.npz")
    data = replace(other.record.dataset, sha256="0" * 64)
    other = replace(other, record=replace(other.record, dataset=data))
    more = write("resnet18", 920, seed=1)
    assert find_rows(ROWS, [run, more, other])["resnet18"].runs == (run, more)
    assert find_rows(ROWS, [run], [other])["resnet18"].runs == (run,)
    assert find_rows(ROWS, [], [other, run, more])["resnet18"].runs == (run, more)


def test_one_seed_counts_once_and_the_kept_run_goes_before_ones_own(write):
    first = write("resnet18", 900)
    own = write("resnet18", 100, data_path="other.npz")
    more = write("resnet18", 920, seed=1)
    assert first.name != own.name
    assert find_rows(ROWS, [first], [own, more])["resnet18"].runs == (first, more)
    with pytest.raises(ValueError, match="resnet18: two runs of one seed"):
        find_rows(ROWS, [first, own])


def test_runs_of_the_two_profiles_are_never_mixed(write):
    small = [write("resnet18", 900), write("deit_t", 600)]
    large = write("resnet18", 1900, profile="reference")
    rows = find_rows(ROWS, [*small, large])
    assert rows["resnet18"].runs == (large,) and rows["deit_t"].runs == ()


def test_several_seeds_give_a_mean_over_seeds(write):
    runs = [write("resnet18", right, seed=seed) for seed, right in enumerate((900, 920, 940))]
    share = find_rows(ROWS, runs)["resnet18"].accuracy
    assert share.value == pytest.approx(0.46) and share.n == 3
    assert share.low < 0.45 < 0.47 < share.high


def test_claims_are_answered_by_the_sign_of_a_paired_difference(write):
    resnet = write("resnet18", 900)
    runs = [resnet, write("deit_t", 600), write("deit_t_hard", 700, teacher=resnet.name)]
    pretrained = write("resnet18_p", 900)
    runs += [pretrained, write("atresnet18_p", 1100), write("atresnet18_spatial_p", 899)]
    told = {a.claim.text: a for a in answer(find_rows(ROWS, runs))}
    verdicts = {a.claim.rows: a.verdict for a in told.values()}
    assert len(verdicts) == len(RUN_CLAIMS)
    assert {rows: verdict for rows, verdict in verdicts.items() if verdict != "not run"} == {
        ("deit_t_hard", "deit_t"): "holds",
        ("deit_t_hard", "resnet18"): "the opposite holds",
        ("atresnet18_p", "resnet18_p"): "the opposite holds",
        ("atresnet18_spatial_p", "resnet18_p"): "not decided",
        ("resnet18_p", "resnet18"): "not decided",
    }
    helps = told["hard distillation helps DeiT-T"]
    assert helps.difference.value == pytest.approx(0.05)
    assert helps.difference.low > 0.04 and helps.p_holm < 1e-20


def test_a_difference_that_the_corrected_test_leaves_open_is_not_decided(write):
    runs = [write("resnet18", 900), write("deit_t", 906)]
    claim = RunClaim("a", "deit_t", "resnet18", +1)
    one, many = [claim], [RunClaim(str(i), "deit_t", "resnet18", +1) for i in range(20)]
    rows = find_rows(ROWS, runs)
    assert answer(rows, one)[0].verdict == "holds"  # 6 of 6 to one side: p = 0.03
    assert {a.verdict for a in answer(rows, many)} == {"not decided"}


def test_a_difference_over_several_seeds_must_stand_against_the_chance_of_both(write):
    claim = RunClaim("a", "deit_t", "resnet18", +1)

    def verdict(*rights):
        runs = [write("resnet18", 900, seed=seed) for seed in range(3)]
        runs += [write("deit_t", right, seed=seed) for seed, right in enumerate(rights)]
        told = answer(find_rows(ROWS, runs), [claim])[0]
        for run in runs:
            shutil.rmtree(run.path)
        return told

    sure = verdict(960, 955, 950)
    assert sure.verdict == "holds" and sure.difference.seeds == 3
    assert sure.difference.value == pytest.approx(55 / N)
    assert verdict(990, 930, 900).verdict == "not decided"  # the seeds don't agree
    few = verdict(903, 903, 903)  # all seeds agree, on three images
    assert few.difference.value > 0 and few.verdict == "not decided"


def test_the_interaction_asks_whether_one_gain_exceeds_the_other(write):
    """Two gains, one certain and one not, say nothing about which is the larger."""
    claim = next(claim for claim in RUN_CLAIMS if claim.control)
    assert claim.rows == ("deit_t_p", "deit_t", "resnet18_p", "resnet18")

    def ask(transformer, convolutional):
        runs = []
        for seed in range(3):
            runs += [write("deit_t", 600 + seed, seed=seed), write("resnet18", 900, seed=seed)]
            runs.append(write("deit_t_p", 600 + transformer + 3 * seed, seed=seed))
            runs.append(write("resnet18_p", 900 + convolutional, seed=seed))
        told = answer(find_rows(ROWS, runs), [claim])[0]
        for run in runs:
            shutil.rmtree(run.path)
        return told

    more, same, less = ask(200, 50), ask(200, 198), ask(50, 200)
    assert more.difference.value == pytest.approx((200 + 2 - 50) / N)
    assert [told.verdict for told in (more, same, less)] == [
        "holds", "not decided", "the opposite holds",
    ]  # fmt: skip


def test_rows_trained_for_different_numbers_of_epochs_are_not_compared(write):
    """A longer training would pass for what the claim is about."""
    claim = next(claim for claim in RUN_CLAIMS if claim.rows == ("deit_t_p", "deit_t"))
    long, short = write("deit_t_p", 900), write("deit_t", 600, epochs=2)
    assert answer(find_rows(ROWS, [long, short]), [claim])[0].verdict == "not run"
    rows = find_rows(ROWS, [long, write("deit_t", 600, seed=1)])
    assert answer(rows, [claim])[0].verdict == "holds"


def test_rows_without_a_common_seed_are_compared_by_their_first_runs(write):
    runs = [write("resnet18", 900, seed=seed) for seed in (1, 2)] + [write("deit_t", 800)]
    rows = find_rows(ROWS, runs)
    assert compare(rows["resnet18"], rows["deit_t"]).seeds == 1
    assert pair_runs(rows["resnet18"], rows["deit_t"]) == [(runs[0], runs[2])]


def test_every_claim_is_about_rows_of_the_table_and_none_is_asked_twice():
    assert {name for claim in RUN_CLAIMS for name in claim.rows} <= set(ROWS)
    assert len({claim.rows for claim in RUN_CLAIMS}) == len(RUN_CLAIMS)
    assert len({claim.text for claim in RUN_CLAIMS}) == len(RUN_CLAIMS)


def test_tables_show_what_is_there_and_say_what_is_not(write):
    rows = find_rows(ROWS, [write("resnet18", 900)])
    shown = reference_table(rows)["test accuracy [95%]"]
    assert shown["ResNet-18"].startswith("45.00% [42.8") and shown["DeiT-T"] == "not run"
    assert set(answer_table(answer(rows))["verdict"]) == {"not run"}
    told = describe(rows)
    length = f"{PROFILES['cpu-reference']['epochs']} epochs"
    assert "cpu-reference" in told and length in told and "1 run, 0.0 hours in all" in told


def test_figures_draw_any_number_of_rows(write):
    none = find_rows(ROWS, [])
    assert "make reference" in describe(none)
    figures.accuracies(none), figures.differences(answer(none))
    rows = find_rows(ROWS, [write("resnet18", 900), write("resnet18_p", 800)])
    assert len(figures.accuracies(rows).axes[0].get_yticks()) == 2
    assert len(figures.differences(answer(rows)).axes[0].get_yticks()) == 1


def test_what_is_not_run_has_its_command_and_its_time():
    table = missing_table(read_thesis(), [])
    assert list(table.index) == ["DeiT-T_p", "DeiT-T_dp", "ResNet-18_p", "ResNet-18",
                                 "AtResNet-18_p"]  # fmt: skip
    assert all("-p profile thesis" in command for command in table["command"])
    assert all("on a T4" in time and "on an H100" in time for time in table["estimated time"])
    shortest = [int(estimate_words("deit_t", t).split()[0]) for t in (None, "resnet18")]
    assert estimate_words("vit_l_16", None, 384).endswith("h on an H100")  # a hundred epochs
    assert shortest[1] / shortest[0] == pytest.approx((3 * 1.26 + 1.81) / (3 * 1.26), abs=0.03)


def test_the_table_is_found_from_anywhere_and_its_absence_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_table() == ROWS
    with pytest.raises(ValueError, match=r"table: no file other\.toml"):
        gather_rows(ReferenceParams(table="other.toml"))


def test_profiles_of_reference_runs_start_from_scratch_on_a_file():
    for name in ("reference", "cpu-reference"):
        assert PROFILES[name]["dataset"] == "npz" and not PROFILES[name]["pretrained"]
    config = TrainConfig.from_params(profile="cpu-reference", data_path="x.npz")
    assert (config.patch_size, config.img_size, config.limit) == (8, 32, None)
    config = TrainConfig.from_params(profile="reference", data_path="x.npz")
    assert (config.img_size, config.batch_size, config.epochs) == (224, 128, 100)


def test_conclusion_says_what_the_kept_runs_answer():
    """New records may answer otherwise; then its words have to change."""
    rows = find_rows(ROWS, [load_run(path.parent) for path in KEPT])
    told = {(a.claim.first, a.claim.second): a.verdict for a in answer(rows)}
    words = " ".join((ROOT / "book" / "conclusion.md").read_text(encoding="utf-8").split())
    assert "Tiny-ImageNet help both networks, and the transformer far more" in words
    pretraining = [a for a in answer(rows) if a.claim.text.startswith("pretraining helps")]
    assert [one.verdict for one in pretraining] == ["holds"] * 3
    assert [one.difference.seeds for one in pretraining] == [3] * 3
    assert all(len(row.runs) == 3 for row in rows.values())
    assert "hard distillation adds on average about as many points as in the thesis" in words
    assert "three seeds don't settle whether it helps at all" in words
    gain = next(
        a for a in answer(rows) if (a.claim.first, a.claim.second) == ("deit_t_dp", "deit_t_p")
    )
    assert gain.verdict == "not decided" and abs(gain.difference.value - 0.0078) < 0.003
    assert "AtResNet-18 with channels as tokens ends below the ResNet-18" in words
    assert told["atresnet18_p", "resnet18_p"] == "holds"
    assert "Does it help when weighted as in the code?" in words
    assert told["deit_t_soft_code", "deit_t"] == "the opposite holds"
    assert "and can't be told from those taught hard" in words
    assert told["deit_t_hard", "deit_t_soft_code"] == "not decided"
    deit = " ".join((ROOT / "book" / "deit.md").read_text(encoding="utf-8").split())
    assert "there soft is no longer ahead of hard, but behind it, if not by enough" in deit
    behind = next(a for a in answer(rows) if a.claim.second == "deit_t_soft_code")
    assert behind.claim.first == "deit_t_hard" and behind.difference.value > 0
    assert "they can be told from neither" in words
    for pair in (("deit_t_soft_paper", "deit_t"), ("deit_t_hard", "deit_t_soft_paper")):
        assert told[pair] == "not decided"
    assert "with positions as tokens it can't be told from it" in words
    assert told["atresnet18_spatial_p", "resnet18_p"] == "not decided"
    assert "neither hard distillation nor soft, with the weight it has here, can be told" in words
    assert told["deit_t_soft", "deit_t"] == told["deit_t_hard", "deit_t"] == "not decided"
    assert "no student comes near its teacher" in words
    assert told["deit_t_hard", "resnet18"] == "the opposite holds"
    none, hard, soft = (
        np.array([read_answers(run).correct.mean() for run in rows[name].runs])
        for name in ("deit_t", "deit_t_hard", "deit_t_soft")
    )
    assert "taught softly each ended above the network without a teacher" in words
    assert "of those taught hard one ended above it and two below" in words
    assert "Here soft is ahead in all three seeds, if not by enough to be sure" in words
    assert (len(none), sum(soft > none), sum(hard > none), sum(soft > hard)) == (3, 3, 1, 3)
    assert told["deit_t_hard", "deit_t_soft"] == "not decided"


KEPT = sorted((ROOT / "results").glob("*/record.json"))
FILES = {"config.json", "history.jsonl", "record.json", "predictions.npz", "attention.npz",
         "features.npz"}  # fmt: skip


def test_kept_records_are_small_and_hold_no_pixels_and_only_two_hold_weights():
    assert sum(p.stat().st_size for p in (ROOT / "results").rglob("*") if p.is_file()) < 40e6
    weighted = [record for record in KEPT if load_run(record.parent).record.kept_weights]
    assert len(weighted) == 2  # the showcase networks
    for record in KEPT:
        expected = FILES | ({"model.safetensors"} if record in weighted else set())
        assert {path.name for path in record.parent.iterdir()} <= expected, record.parent
        for arrays in (load_run(record.parent).arrays(p.stem) for p in record.parent.glob("*.npz")):
            for name, array in arrays.items():
                assert array.shape[-1:] != (3,) and array.ndim < 6, (record.parent.name, name)


@pytest.mark.parametrize("record", KEPT, ids=lambda path: path.parent.name)
def test_kept_record_is_whole_and_made_from_committed_code(record):
    run = load_run(record.parent)  # checks the schema
    assert run.name == record.parent.name and run.record.git.dirty is False
    assert len(run.history) == run.config["epochs"]
    if run.record.dataset.title == "CIFAR-10 (JPEG copy)":
        arrays = run.arrays("predictions")
        right = (arrays["logits"].argmax(axis=1) == arrays["labels"]).mean()
        assert right == run.record.metrics.test_accuracy.value
    else:
        assert run.record.dataset.title == "Tiny-ImageNet (32 px copy)"  # 3 MB of answers, left out
    assert not {"/tmp", "/home", "/root"} & {word[:5] for word in run.record.command.split()}
    given = {k: v for k, v in run.config.items() if k in TrainConfig.__dataclass_fields__}
    assert TrainConfig(**given).name == run.name  # the name is a function of the configuration


def test_a_kept_student_learned_from_the_kept_run_with_its_seed():
    """Of the pretrained student the weights matter; its teacher's are too large to keep."""
    runs = {path.parent.name: load_run(path.parent) for path in KEPT}
    students = [run for run in runs.values() if run.record.teacher]
    starts = {run.config.get("initial_checkpoint") for run in runs.values()}
    students = [run for run in students if run.name not in starts]
    assert students
    for run in students:
        assert runs[run.record.teacher].record.seeds.run == run.record.seeds.run
