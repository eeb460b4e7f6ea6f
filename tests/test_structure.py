"""The shape of the project: import levels, one place for each fact, notebooks as they must be."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import attnlib as al
from attnlib.config import TrainConfig

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEVELS = (
    {"checkpoint", "consistency", "diagnosis", "distributed", "downloads", "faults",
     "geometry", "layers", "losses", "mapped", "optim", "parameters", "seeding", "statistics",
     "thesis"},
    {"atresnet", "augment", "config", "decisions", "formats", "images", "locks", "operations",
     "record", "replay", "vit", "weights"},
    {"agreement", "attribution", "data", "draws", "faithfulness", "learner", "plan",
     "published", "staging", "stimuli", "training", "zoo"},
    {"batches", "claims", "cost", "runs"},
    {"comparable", "comparison", "evaluate", "inputs", "maps", "measurements", "plots",
     "scaling", "study", "votes"},
    {"countable", "errors", "features", "guards", "plots_human", "plots_scoreboard",
     "plots_seeing", "reference", "report", "study_records", "survey"},
    {"exploring", "human", "linked", "plots_cost", "plots_errors", "plots_reference", "train",
     "verdicts"},
    {"experiment", "progress", "scoreboard"},
    {"subject"},
    {"explorer"},
    {"__init__", "__main__"},
)  # fmt: skip


def cells(notebook: Path, kind: str = "code") -> list[dict]:
    return [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == kind]


def test_files_import_only_from_lower_levels():
    level = {name: place for place, names in enumerate(LEVELS) for name in names}
    files = {path.stem: path for path in (ROOT / "attnlib").glob("*.py")}
    assert set(files) == set(level)
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attnlib"):
                whole = node.module == "attnlib"
                used = [a.name for a in node.names] if whole else [node.module.split(".")[1]]
                for other in used:
                    assert level[other] < level[name], f"{name} imports {other}"


def test_files_fit_one_room():
    long = {p.name: len(p.read_text().splitlines()) for p in (ROOT / "attnlib").glob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 320} == {}


def test_attnlib_imports_without_the_notebook_packages():
    absent = ["papermill", "ipykernel", "IPython", "ipywidgets", "nbformat", "jupyter_book",
              "nbval", "snakemake", "pytest", "myst_nb"]  # fmt: skip
    script = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "import attnlib, attnlib.__main__, attnlib.plots\n"
        "attnlib.__main__.main(['train', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epochs" in done.stdout


def test_importing_draws_nothing_and_prints_nothing():
    script = "import torch; a = torch.get_rng_state(); import attnlib, attnlib.plots;"
    script += "assert torch.equal(a, torch.get_rng_state())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_of_the_design_are_there():
    for name in ("TrainConfig", "run_experiment", "create_model", "list_models", "load_dataset",
                 "predict", "record_attention", "attention_rollout", "soft_distillation_loss",
                 "hard_distillation_loss", "load_run", "list_runs"):  # fmt: skip
        assert hasattr(al, name), name
    assert set(al.__all__) <= set(dir(al))


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ;]", line)[0].lower().replace("_", "-") for line in requirements}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pins}


def test_constraints_pin_every_package_that_pyproject_names_within_its_bounds():
    from packaging.requirements import Requirement

    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["offline"], *extras["book"], *extras["test"]]
    pins = constraints()
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        if name != "attnlib":
            assert name in pins, f"{name} has no pin"
            assert requirement.specifier.contains(pins[name]), f"{line} excludes {pins[name]}"


def test_environment_yml_takes_its_versions_from_pyproject_and_constraints():
    text = (ROOT / "environment.yml").read_text()
    assert "--constraint constraints.txt" in text and "--editable .[test]" in text
    pinned = re.findall(r"^\s*- ([\w-]+)=", text, re.MULTILINE)
    assert pinned == ["python"]
    assert PROJECT["requires-python"] == ">=3.11" and "python=3.12" in text


def test_lower_bounds_admit_torch_2_6():
    from packaging.requirements import Requirement

    bounds = {Requirement(line).name: Requirement(line) for line in PROJECT["dependencies"]}
    assert bounds["torch"].specifier.contains("2.6.0")
    assert bounds["torchvision"].specifier.contains("0.21.0")


def test_version_stands_in_one_place():
    assert al.__version__ == PROJECT["version"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_parameters_calls_figures_and_prose(notebook):
    found = cells(notebook)
    tags = [cell["metadata"].get("tags", []) for cell in found]
    assert [tag for tag in tags if "parameters" in tag] == [tags[0]], "parameters come first"
    assert "bootstrap" in tags[1] and "checks" in tags[-1]
    for cell in found:
        source = "".join(cell["source"])
        tree = ast.parse(source)
        assert not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.walk(tree))
        is_table = "parameters" in cell["metadata"].get("tags", [])
        assert is_table or len(source.splitlines()) <= 12
    for node in ast.parse("".join(found[0]["source"])).body:
        assert isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    assert any("assert" in "".join(cell["source"]) for cell in found if cell is found[-1])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_outputs_only_where_they_are_compared(notebook):
    content = json.loads(notebook.read_text())
    assert "widgets" not in content["metadata"]
    for cell in cells(notebook):
        compared = "nbval-check-output" in cell["metadata"].get("tags", [])
        assert bool(cell["outputs"]) == compared, "".join(cell["source"])
        assert compared or cell["execution_count"] is None


def test_some_notebook_output_is_compared():
    marked = [c for n in NOTEBOOKS for c in cells(n) if c["outputs"]]
    assert marked


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_figures_have_a_claim_and_alt_text(notebook):
    for cell in cells(notebook):
        if "plots." in "".join(cell["source"]):
            shown = cell["metadata"]["mystnb"]
            assert shown["figure"]["name"].startswith("fig-")
            assert shown["figure"]["caption"].endswith(".")
            assert len(shown["image"]["alt"]) > 40


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_notebooks_share_one_bootstrap_cell(notebook):
    first = "".join(cells(NOTEBOOKS[0])[1]["source"])
    assert "".join(cells(notebook)[1]["source"]) == first


def test_training_notebook_lists_every_parameter():
    first = ast.parse("".join(cells(ROOT / "notebooks" / "train.ipynb")[0]["source"]))
    named = [node.targets[0].id for node in first.body]
    assert sorted(named) == sorted(TrainConfig.__dataclass_fields__)


def test_thesis_rows_are_the_five_of_table_8_1_and_the_teacher_is_one_of_them(tmp_path):
    rows = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())["thesis"]
    assert set(rows) == {"deit_t_p", "deit_t_dp", "resnet18_p", "resnet18", "atresnet18_p"}
    for profile in ("quick", "thesis"):
        configs = {
            name: TrainConfig.from_params(
                **{k: v for k, v in row.items() if k != "seeds"},
                profile=profile,
                seed=row["seeds"][0],
                **({"data_path": None}),
            )
            for name, row in rows.items()
        }
        assert len({config.name for config in configs.values()}) == 5
        teacher = al.experiment.teacher_config(configs["deit_t_dp"])
        assert teacher.name == configs["resnet18_p"].name


def test_reference_rows_are_the_runs_that_need_no_weights_from_elsewhere():
    rows = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())["reference"]
    started = {row["model"] for row in rows.values() if row.get("pretrained")}
    assert started == {"efficientnet_lite0"}  # whose weights come in a package
    assert {row.get("tokens", "channel") for row in rows.values()} == {"channel", "spatial"}
    taught = {(r.get("distillation"), r.get("teacher")) for r in rows.values() if "teacher" in r}
    assert taught == {("hard", "resnet18"), ("soft", "resnet18"), ("hard", "efficientnet_lite0_p")}


def test_make_reference_plans_each_row_after_its_teacher_and_keeps_it():
    command = [sys.executable, "-m", "snakemake", "reference", "--dry-run", "--cores", "1",
               "--quiet", "rules", "--config", "data=cifar10-jpeg.npz"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())["reference"]
    kept = {json.loads(p.read_text())["command"] for p in ROOT.glob("results/*/record.json")}
    runs = sum(len(row["seeds"]) for row in rows.values())
    missing = runs - sum("cpu-reference" in command for command in kept)
    found = re.search(r"keep\s+(\d+)", done.stdout + done.stderr)
    assert (int(found[1]) if found else 0) == missing


def test_make_reference_refuses_a_file_whose_name_would_train_all_again():
    command = [sys.executable, "-m", "snakemake", "reference", "--dry-run", "--cores", "1",
               "--quiet", "rules", "--config", "data=other.npz"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "on cifar10-jpeg.npz" in said and "got other.npz" in said and "move those runs" in said


def test_snakemake_shows_the_plan():
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--forceall",
        "--rerun-incomplete",
        "--quiet",
        "rules",
    ]
    done = subprocess.run([*command, "--cores", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plan = done.stdout + done.stderr
    assert re.search(r"train\s+5", plan) and re.search(r"book\s+1", plan)
