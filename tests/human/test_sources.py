"""Published files: hashes, addresses, the archive of images; and the published numbers."""

import hashlib
import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from attnlib.data.downloads import DownloadError, cache_dir
from attnlib.human import sources
from attnlib.human.bootstrap import MEASURES, measure_agreement
from attnlib.human.claims import judge_claims
from attnlib.human.decisions import (
    CATEGORIES,
    Decisions,
    make_decisions,
    read_cues,
    write_decisions,
)
from attnlib.human.sources import (
    CUE_CONFLICT_FOLDER,
    ORIGINS,
    VOTES,
    known_hashes,
    load_folder,
    load_published,
    load_stimuli,
    published_urls,
)
from attnlib.stats.consistency import (
    classwise_errors,
    confusion_matrix,
    interclass_errors,
    js_distance,
)

# Means over ten people, the half width of the t interval over them, and shape and texture hits.
GOLDEN = {
    "ViT-B_32": (0.2969, 0.1365, 0.0328, 0.1908, 0.0285, 0.6267, 0.0268, 0.5502, 318, 260),
    "ViT-B_32_ft": (0.3578, 0.1559, 0.0382, 0.1870, 0.0293, 0.6199, 0.0278, 0.5889, 391, 273),
    "resnet50": (0.1820, 0.0680, 0.0218, 0.2268, 0.0297, 0.5777, 0.0334, 0.2139, 169, 621),
    "resnet50_ft": (0.1766, 0.0302, 0.0100, 0.2447, 0.0293, 0.6383, 0.0242, 0.2802, 167, 429),
}
# Distance to the mean of people's distributions: Tuli et al.'s other way, as their notebook prints.
TO_AVERAGE = {
    "ViT-B_32": (0.151, 0.553), "ViT-B_32_ft": (0.147, 0.544),
    "resnet50": (0.195, 0.460), "resnet50_ft": (0.216, 0.568),
}  # fmt: skip


@pytest.fixture(scope="module")
def systems() -> list[Decisions]:
    folder = cache_dir() / CUE_CONFLICT_FOLDER
    if not (folder / "texture-shape_cue-conflict_subject-01_session_1.csv").is_file():
        pytest.skip("the published decisions are not in the cache: set ATTNLIB_DATA")
    return load_published()


def test_published_numbers_come_out_to_the_digits_given(systems):
    measured = {one.system: one for one in measure_agreement(systems, resamples=1)}
    for name, golden in GOLDEN.items():
        one = measured[name]
        found = [one.estimate("accuracy").value]
        for measure in MEASURES[1:4]:
            found += [one.estimate(measure).value, one.people_margin(measure)]
        found += [one.estimate("shape_bias").value, *one.hits[0].sum(axis=0)]
        assert [round(float(value), 4) for value in found] == list(golden), name
    people = measured["people"]
    assert people.estimate("accuracy").value == pytest.approx(0.7755, abs=5e-5)
    assert people.estimate("kappa").value == pytest.approx(0.331, abs=5e-4)
    assert people.estimate("shape_bias").value == pytest.approx(0.9587, abs=5e-5)
    assert people.hits[0].sum(axis=0).tolist() == [9236, 398]


def test_verdicts_on_the_thesis_s_claims_are_those_of_the_published_decisions(systems):
    findings = judge_claims(measure_agreement(systems, resamples=300))
    assert [finding.verdict for finding in findings] == [
        *("holds", "holds", "the opposite holds", "holds", "holds", "holds"),
        *("the opposite holds", "holds", "not decided", "not decided"),
        *("holds", "holds", "holds"),
        *["not run"] * 8,  # DeiT
    ]


def test_distances_to_people_s_average_come_out_as_printed(systems):
    def errors(one: Decisions) -> list[np.ndarray]:
        matrix = confusion_matrix(one.shapes, one.responses, CATEGORIES)
        return [classwise_errors(matrix), interclass_errors(matrix)]

    people = [errors(one) for one in systems if one.is_person]
    average = [np.mean([one[k] for one in people], axis=0) for k in (0, 1)]
    for one in systems:
        if one.system in TO_AVERAGE:
            pair = zip(errors(one), average, strict=True)
            found = tuple(round(js_distance(p, q), 3) for p, q in pair)
            assert found == TO_AVERAGE[one.system]


def test_quirks_of_the_published_files_are_there_and_tolerated(systems):
    people = systems[:10]
    assert [one.system for one in people] == [f"subject-{k:02d}" for k in range(1, 11)]
    missing = [int((one.responses == "na").sum()) for one in people]
    assert missing == [27, 15, 3, 37, 3, 3, 15, 14, 1, 13]
    strange = {
        (one.system, str(image), str(response))
        for one in systems
        for image, response in zip(one.images, one.responses, strict=True)
        if response not in (*CATEGORIES, "na")
    }
    assert strange == {("resnet50_ft", "airplane7-car1.png", "ariplane")}
    same = systems[0].shapes == systems[0].textures
    assert len(same) == 1280 and same.sum() == 80


def test_hashes_name_ten_people_eight_networks_1280_images_and_the_votes():
    names = [Path(path).name for path in known_hashes()]
    tables = [name for name in names if name.endswith(".csv")]
    images = [name for name in names if name.endswith(".png")]
    assert len(tables) == 18 and sum("_subject-" in name for name in tables) == 10
    assert len(images) == len(set(images)) == 1280
    assert Counter(read_cues(name).shape for name in images) == dict.fromkeys(CATEGORIES, 80)
    assert len(names) == 18 + 1280 + 1 and VOTES in known_hashes()
    assert all(len(digest) == 64 for digest in known_hashes().values())
    assert len(set(known_hashes().values())) == len(names)


def test_every_file_has_addresses_at_a_pinned_commit_of_its_source():
    (person,) = (path for path in known_hashes() if "subject-03" in path)
    urls = published_urls(person)
    assert urls[0] == (
        "https://raw.githubusercontent.com/shikhartuli/cnn_txf_bias/36e95d8/error-consistency/"
        "raw-data_new/texture-shape_cue-conflict/texture-shape_cue-conflict_subject-03_session_1.csv"
    )
    assert (
        "https://raw.githubusercontent.com/bethgelab/model-vs-human/79ed7cd/raw-data/cue-conflict/"
        "cue-conflict_subject-03_session_1.csv"
    ) in urls
    image = f"{CUE_CONFLICT_FOLDER}/cat/cat1-dog2.png"
    assert published_urls(image)[0].endswith(
        "cnn_txf_bias/36e95d8/big_transfer/stimuli/cue-conflict/cat/cat1-dog2.png"
    )
    assert "jcpeterson/cifar-10h/597cbc5f" in published_urls(VOTES)[0]
    assert all(
        url.startswith("https://") for path in known_hashes() for url in published_urls(path)
    )


def test_every_published_network_says_how_it_was_asked(systems):
    networks = {one.system for one in systems if not one.is_person}
    assert networks == set(ORIGINS)
    assert ORIGINS["resnet50"].protocol == "RGB, mean"
    assert ORIGINS["resnet50_ft"].protocol == ORIGINS["ViT-B_32"].protocol == "BGR, sum"


@pytest.fixture
def three_images(tmp_path, monkeypatch) -> dict[str, bytes]:
    """A cache of the test's own, of whose images three are known."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    images = {f"{CUE_CONFLICT_FOLDER}/cat/cat{k}-dog1.png": bytes([k]) * 10 for k in range(3)}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in images.items()}
    monkeypatch.setattr(sources, "known_hashes", lambda: hashes)
    return images


def archive(root: Path, images: dict[str, bytes]) -> None:
    (root / "human").mkdir()
    with tarfile.open(root / sources.STIMULI_TAR, "w") as tar:
        for path, content in images.items():
            member = tarfile.TarInfo(path.removeprefix("human/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_images_come_from_the_archive_of_the_cache_each_checked(tmp_path, three_images):
    archive(tmp_path, three_images)
    found = load_stimuli()
    assert found == {Path(path).name: content for path, content in three_images.items()}


@pytest.mark.parametrize(
    ("change", "told"), [({"cat0": b"x"}, "cat0-dog1.png has SHA-256"), (None, "is missing")]
)
def test_an_archive_with_another_or_a_missing_image_is_refused(
    tmp_path, three_images, change, told
):
    first = next(iter(three_images))
    damaged = {**three_images, first: b"x"} if change else dict(list(three_images.items())[1:])
    archive(tmp_path, damaged)
    with pytest.raises(ValueError, match=told):
        load_stimuli()


def test_images_that_lie_in_the_cache_one_by_one_are_used(tmp_path, three_images):
    for path, content in three_images.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    told = []
    assert len(load_stimuli(told.append)) == 3 and told == []


def test_missing_images_are_asked_for_one_by_one_and_one_alone_where_nothing_answers(
    tmp_path, three_images, monkeypatch
):
    asked, told = [], []

    def refuse(file, urls, **options):
        asked.append((file, urls[0], options["sha256"], options["folder"]))
        raise DownloadError(f"{file} cannot be downloaded")

    monkeypatch.setattr(sources, "fetch", refuse)
    with pytest.raises(DownloadError, match="cat0-dog1"):
        load_stimuli(told.append)
    path = f"{CUE_CONFLICT_FOLDER}/cat/cat0-dog1.png"
    assert asked == [
        (
            "cat0-dog1.png",
            published_urls(path)[0],
            sources.known_hashes()[path],
            f"{CUE_CONFLICT_FOLDER}/cat",
        )
    ]
    assert "downloading 3 images" in told[0]


def test_own_decisions_are_read_from_a_folder_people_first(tmp_path):
    images, answers = ["cat1.png", "dog1.png"], ["cat", "oven"]
    for name in ("net", "subject-02", "Big", "subject-01"):
        write_decisions(tmp_path / f"{name}.csv", make_decisions(name, images, answers))
    names = [one.system for one in load_folder(tmp_path)]
    assert names == ["subject-01", "subject-02", "Big", "net"]
    write_decisions(tmp_path / "again.csv", make_decisions("net", images, answers))
    with pytest.raises(ValueError, match="two files of one system"):
        load_folder(tmp_path)


def test_own_decisions_that_do_not_pair_or_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no decisions"):
        load_folder(tmp_path)
    for name, image in (("a", "cat1.png"), ("b", "cat2.png")):
        write_decisions(tmp_path / f"{name}.csv", make_decisions(name, [image], ["cat"]))
    with pytest.raises(ValueError, match="a and b don't pair"):
        load_folder(tmp_path)
