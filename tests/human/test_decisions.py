"""Decision files in the published format: its quirks, and files that are refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from attnlib.human.decisions import (
    CATEGORIES,
    DECISION_COLUMNS,
    check_paired,
    make_decisions,
    read_cues,
    read_decisions,
    select_images,
    write_decisions,
)

PERSON = (  # as in the published files: the trial before the image's id, no answer, any order
    "subject-01,1,1,1.13,cat,cat,0,0001_s5n_s01_0_cat_00_cat3-bird2.png",
    "subject-01,1,2,NaN,na,bird,0,0002_s5n_s01_0_bird_00_bird1-bird3.png",
    "subject-01,1,3,0.86,dog,airplane,0,0003_s5n_s01_0_airplane_00_airplane7-car1.png",
)
NETWORK = (
    "resnet50_ft,1,1,NaN,ariplane,airplane,NaN,airplane7-car1.png",
    "resnet50_ft,1,2,NaN,bird,bird,NaN,bird1-bird3.png",
    "resnet50_ft,1,3,NaN,bird,cat,NaN,cat3-bird2.png",
)
EDGES = (  # the experiments with edges and silhouettes: no texture
    "resnet50,1,1,NaN,knife,airplane,NaN,airplane10.png",
    "resnet50,1,2,NaN,clock,clock,NaN,clock2.png",
)


def file(folder: Path, rows: tuple[str, ...], header: str = ",".join(DECISION_COLUMNS)) -> Path:
    path = folder / "texture-shape_cue-conflict_vgg16session-1.csv"  # a name without an underscore
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_person_and_network_pair_by_image_id_whatever_the_order_of_their_files(tmp_path):
    person = read_decisions(file(tmp_path, PERSON))
    network = read_decisions(file(tmp_path, NETWORK))
    check_paired([person, network])
    assert person.images.tolist() == ["airplane7-car1.png", "bird1-bird3.png", "cat3-bird2.png"]
    assert person.responses.tolist() == ["dog", "na", "cat"]


def test_the_system_is_the_column_subj_and_not_the_file_name(tmp_path):
    assert read_decisions(file(tmp_path, NETWORK)).system == "resnet50_ft"
    assert read_decisions(file(tmp_path, PERSON)).is_person
    assert not read_decisions(file(tmp_path, NETWORK)).is_person


def test_no_answer_and_a_misspelt_answer_are_kept_and_wrong(tmp_path):
    assert read_decisions(file(tmp_path, PERSON)).correct.tolist() == [False, False, True]
    network = read_decisions(file(tmp_path, NETWORK))
    assert network.responses[0] == "ariplane"
    assert network.correct.tolist() == [False, True, False]


def test_shape_and_texture_come_from_the_image_id(tmp_path):
    network = read_decisions(file(tmp_path, NETWORK))
    assert network.shapes.tolist() == ["airplane", "bird", "cat"]
    assert network.textures.tolist() == ["car", "bird", "bird"]


def test_edges_and_silhouettes_follow_the_same_format_without_a_texture(tmp_path):
    edges = read_decisions(file(tmp_path, EDGES))
    assert edges.shapes.tolist() == ["airplane", "clock"] and edges.textures.tolist() == ["", ""]
    assert edges.correct.tolist() == [False, True]


def test_what_is_written_is_read_back_the_same(tmp_path):
    network = read_decisions(file(tmp_path, NETWORK))
    path = tmp_path / "new" / "folder" / "decisions.csv"
    write_decisions(path, network)
    again = read_decisions(path)
    assert again.system == network.system
    assert again.images.tolist() == network.images.tolist()
    assert again.responses.tolist() == network.responses.tolist()
    assert path.read_text().splitlines()[1] == (
        "resnet50_ft,1,1,NaN,ariplane,airplane,NaN,airplane7-car1.png"
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((), "expected one system; found none"),
        (("a,1,1,NaN,cat,cat,NaN",), "line 2: expected 8 fields; found 7"),
        (("a,1,1,NaN,cat,dog,NaN,cat1-dog2.png",), "line 2: category 'dog', but .* is cat"),
        (("a,1,1,NaN,cat,cow,NaN,cow1-dog2.png",), "line 2: 'cow1-dog2.png': expected SHAPE-TEX"),
        (("a,1,1,NaN,cat,cat,NaN,cat1-cow2.png",), "line 2: 'cat1-cow2.png'"),
        ((NETWORK[0], EDGES[0]), r"expected one system; found \['resnet50', 'resnet50_ft'\]"),
        ((NETWORK[0], NETWORK[0]), "'airplane7-car1.png' occurs twice"),
    ],
)
def test_files_that_are_malformed_are_refused_by_name_line_and_reason(tmp_path, rows, told):
    path = file(tmp_path, rows)
    with pytest.raises(ValueError, match=told) as caught:
        read_decisions(path)
    assert str(path) in str(caught.value)


def test_other_columns_and_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected the columns subj, .*; found subject, trial"):
        read_decisions(file(tmp_path, PERSON, "subject,trial"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="found nothing"):
        read_decisions(tmp_path / "empty.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match="no text"):
        read_decisions(tmp_path / "picture.csv")


def test_systems_that_saw_different_images_do_not_pair():
    first = make_decisions("a", ["cat1-dog1.png", "cat2-dog1.png"], ["cat", "dog"])
    second = make_decisions("b", ["cat1-dog1.png", "cat3-dog1.png"], ["cat", "dog"])
    with pytest.raises(ValueError, match=r"a and b don't pair: 2 images are not in both \(2 and 2"):
        check_paired([first, second])
    with pytest.raises(ValueError, match=r"a has no decision on 1 of 2 images, 'cat3-dog1\.png'"):
        select_images(first, second.images)
    chosen = select_images(first, np.array(["cat2-dog1.png"]))
    assert chosen.responses.tolist() == ["dog"]


def test_answers_and_images_must_be_as_many():
    with pytest.raises(ValueError, match="got 1 answers and 2 images"):
        make_decisions("a", ["cat1.png", "cat2.png"], ["cat"])
    with pytest.raises(ValueError, match="got 0 answers and 0 images"):
        make_decisions("a", [], [])


@pytest.mark.parametrize(
    "name", ["cat.jpeg", "cat12-elephant3.png", "oven1-oven2.png", "knife9.bmp"]
)
def test_names_of_every_category_are_read(name):
    cues = read_cues(name)
    assert cues.shape in CATEGORIES and (cues.texture in CATEGORIES or not cues.texture)
    assert re.match(rf"{cues.shape}\d*(-{cues.texture}|\.)", name)


@pytest.mark.parametrize(
    "name", ["cat1-", "Cat1-dog1.png", "1cat.png", "cat1-dog1", "cat1_dog2.png"]
)
def test_names_of_another_form_are_refused(name):
    with pytest.raises(ValueError, match=r"expected SHAPE-TEXTURE\.png"):
        read_cues(name)
