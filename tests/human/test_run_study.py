"""The study as a whole, on a small world of its own: decisions, networks, record, figures."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from attnlib.data.downloads import DownloadError
from attnlib.human import figures, sources
from attnlib.human import run_study as study_module
from attnlib.human.bootstrap import MEASURES, Interval
from attnlib.human.claims import CLAIMS, PROTOCOLS, RESNET, RESNET_FT, VIT, Finding
from attnlib.human.decisions import CATEGORIES, make_decisions, read_decisions, write_decisions
from attnlib.human.network_observer import class_indices
from attnlib.human.records import read_study
from attnlib.human.run_study import NETWORK, StudyParams, ask, figure_systems, run_study
from attnlib.human.sources import CUE_CONFLICT_FOLDER
from attnlib.human.study import (
    CONFOUNDED,
    TWO_NETWORKS,
    claim_words,
    claims_table,
    protocol_table,
    published_table,
    systems_table,
)
from attnlib.stats.intervals import HOLDS

KEPT = Path(__file__).parents[2] / "results" / "measurements"
IMAGES = [
    f"{shape}{k}-{CATEGORIES[(place + k) % 16]}{k}.png"
    for place, shape in enumerate(CATEGORIES)
    for k in range(3)
]


class Painted(nn.Module):
    """Sees in the red channel's level which of the sixteen categories was painted."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.ones(1))
        self.img_size, self.seen = 8, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        logits = torch.zeros(len(images), 1000)
        for row, level in enumerate((images[:, 0].mean(dim=(1, 2)) * 16).long().clamp(max=15)):
            logits[row, class_indices(CATEGORIES[level])[0]] = 30.0
        return logits


def painted(image: str) -> bytes:
    place = CATEGORIES.index(image.split("-")[0].rstrip("0123456789"))
    content = io.BytesIO()
    pixels = np.full((8, 8, 3), 40, dtype=np.uint8)
    pixels[..., 0] = place * 16 + 8
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def answers(seed: int, right: float) -> list[str]:
    rng = np.random.default_rng(seed)
    shapes = np.array([image.split("-")[0].rstrip("0123456789") for image in IMAGES])
    return np.where(rng.random(48) < right, shapes, rng.choice(CATEGORIES, 48)).tolist()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three people, two networks and 48 images in a cache; one model; no kept decisions."""
    cache = tmp_path / "cache"
    files = {f"{CUE_CONFLICT_FOLDER}/x/{image}": painted(image) for image in IMAGES}
    names = ("subject-01", "subject-02", "subject-03", "resnet50", "ViT-B_32")
    for seed, (name, right) in enumerate(zip(names, (0.8, 0.7, 0.75, 0.2, 0.4), strict=True)):
        path = tmp_path / "made" / f"texture-shape_cue-conflict_{name}_session-1.csv"
        write_decisions(path, make_decisions(name, IMAGES, answers(seed, right)))
        files[f"{CUE_CONFLICT_FOLDER}/{path.name}"] = path.read_bytes()
    for path, content in files.items():
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_bytes(content)
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    monkeypatch.setattr(sources, "known_hashes", lambda: hashes)
    monkeypatch.setenv("ATTNLIB_DATA", str(cache))
    monkeypatch.setattr(study_module, "measurement_folders", lambda: [tmp_path / "kept"])
    model = Painted()
    monkeypatch.setattr(study_module, "create_model", lambda name, classes, pretrained: model)
    monkeypatch.chdir(tmp_path)
    return model


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache, and a network that refuses every connection."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "empty"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_study_adds_a_network_by_all_protocols_and_keeps_its_decisions(world, tmp_path):
    told = []
    study = run_study(StudyParams(resamples=20), told.append)
    names = [one.system for one in study.systems]
    assert names == [
        "people",
        "resnet50",
        "ViT-B_32",
        *(f"{NETWORK}-{p}" for p in PROTOCOLS),
    ]
    assert study.here and study.network == NETWORK and study.stimuli == "cue-conflict"
    (own,) = study.find(f"{NETWORK}-rgb-mean")
    assert own.measures["accuracy"].value == 1 and own.protocol == "RGB, mean"
    (swapped,) = study.find(f"{NETWORK}-bgr-mean")
    assert swapped.measures["accuracy"].value == 1 / 16 and swapped.protocol == "BGR, mean"
    kept = sorted(path.name for path in (tmp_path / "runs/human/cue-conflict").iterdir())
    assert kept == sorted(f"{NETWORK}-{protocol}.csv" for protocol in PROTOCOLS)
    assert "3 people and of 2 networks" in study.told and "6 sets" in study.told
    assert world.seen == 4 * 48 and len(told) == 4  # six protocols in four passes


def test_written_decisions_are_read_and_not_made_again_unless_asked(world):
    params = StudyParams(resamples=10)
    first = run_study(params)
    world.seen = 0
    again = run_study(params)
    assert world.seen == 0
    assert str(systems_table(again)) == str(systems_table(first))
    run_study(replace(params, reuse=False))
    assert world.seen == 4 * 48


def test_decisions_that_come_with_the_project_are_used(world, tmp_path):
    blind = make_decisions(f"{NETWORK}-rgb-mean", IMAGES, ["knife"] * 48)
    write_decisions(tmp_path / "kept" / "human" / f"{blind.system}.csv", blind)
    (found,) = ask(NETWORK, ["rgb-mean"])
    assert found.responses.tolist() == ["knife"] * 48 and world.seen == 0


def test_decisions_on_the_published_images_do_not_stand_for_those_on_others(world, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cat77-dog1.png").write_bytes(painted("cat77-dog1.png"))
    blind = make_decisions(f"{NETWORK}-rgb-mean", ["cat77-dog1.png"], ["knife"])
    write_decisions(tmp_path / "kept" / "human" / f"{blind.system}.csv", blind)
    study = run_study(StudyParams(data_path=str(tmp_path / "own"), resamples=10))
    assert study.systems[0].measures["accuracy"].value == 1 and world.seen == 1


def test_other_networks_are_asked_by_the_chosen_protocol_alone(world):
    params = StudyParams(models=f"{NETWORK},timm/vit_x", protocol="bgr-sum", resamples=10)
    study = run_study(params)
    assert [one.title for one in study.find("timm-vit_x-bgr-sum")] == ["timm-vit_x"]
    assert not study.find("timm-vit_x-rgb-mean")
    assert study.network == NETWORK and len(study.shifts) == 5 * len(MEASURES)
    shown = [one.system for one in figure_systems(study, params)]
    assert shown == ["resnet50", "ViT-B_32", f"{NETWORK}-bgr-sum", "timm-vit_x-bgr-sum"]


def test_own_images_with_published_names_meet_people_on_these_alone(world, tmp_path):
    for image in IMAGES[:32]:
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / image).write_bytes(painted(image))
    study = run_study(StudyParams(data_path=str(tmp_path / "own"), resamples=10))
    assert "32 images; decisions of 3 people" in study.told
    names = [one.system for one in study.systems]
    assert names == ["people", "resnet50", "ViT-B_32", f"{NETWORK}-rgb-mean"]
    assert study.stimuli.startswith("own-") and not study.shifts and world.seen == 32
    assert (tmp_path / "runs/human" / study.stimuli / f"{names[-1]}.csv").exists()


def test_own_images_with_own_names_are_shown_to_networks_alone(world, tmp_path, offline):
    (tmp_path / "own").mkdir()
    for image in ("cat77-dog1.png", "dog78-cat1.png"):
        (tmp_path / "own" / image).write_bytes(painted(image))
    params = StudyParams(data_path=str(tmp_path / "own"), resamples=10)
    study = run_study(params)
    (only,) = figure_systems(study, params)
    assert only.measures["accuracy"].value == 1 == only.measures["shape_bias"].value
    assert np.isnan(only.measures["kappa"].value)
    for figure in (
        figures.agreement_with_people(study, [only]),
        figures.shape_bias_by_category(study, [only]),
        figures.protocol_beside_gaps(study),
    ):
        figure.canvas.draw()
    tables = [table(study) for table in (published_table, systems_table, claims_table)]
    assert [len(table) for table in tables] == [0, 1, len(CLAIMS)]
    assert (tables[2]["verdict"] == "not run").all() and protocol_table(study).to_string()


def test_own_images_that_people_have_not_seen_say_so(world, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cat77-dog1.png").write_bytes(painted("cat77-dog1.png"))
    told = []
    run_study(StudyParams(data_path=str(tmp_path / "own"), resamples=10), told.append)
    assert told[0].startswith("Networks alone, without people: subject-01 has no decision on 1 of")


def test_own_decisions_take_the_place_of_the_published_ones(world, tmp_path):
    for name, right in (("subject-01", 0.9), ("subject-02", 0.8), ("net", 0.4)):
        made = make_decisions(name, [f"{c}{k}.png" for c in CATEGORIES for k in range(3)],
                              answers(1, right))  # fmt: skip
        write_decisions(tmp_path / "edges" / f"{name}.csv", made)
    params = StudyParams(decisions_path=str(tmp_path / "edges"), resamples=10)
    study = run_study(params)
    assert [one.system for one in study.systems] == ["people", "net"]
    assert study.stimuli == "edges" and world.seen == 0
    assert [one.system for one in figure_systems(study, params)] == ["net"]
    assert np.isnan(study.systems[1].measures["shape_bias"].value)  # edges have no texture
    assert study.systems[1].measures["kappa"].value > 0
    told = []
    run_study(replace(params, models="deit_b"), told.append)
    assert told == ["deit_b left out: set data_path to the folder of the images."]


def test_the_default_network_is_left_out_aloud_where_its_weights_are_not(world, monkeypatch):
    def lacking(*_, **__):
        raise ImportError(f"the ImageNet weights of {NETWORK} come in a package\nmore")

    monkeypatch.setattr(study_module, "create_model", lacking)
    told = []
    study = run_study(StudyParams(resamples=10), told.append)
    assert told == [f"{NETWORK} is left out: the ImageNet weights of {NETWORK} come in a package"]
    assert [one.system for one in study.systems] == ["people", "resnet50", "ViT-B_32"]
    with pytest.raises(ImportError):  # asked for by name, it is not left out
        run_study(StudyParams(models="deit_b", resamples=10))


def test_without_decisions_the_record_is_read_and_says_so(offline):
    study = run_study(StudyParams())
    assert not study.here and study.told.startswith("The published decisions are not at hand")
    assert len(study.systems) == 1 + 8 + len(PROTOCOLS)


def test_what_the_record_can_not_show_is_refused_and_names_the_file(offline):
    for change in ({"models": "deit_b"}, {"protocol": "bgr-sum"}, {"save": "x"}):
        with pytest.raises(DownloadError, match="texture-shape_cue-conflict"):
            run_study(StudyParams(**change))


def test_without_decisions_and_record_the_missing_file_is_named(offline, monkeypatch):
    monkeypatch.setattr(study_module, "read_study", lambda: None)
    with pytest.raises(DownloadError, match="ATTNLIB_DATA"):
        run_study(StudyParams())


def test_a_saved_study_is_read_back_as_it_was(world, tmp_path, monkeypatch):
    folder = tmp_path / "results" / "measurements"
    study = run_study(StudyParams(resamples=20, save=str(folder)))
    assert read_decisions(folder / "human" / f"{NETWORK}-rgb-mean.csv").correct.all()
    assert list(published_table(study).index) == ["people", "ResNet-50", "ViT-B/32"]
    again = read_study()  # beside the work
    for table in (systems_table, published_table, claims_table, protocol_table):
        assert str(table(again)) == str(table(study))
    for one, other in zip(study.systems, again.systems, strict=True):
        for name in ("measures", "categories"):
            for key, interval in getattr(one, name).items():
                kept = getattr(other, name)[key]
                assert kept == pytest.approx(interval, abs=1e-6, nan_ok=True)
        assert other.margins == pytest.approx(one.margins, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"modles": "deit_b"}, "modles: no such parameter. Did you mean 'models'?"),
        ({"models": "deit_x"}, "models: unknown name 'deit_x'. Did you mean 'deit_t'? Valid:"),
        ({"models": "atresnet18"}, "models: unknown name 'atresnet18'"),
        ({"protocol": "rgb"}, "protocol: unknown value 'rgb'"),
        ({"resamples": 0}, "resamples: expected a whole number >= 10; got 0"),
        ({"data_path": "nowhere"}, "data_path: expected a folder; got 'nowhere'"),
        ({"decisions_path": "nowhere"}, "decisions_path: expected a folder"),
        ({"cifar10_path": "no.npz"}, "cifar10_path: expected a file; got 'no.npz'"),
    ],
)
def test_wrong_parameters_are_refused_by_name_with_the_valid_ones(given, told):
    with pytest.raises(ValueError) as caught:
        StudyParams.from_params(**given)
    assert told in str(caught.value)


def test_models_may_be_several_or_timm_s():
    params = StudyParams.from_params(models="deit_b, timm/vit_tiny_patch16_224,deit_b,")
    assert params.networks == ["deit_b", "timm/vit_tiny_patch16_224"]
    assert StudyParams.from_params(protocol="bgr-sum-jpeg").protocol == "bgr-sum-jpeg"


def finding(gap: float, verdict: str = HOLDS, first: str = VIT, second: str = RESNET) -> Finding:
    return Finding("", "inter_js", first, second, Interval(gap, gap - 0.01, gap + 0.01), verdict)


def test_a_claim_that_protocol_alone_would_make_too_is_not_decided():
    larger, smaller, opposite = (Interval(x, x, x) for x in (0.06, 0.02, -0.06))
    assert claim_words(finding(0.05), larger) == CONFOUNDED
    assert claim_words(finding(0.05), smaller) == HOLDS
    assert claim_words(finding(0.05), opposite) == HOLDS
    assert claim_words(finding(0.05), None) == HOLDS


def test_a_claim_about_augmentation_of_resnet_says_that_the_networks_are_two():
    words = claim_words(finding(0.05, first=RESNET_FT, second=RESNET), None)
    assert words.startswith(HOLDS) and TWO_NETWORKS in words
