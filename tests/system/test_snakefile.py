"""The plan of the pipeline: the same on every machine, and what it asks a scheduler for."""

import functools
import re
import tomllib
from pathlib import Path

import pytest
from dry_runs import dry_run

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


def test_make_reference_plans_each_row_after_its_teacher_and_keeps_it(folder):
    said = plan(folder, *REFERENCE, target="reference")
    tables = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())
    wanted = sum(
        len(row["seeds"])
        for table in ("pretraining", "reference", "showcase")
        for row in tables[table].values()
    )
    planned = re.findall(r"^    output: results/([\w.-]+)/record\.json$", said, re.M)
    kept = {path.parent.name for path in ROOT.glob("results/*/record.json")}
    assert len(set(planned)) == len(planned) <= wanted <= len(planned) + len(kept)
    assert planned and not kept & {*planned}  # what is kept is not made again
    places = {name: said.index(f"output: runs/{name}/train.ipynb") for name in planned}
    students = [name for name in planned if "-hard-" in name or "-soft-" in name]
    assert all(
        any(places[other] < places[name] for other in planned if other.startswith(("res", "eff")))
        for name in students
    )


def test_make_reference_refuses_a_file_whose_name_would_train_all_again(folder):
    said = " ".join(plan(folder, "data=other.npz", target="reference").split())
    assert "on cifar10-jpeg.npz" in said and "got other.npz" in said and "move those runs" in said


def test_weights_are_kept_of_the_showcase_and_of_the_pretrained_transformer(folder):
    said = plan(folder, *REFERENCE, target="reference")
    weighty = re.findall(r"&& python book/_tools/keep_weights\.py runs/(\S+) (\S+)", said)
    planned = {re.sub(r"-s0-\w{8}$", "", name): file for name, file in weighty}
    there = {path.parent.name for path in ROOT.glob("results/*/model.safetensors")}
    expected = {
        "efficientnet_lite0-pretrained-npz-cpu-reference": "cifar10-jpeg.npz",
        "deit_t-finetuned-hard-npz-cpu-reference": "cifar10-jpeg.npz",
        "deit_t-hard-npz-cpu-reference": "tiny-imagenet-32.npz",
    }
    kept = {re.sub(r"-s0-\w{8}$", "", name) for name in there}
    assert planned.items() <= expected.items()
    assert set(planned) | kept == set(expected) and len(planned) + len(there) == len(expected)
