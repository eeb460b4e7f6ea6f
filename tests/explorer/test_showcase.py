"""What the notebooks look at: parameters, runs found or trained, images by any name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forged_runs import forge, record_values
from PIL import Image

import attnlib as al
from attnlib.data.downloads import DownloadError
from attnlib.explain.attribution import trace
from attnlib.explain.feature_maps import real_features
from attnlib.explorer import showcase
from attnlib.explorer.showcase import (
    AttentionView,
    FeaturesView,
    Subject,
    find_newest,
    find_or_train,
    find_plain,
    find_recorded,
    open_beside,
    open_model,
    open_run,
    open_subject,
    recorded_images,
    usual_side,
)
from attnlib.records import answers


@pytest.fixture(scope="module")
def seen(tiny_run: al.Run) -> Subject:
    return open_run(tiny_run, None, str)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"imag": "china"}, "imag: no such parameter. Did you mean 'image'?"),
        ({"kind": "men"}, "kind: unknown value 'men'. Did you mean 'mean'? Valid: mean, head"),
        ({"layer": 0}, "layer: expected a whole number >= 1; got 0"),
        ({"model": "deit"}, "model: unknown value 'deit'. Did you mean 'deit_t'?"),
        ({"sample": 1}, "sample: expected a whole number >= 2; got 1"),
        ({"run": "a", "model": "deit_t"}, "run, model: expected one of them; got a and deit_t"),
    ],
)
def test_wrong_parameters_are_told_the_valid_ones(given: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        AttentionView.from_params(**given)


def test_wrong_parameters_of_features_are_told_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"no such parameter\. Did you mean 'threshold'\?"):
        FeaturesView.from_params(treshold="1")


def test_parameters_come_as_papermill_gives_them() -> None:
    view = AttentionView.from_params(image=12, layer="3", run=None, model="timm/vit_tiny")
    assert (view.image, view.layer, view.run, view.model) == ("12", 3, None, "timm/vit_tiny")
    assert FeaturesView.from_params(threshold="0.2").threshold == 0.2


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("offline")
def test_default_images_are_photographs_and_test_images_as_far_as_there_are_any(
    seen: Subject,
) -> None:
    images, names = seen.images()
    assert images.shape == (3, 3, 32, 32) and 0 <= images.min() and images.max() <= 1
    assert names == ["cat", "test image 0", "test image 1"], "the dog can't be fetched"
    photographs, names = replace(seen, test=None).images()
    assert names == ["cat"] and torch.equal(photographs, images[:1])
    _, names = replace(seen, run=None).images()
    assert names == ["cat", "coffee", "rocket"], "of a network that knows a thousand classes"


def test_of_some_test_images_each_is_at_its_own_place(seen: Subject) -> None:
    assert seen.test is not None
    some = replace(seen, test=seen.test.subset([0, 1, 2, 100, 7]))
    assert torch.equal(some.images("100")[0], seen.images("100")[0])
    with pytest.raises(ValueError, match="one of 5 here, from 0 to 100; got 50"):
        some.images("50")


def test_a_sample_of_some_test_images_ends_at_the_first_gap(seen: Subject) -> None:
    """What stands behind the gap was chosen, for its errors perhaps."""
    assert seen.test is not None
    right = np.flatnonzero(al.predict(seen.model, seen.test, img_size=32).correct)
    last = int(right[3])
    places = [*range(last + 1), *right[5:].tolist()]
    images, labels = replace(seen, test=seen.test.subset(places)).sample(16)
    assert len(images) == 4
    assert labels.tolist() == seen.test.labels[right[:4]].tolist()


def test_an_image_comes_by_number_path_or_name(seen: Subject, tmp_path: Path) -> None:
    assert seen.test is not None
    images, names = seen.images("7")
    Image.fromarray(seen.test.images[7]).save(tmp_path / "seven.png")
    same, (name,) = seen.images(str(tmp_path / "seven.png"))
    assert torch.equal(images, same) and (names, name) == (["test image 7"], "seven")
    with pytest.raises(ValueError, match="a test image, from 0 to 358; got 359"):
        seen.images("359")
    with pytest.raises(ValueError, match="no test images here; got number 3"):
        replace(seen, test=None).images("3")


def test_sample_holds_the_first_images_that_the_model_gets_right(
    seen: Subject, tiny_run: al.Run
) -> None:
    right = np.flatnonzero(al.predict(seen.model, seen.test, img_size=32).correct)  # type: ignore[arg-type]
    images, labels = seen.sample(5)
    assert len(right) > 5, "the tiny run is too poor for this test"
    expected = torch.cat([seen.images(str(number))[0] for number in right[:5]])
    assert torch.equal(images, expected)
    assert labels.tolist() == seen.test.labels[right[:5]].tolist()  # type: ignore[union-attr]
    assert len(seen.sample(359)[0]) == len(right), "fewer where there are no more"
    wrong = seen.test.subset(np.setdiff1d(np.arange(359), right))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="gets 0 of "):
        replace(seen, test=replace(wrong, indices=np.arange(len(wrong)))).sample(16)


def test_decisions_are_classes_with_their_probability(seen: Subject) -> None:
    images, _ = seen.images("0")
    share, label = seen.model(images).softmax(dim=1)[0].max(dim=0)
    assert seen.decisions(images) == [f"{seen.class_names[int(label)]}, {share:.0%}"]


def test_newest_run_that_fits_is_found(
    tiny_run: al.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_run.path.parent
    found = find_newest(folder, model="deit_t", distillation="none")
    assert found is not None and found.name == tiny_run.name
    assert find_newest(folder, model="deit_t", distillation="hard") is None
    notes: list[str] = []
    assert find_or_train(folder, notes.append, model="deit_t").name == tiny_run.name
    assert notes == [f"run {tiny_run.name}, finished {tiny_run.record.finished}"]


def test_a_run_without_weights_counts_only_where_none_are_needed(
    tiny_run: al.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / tiny_run.name
    kept.mkdir()
    for name in ("config.json", "history.jsonl", "record.json", "attention.npz"):
        (kept / name).write_bytes((tiny_run.path / name).read_bytes())
    assert find_newest(tmp_path, model="deit_t") is None
    found = find_newest(tmp_path, weights=False, model="deit_t")
    assert found is not None
    with pytest.raises(ValueError, match="has no weights"):
        open_run(found, None, str)
    images, names = recorded_images(found, None, str)
    assert images.shape == (4, 3, 32, 32) and names[3] == "test image 3"


def test_where_none_fits_a_small_one_is_trained_apart_and_then_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showcase, "SMALL_RUN", {"profile": "quick", "limit": 60, "epochs": 1})
    notes: list[str] = []
    run = find_or_train(tmp_path, notes.append, model="resnet18")
    assert run.path.parent == tmp_path / "small"
    assert al.list_runs(tmp_path) == [], "the book's pages must not show it"
    assert "no finished run like that: trained ResNet-18" in notes[0]
    assert find_or_train(tmp_path, notes.append, model="resnet18").name == run.name


def test_data_that_is_not_here_is_said_and_its_images_are_left_black(
    tiny_run: al.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, data_path: str | None) -> None:
        raise ValueError("digits went out")

    monkeypatch.setattr(answers, "load_dataset", missing)
    notes: list[str] = []
    found = open_run(tiny_run, None, notes.append)
    assert found.test is None
    assert notes == ["The images of scikit-learn digits are not shown: digits went out"]
    images, names = recorded_images(tiny_run, None, str, count=2)
    assert images.abs().sum() == 0 and names == ["test image 0", "test image 1"]
    with pytest.raises(ValueError, match="digits went out"):
        open_run(tiny_run, "some/where", str)


def test_other_data_than_the_runs_is_refused(
    tiny_run: al.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(al.load_dataset("digits"), sha256="0" * 64)
    monkeypatch.setattr(answers, "load_dataset", lambda *a: other)
    with pytest.raises(ValueError, match="what is in here is other data"):
        open_run(tiny_run, "here", str)


def test_a_model_of_the_zoo_says_whether_its_weights_are_random() -> None:
    lite = open_model("efficientnet_lite0")
    assert lite.title == "EfficientNet-Lite0, ImageNet weights" and lite.pretrained
    images, _ = lite.images("china")
    assert lite.decisions(images)[0].startswith("palace")
    random = open_model("resnet18", pretrained=False)
    assert random.title == "ResNet-18, random weights" and not random.pretrained


def test_weights_that_are_not_to_be_had_are_random_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    view = FeaturesView.from_params(model="resnet18")
    assert open_subject(view, str).title == "ResNet-18, random weights"
    with pytest.raises(DownloadError):
        open_model("resnet18", pretrained=True)


def test_the_run_that_is_asked_for_is_opened(tiny_run: al.Run) -> None:
    view = AttentionView.from_params(run=str(tiny_run.path))
    found = open_subject(view, str, model="resnet18")
    assert found.run is not None and found.run.name == tiny_run.name
    assert "DeiT-T on scikit-learn digits" in found.title


def test_resized_network_is_the_same_one_with_its_positions_resampled(seen: Subject) -> None:
    assert usual_side(seen) == 256
    large = seen.resized(64)
    assert large.model.grid_size == (4, 4) and seen.model.grid_size == (2, 2)
    states = large.model.state_dict(), seen.model.state_dict()
    for key, value in states[1].items():
        same = states[0][key].shape == value.shape and torch.equal(states[0][key], value)
        assert same == (key != "pos_embed")
    again = seen.resized(32)
    images, _ = seen.images()
    torch.testing.assert_close(again.model(images), seen.model(images))
    assert real_features(large.model, large.images("china")[0])["blocks.0"].shape[-2:] == (4, 4)


@pytest.mark.parametrize("name", ["deit_t", "timm/vit_tiny_patch16_224"])
def test_models_of_the_zoo_are_resized_too(name: str) -> None:
    seen = open_model(name, pretrained=False)
    large = seen.resized(64)
    assert large.model(large.images("china")[0]).shape == (1, 1000)
    before, after = seen.model.state_dict(), large.model.state_dict()
    assert [key for key in before if before[key].shape != after[key].shape] == ["pos_embed"]
    assert all(torch.equal(before[key], after[key]) for key in before if key != "pos_embed")
    assert seen.model(seen.images("china")[0]).shape == (1, 1000), "the first one stays as it was"


def test_photographs_with_their_labels_can_be_traced_back() -> None:
    images, labels = (small := open_model("deit_t", pretrained=False)).sample(16)
    assert len(images) >= 3
    assert trace(small.model, images, labels).gradients[0].abs().sum() > 0


def test_networks_side_by_side_are_seen_at_the_size_of_the_smallest(seen: Subject) -> None:
    large = replace(seen, img_size=224)
    assert (usual_side(large), usual_side(large, seen), usual_side(seen, large)) == (1024, 256, 256)
    channels = open_model("atresnet18", pretrained=False)  # takes its own size only
    assert usual_side(channels, large) == 224


@pytest.mark.parametrize(
    ("view", "model"), [(AttentionView, "resnet18"), (FeaturesView, "efficientnet_b7")]
)
def test_models_that_a_notebook_cannot_show_are_refused_by_name(view: type, model: str) -> None:
    with pytest.raises(ValueError, match=f"model: unknown value '{model}'.* Valid: deit_t, deit_s"):
        view.from_params(model=model)


def test_convolutions_take_any_size() -> None:
    lite = open_model("efficientnet_lite0", pretrained=False)
    assert usual_side(lite) == 1024
    assert lite.resized(96).images("china")[0].shape == (1, 3, 96, 96)
    assert lite.resized(96).model is lite.model


def test_beside_a_run_stands_one_of_the_same_data(
    seen: Subject, tiny_run: al.Run, tmp_path: Path
) -> None:
    newer = tmp_path / "other"
    newer.mkdir()
    for name in ("config.json", "history.jsonl", "model.safetensors"):
        (newer / name).write_bytes((tiny_run.path / name).read_bytes())
    values = record_values(tiny_run.path)
    values["dataset"]["sha256"] = "0" * 64
    forge(newer, values | {"name": newer.name, "finished": "2999-01-01T00:00:00+00:00"})
    older = tmp_path / tiny_run.name
    older.symlink_to(tiny_run.path)
    newest = find_newest(tmp_path, model="deit_t")
    assert newest is not None and newest.path == newer
    view = AttentionView.from_params(runs_dir=str(tmp_path))
    beside = open_subject(view, str, beside=seen, model="deit_t")
    assert beside.run is not None and beside.run.path == older


def keep(run: al.Run, folder: Path, teacher: str | None = None, **config: object) -> Path:
    """A copy of a run in ``folder`` under its own name; with ``config`` and a teacher if given."""
    name = run.name if teacher is None else "student"
    shutil.copytree(run.path, folder / name, ignore=shutil.ignore_patterns("state"))
    forge(folder / name, record_values(run.path) | {"name": name, "teacher": teacher})
    (folder / name / "config.json").write_text(json.dumps(run.config | config))
    return folder / name


def test_the_showcase_is_looked_into_and_its_teacher_stands_beside_it(
    tiny_run: al.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep(tiny_run, tmp_path / "results")
    student = keep(tiny_run, tmp_path / "results", tiny_run.name)
    keep(tiny_run, tmp_path / "runs")  # newer runs of one's own don't take its place
    view = AttentionView.from_params()
    seen = open_subject(view, str, model="deit_t", distillation="hard")
    assert seen.run is not None and seen.run.path.resolve() == student
    beside = open_beside(view, str, seen)
    assert beside.run is not None
    assert beside.run.path.resolve() == tmp_path / "results" / tiny_run.name
    asked = AttentionView.from_params(run=tiny_run.name)
    found = open_subject(asked, str, model="deit_t", distillation="hard")
    assert found.run is not None and found.run.path.parent.name == "runs"
    plain = find_plain(view, str, seen)
    assert plain is not None and plain.run is not None and plain.run.name == tiny_run.name


def test_a_record_without_weights_is_enough_where_nothing_is_computed(
    seen: Subject, tiny_run: al.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = keep(tiny_run, tmp_path / "results")
    (kept / "model.safetensors").unlink()
    values = record_values(tiny_run.path)
    values["dataset"]["sha256"] = "0" * 64
    newer = keep(tiny_run, tmp_path / "runs", tiny_run.name)
    forge(newer, values | {"name": newer.name, "finished": "2999-01-01T00:00:00+00:00"})
    view = AttentionView.from_params()
    found = find_recorded(view, str, seen, model="deit_t")
    assert found.path.resolve() == kept, "the one on the same data comes first"
    shutil.rmtree(kept)
    found = find_recorded(view, str, seen, model="deit_t")
    assert found.path.resolve() == newer, "one on other data is better than none"


@pytest.mark.usefixtures("offline")
def test_beside_a_model_of_the_zoo_stands_one_of_the_zoo() -> None:
    seen = open_model("deit_t", pretrained=False)
    beside = open_beside(AttentionView.from_params(), str, seen)
    assert beside.title == "ResNet-18, random weights"
    assert find_plain(AttentionView.from_params(), str, seen) is None
