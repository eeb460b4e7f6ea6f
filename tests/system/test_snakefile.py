"""The plan of the pipeline: the same on every machine, and what it asks a scheduler for."""

import functools
import re
import tomllib
from pathlib import Path

import pytest
from dry_runs import dry_run, link_project

ROOT = Path(__file__).parents[2]


@functools.cache  # reading the Snakefile takes a second
def plan(folder: Path, *config: str, gpu: bool = False, target: str = "book") -> str:
    """What ``snakemake --dry-run`` says, on a machine that has CUDA or has none."""
    words = ["--forceall", "--config", *config]
    _, said = dry_run(folder / "told.txt", target, *words, has_gpu=gpu)
    return said


def runs(said: str) -> list[str]:
    return sorted(set(re.findall(r"output: runs/(\S+)/train\.ipynb", said)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


def test_login_node_and_compute_node_speak_of_the_same_runs(folder):
    login, compute = (plan(folder, "profile=thesis", gpu=gpu) for gpu in (False, True))
    assert len(runs(login)) == 5 and runs(login) == runs(compute)


def test_each_run_of_a_profile_for_a_gpu_asks_for_one_and_no_other_does(folder):
    for profile, count in (("thesis", 5), ("quick", 0)):
        jobs = re.findall(
            r"rule train:.*?resources: ([^\n]*)", plan(folder, f"profile={profile}"), re.S
        )
        assert len(jobs) == 5
        assert sum("gpu=1" in resources for resources in jobs) == count, jobs


def test_the_book_is_planned_from_five_runs(folder):
    said = plan(folder, "profile=quick")
    assert re.search(r"train\s+5", said) and re.search(r"book\s+1", said)


def test_a_profile_that_depends_on_the_machine_is_refused(folder):
    assert "the profile auto depends on the machine" in plan(folder, "profile=auto")


REFERENCE = ("data=cifar10-jpeg.npz", "pretrain=tiny-imagenet-32.npz")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `make reference` plans in a project without ``results/``."""
    folder = tmp_path_factory.mktemp("bare")
    link_project(folder)
    code, said = dry_run(folder / "told.txt", "reference", "--config", *REFERENCE, folder=folder)
    assert code == 0, said
    return said


def keeps(said: str) -> list[str]:
    """The runs that a plan keeps, each as often as it is planned."""
    return re.findall(r"^    output: results/([\w.-]+)/record\.json$", said, re.M)


def test_make_reference_plans_each_row_after_its_teacher_and_keeps_it(bare):
    tables = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())
    rows = [row for table in ("reference", "showcase") for row in tables[table].values()]
    planned = keeps(bare)
    assert len(set(planned)) == len(planned)
    assert len(planned) == sum(len(row["seeds"]) for row in rows)
    places = {name: bare.index(f"output: runs/{name}/train.ipynb") for name in runs(bare)}
    assert places.keys() > {*planned}, "what others start from is trained, not kept"
    students = [name for name in planned if "-hard-" in name or "-soft-" in name]
    assert students
    assert all(
        any(places[other] < places[name] for other in places if other.startswith(("res", "eff")))
        for name in students
    )


def test_what_is_kept_is_not_made_again(folder):
    said = plan(folder, *REFERENCE, target="reference")
    assert not {path.parent.name for path in ROOT.glob("results/*/record.json")} & {*keeps(said)}


def test_make_reference_refuses_a_file_whose_name_would_train_all_again(folder):
    said = " ".join(plan(folder, "data=other.npz", target="reference").split())
    assert "on cifar10-jpeg.npz" in said and "got other.npz" in said and "move those runs" in said


def test_weights_are_kept_of_the_showcase_alone(bare):
    weighty = re.findall(r"&& python book/_tools/keep_weights\.py runs/(\S+) (\S+)", bare)
    expected = {
        "efficientnet_lite0-pretrained-npz-cpu-reference": "cifar10-jpeg.npz",
        "deit_t-finetuned-hard-npz-cpu-reference": "cifar10-jpeg.npz",
    }
    assert len(weighty) == len(expected)
    assert {re.sub(r"-s0-\w{8}$", "", name): file for name, file in weighty} == expected
    there = {path.parent.name for path in ROOT.glob("results/*/model.safetensors")}
    assert there == {name for name, _ in weighty}
