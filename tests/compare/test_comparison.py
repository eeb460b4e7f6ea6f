"""Comparison: runs that answered the same questions, and a reason for each that did not."""

import json
import shutil

import numpy as np
import pytest
from forged_runs import forge, record_values

import attnlib as al
from attnlib.compare.comparison import ErrorsConfig, compare_runs, load_images
from attnlib.records import answers
from attnlib.records.find import find_folders, find_runs, list_runs, load_run
from attnlib.records.run import Run

DATA = al.load_dataset("digits")


@pytest.fixture
def write(tiny_run, tmp_path):
    """Write a finished run like ``tiny_run`` with changed record, configuration and answers."""

    def write_run(name, *, decisions=None, config=None, dataset=None, **record):
        folder = tmp_path / "runs" / name
        shutil.copytree(tiny_run.path, folder, ignore=shutil.ignore_patterns("state", "model*"))
        known = record_values(folder)
        known |= {"name": name, "title": name, **record}
        known["dataset"] |= dataset or {}
        known["metrics"]["per_class"] = [{"class": one} for one in known["dataset"]["classes"]]
        forge(folder, known)
        settings = json.loads((folder / "config.json").read_text()) | (config or {})
        (folder / "config.json").write_text(json.dumps(settings))
        if decisions is not None:
            logits = np.eye(10, dtype=np.float16)[decisions]
            labels = DATA.test.labels
            np.savez_compressed(folder / "predictions.npz", logits=logits, labels=labels)
        return folder

    return write_run


def folders(*paths):
    return {path.name: path for path in paths}


def test_runs_that_answered_the_same_stand_side_by_side(write):
    right = DATA.test.labels
    wrong = np.where(np.arange(len(right)) < 100, (right + 1) % 10, right)
    both = compare_runs(folders(write("a", decisions=right), write("b", decisions=wrong)))
    assert both.names == ("a", "b") and both.left_out == {}
    assert both.class_names == DATA.class_names
    assert both.correct("a").all() and both.correct("b").sum() == 259
    assert both.accuracy("b").value == 259 / 359 and both.accuracy("b").n == 359
    assert "2 runs on the 359 test images of scikit-learn digits, 10 classes" in str(both)


def test_runs_that_did_not_are_named_with_the_reason_and_left_out(write):
    names = [str(digit) for digit in range(10)]
    paths = [write(name) for name in ("a", "b")]
    paths += [
        write("order", dataset={"classes": names[::-1]}),
        write("classes", dataset={"classes": [*names[:9], "ten"]}),
        write("data", dataset={"sha256": "0" * 64, "title": "other digits"}),
        write("old", schema=0),
        write("silent"),
        write("torn"),
        write("labels"),
        write("shape"),
        write("keys"),
    ]
    where = folders(*paths)
    (where["silent"] / "predictions.npz").unlink()
    (where["torn"] / "record.json").write_text("{")
    arrays = dict(np.load(where["labels"] / "predictions.npz"))
    logits, labels = arrays["logits"], arrays["labels"]
    np.savez(where["labels"] / "predictions.npz", logits=logits, labels=labels[::-1])
    np.savez(where["shape"] / "predictions.npz", logits=logits[:, :9], labels=labels)
    np.savez(where["keys"] / "predictions.npz", labels=labels)
    compared = compare_runs(where)
    assert compared.names == ("a", "b")
    reasons = {
        "order": "its classes are in another order",
        "classes": "it has other classes",
        "data": "it is about other data: other digits, 000000000000...",
        "old": "schema: expected 1, got 0",
        "silent": "has no predictions.npz",
        "torn": "not JSON (Expecting property name",
        "labels": "its labels differ",
        "shape": "its logits have the shape (359, 9), not (359, 10)",
        "keys": "its predictions lack logits",
    }
    assert set(compared.left_out) == set(reasons)
    for name, reason in reasons.items():
        assert reason in compared.left_out[name]
        assert f"left out: {name}: " in str(compared)


def test_the_data_that_most_runs_share_is_what_is_compared(write):
    odd = write("a-odd", dataset={"sha256": "0" * 64})
    compared = compare_runs(folders(odd, write("b"), write("c")))
    assert compared.names == ("b", "c") and set(compared.left_out) == {"a-odd"}


def test_one_run_is_no_comparison_and_the_error_says_why_the_others_are_out(write):
    where = folders(write("a"), write("old", schema=0))
    with pytest.raises(ValueError, match=r"two or more to compare; got 1\. Left out: old: "):
        compare_runs(where)
    with pytest.raises(ValueError, match=r"got 0\. Left out: none"):
        compare_runs({})


def test_runs_of_one_title_are_told_apart_by_what_differs(write):
    same = {"title": "DeiT-T"}
    compared = compare_runs(
        folders(
            write("a", config={"seed": 0}, **same),
            write("b", config={"seed": 1}, **same),
            write("c", config={"seed": 0}, title="ResNet-18"),
        )
    )
    assert compared.names == ("DeiT-T, seed 0", "DeiT-T, seed 1", "ResNet-18")


def test_a_parameter_that_an_older_record_lacks_does_not_set_it_apart(write):
    same = {"title": "DeiT-T"}
    new, old = (write(name, config={"seed": k}, **same) for k, name in enumerate("ab"))
    settings = json.loads((old / "config.json").read_text())
    del settings["accumulate"], settings["compile"]
    (old / "config.json").write_text(json.dumps(settings))
    compared = compare_runs(folders(new, old))
    assert compared.names == ("DeiT-T, seed 0", "DeiT-T, seed 1")


def test_mean_over_seeds_takes_the_runs_that_differ_in_nothing_else(write):
    right = DATA.test.labels
    some = np.where(np.arange(len(right)) < 36, (right + 1) % 10, right)
    compared = compare_runs(
        folders(
            write("a", decisions=right, config={"seed": 0}, title="X"),
            write("b", decisions=some, config={"seed": 1}, title="X"),
            write("c", decisions=some, config={"lr": 0.5}),
        )
    )
    mean = compared.over_seeds("X, seed 0")
    assert mean.n == 2 and mean.value == pytest.approx((1 + 323 / 359) / 2)
    assert 0 <= mean.low < mean.value and mean.high == 1.0  # cut where accuracies end
    assert compared.over_seeds("c").n == 1


def test_students_whose_teachers_differ_by_seed_alone_are_seeds_of_one_recipe(write):
    teachers = {k: f"resnet18-npz-cpu-reference-s{k}-0123abc{k}" for k in range(2)}
    given = {name: {"seed": k, "teacher": teachers[k]} for k, name in enumerate("ab")}
    runs = [write(name, config=config, title="X") for name, config in given.items()]
    other = {"seed": 1, "teacher": "resnet18-pretrained-npz-cpu-reference-s1-0123abcd"}
    compared = compare_runs(folders(*runs, write("c", config=other, title="Y")))
    assert compared.names == ("X, seed 0", "X, seed 1", "Y")
    assert compared.seeds_of("X, seed 1") == ["X, seed 0", "X, seed 1"]
    assert compared.seeds_of("Y") == ["Y"]


def test_each_runs_settings_are_looked_at_as_often_however_many_runs_there_are(write, monkeypatch):
    """1,000 runs listed by seeds would otherwise be a million comparisons."""
    found = compare_runs(
        folders(*(write(f"r{n}", config={"seed": n}, title="X") for n in range(6)))
    )
    calls = []
    real = Run.settings.fget
    counted = property(lambda run: calls.append(run) or real(run))
    monkeypatch.setattr(Run, "settings", counted)
    for name in found.names:
        assert found.seeds_of(name) == list(found.names)
    assert len(calls) <= 2 * len(found.names)


def test_a_student_is_compared_with_its_teacher_if_both_are_here(write):
    where = folders(write("a"), write("student", teacher="teacher"), write("teacher"))
    assert compare_runs(where).pair == ("student", "teacher")
    del where["teacher"]
    assert compare_runs(where).pair == ("a", "student")


def test_runs_are_found_in_order_and_unknown_ones_suggest_the_nearest(write, tmp_path, monkeypatch):
    write("one"), write("two")
    monkeypatch.chdir(tmp_path)
    assert list(find_runs()) == ["one", "two"]
    assert list(find_runs(["two", "one"])) == ["two", "one"]
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert list(find_runs()) == ["one", "two"]
    with pytest.raises(ValueError, match=r"no finished run 'tow'\. Did you mean 'two'\? Fin"):
        find_runs(["tow"])


def test_runs_that_happen_to_lie_beside_the_project_are_not_taken(write, tmp_path, monkeypatch):
    write("one")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert find_runs() == {} and list_runs(*find_folders("results", "runs")) == []
    with pytest.raises(ValueError, match="no finished run 'one'"):
        load_run("one")


def test_images_come_from_the_data_set_by_their_place(write):
    compared = compare_runs(folders(write("a"), write("b")))
    split, note = load_images(compared)
    assert "Images from scikit-learn digits" in note
    np.testing.assert_array_equal(split.labels, compared.labels)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"name": "cifar10", "title": "CIFAR-10"}, "images of CIFAR-10 are not shown: cifar-10-py"),
        ({"name": "npz", "title": "shells"}, "of shells are not shown: None is not in the f"),
        ({"sha256": "0" * 64}, "is other data"),
    ],
)
def test_where_the_images_are_not_at_hand_that_is_said(write, tmp_path, monkeypatch, dataset, told):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    compared = compare_runs(folders(write("a", dataset=dataset), write("b", dataset=dataset)))
    split, note = load_images(compared)
    assert split is None and told in note


def test_kept_runs_come_before_more_runs_on_other_data(write, tmp_path):
    here = [write(name, dataset={"sha256": "0" * 64}) for name in ("a", "b", "c")]
    (tmp_path / "results").mkdir()
    kept = [write(name).rename(tmp_path / "results" / name) for name in ("k", "l")]
    assert compare_runs(folders(*here, *kept)).names == ("k", "l")
    assert compare_runs(folders(*here)).names == ("a", "b", "c")
    assert compare_runs(folders(*here, kept[0])).names == ("a", "b", "c")  # one is no comparison


def test_the_thesis_pair_is_a_student_taught_hard_by_a_resnet(write):
    resnet = write("resnet", config={"model": "resnet18"})
    other = write("other", config={"model": "efficientnet_lite0"})
    students = [
        write("a", config={"distillation": "hard"}, teacher="other"),
        write("b", config={"distillation": "soft"}, teacher="resnet"),
        write("c", config={"distillation": "hard"}, teacher="resnet"),
    ]
    assert compare_runs(folders(*students, resnet, other)).pair == ("c", "resnet")


def test_the_pair_whose_weights_are_kept_comes_before_the_thesis_pair(write):
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 359, "method": "Wilson, 95%"}
    kept = {"dtype": "float16", "bytes": 1, "rounded_from": "0" * 64}
    kept |= {"test_accuracy": accuracy, "val_accuracy": accuracy}
    resnet = write("resnet", config={"model": "resnet18"})
    student = write("a", config={"distillation": "hard"}, teacher="resnet")
    shown = write("z", config={"distillation": "hard"}, teacher="other", kept_weights=kept)
    other = write("other", config={"model": "efficientnet_lite0"}, kept_weights=kept)
    assert compare_runs(folders(student, resnet, shown, other)).pair == ("z", "other")


def test_images_of_a_file_are_found_in_the_cache(write, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    parts = {"train": DATA.train, "test": DATA.test}
    arrays = {f"{k}_images": part.images for k, part in parts.items()}
    arrays |= {f"{k}_labels": part.labels for k, part in parts.items()}
    np.savez(tmp_path / "cache" / "mine.npz", **arrays)
    own = al.load_dataset("npz", tmp_path / "cache" / "mine.npz")
    about = {"name": "npz", "title": "mine", "sha256": own.sha256}
    runs = [write(n, dataset=about, config={"data_path": "mine.npz"}) for n in ("a", "b")]
    split, _ = load_images(compare_runs(folders(*runs)))
    np.testing.assert_array_equal(split.images, own.test.images)


def test_a_copy_of_cifar10_is_shown_from_the_official_archive(write, tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / answers.CIFAR10_ARCHIVE).touch()
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    monkeypatch.setattr(answers, "load_dataset", lambda name: {"cifar10": DATA}[name])
    copy = {"name": "npz", "title": "a copy", "classes": list(answers.CIFAR10_CLASSES)}
    runs = [write(name, dataset=copy, config={"data_path": "copy.npz"}) for name in ("a", "b")]
    split, note = load_images(compare_runs(folders(*runs)))
    assert split is DATA.test and "own archive" in note
    other = write("c", dataset=copy, config={"data_path": "copy.npz"})
    logits = np.load(other / "predictions.npz")["logits"]
    np.savez(other / "predictions.npz", logits=logits, labels=DATA.test.labels[::-1])
    assert answers.find_images(load_run(other))[0] is None  # in another order


def test_nothing_is_downloaded_to_show_an_image(write, tmp_path, monkeypatch):
    def download(*args, **kwargs):
        pytest.fail("asked for the data set, which would be fetched")

    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(answers, "load_dataset", download)
    dataset = {"name": "cifar10", "title": "CIFAR-10"}
    compared = compare_runs(folders(write("a", dataset=dataset), write("b", dataset=dataset)))
    assert load_images(compared)[0] is None


def test_wrong_parameters_are_named():
    with pytest.raises(ValueError, match=r"run: no such parameter\. Did you mean 'runs'\?"):
        ErrorsConfig.from_params(run="a")
    assert ErrorsConfig.from_params(runs="a, b").names == ["a", "b"]
    assert ErrorsConfig.from_params().names == [] and ErrorsConfig().images == 8
