"""The shape of the project: import levels, one place for each fact, notebooks as they must be."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from datetime import datetime
from pathlib import Path

import pytest
import yaml

import attnlib as al
from attnlib.config import TrainConfig
from attnlib.experiment import teacher_config

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The floors, from the base up: a wing imports from lower floors only.
FLOORS = (
    {
        "arrays",
        "atomic",
        "catalogue",
        "colab",
        "config",
        "devices",
        "escaping",
        "parameters",
        "seeding",
        "losses",
        "stats",
        "plotting",
        "threads",
        "allocator",
    },
    {"models"},
    {"augmentation", "explain"},
    {"data"},
    {"training"},
    {"records"},
    {"experiment", "progress"},
    {"cost", "human"},
    {"thesis"},
    {"compare"},
    {"explorer"},
    {"commands"},
    {"__init__", "__main__"},
)
BASE = {  # the arrows within the base
    "config": {"catalogue", "colab", "devices", "escaping", "parameters"},
    "plotting": {"escaping"},
    "stats": {"arrays"},
}
ANALYSIS = {"explain", "compare", "cost", "human", "thesis", "explorer", "plotting"}
# The commands stand above all that they call; what analyses they need they import when called, so
# that training loads none of it.
TOP = {"commands", "__init__", "__main__"}
# What climbs, and why: weights come from the net as data do, and downloads stands on nothing of
# ours; a run record holds small maps, drawn when the run ends.
CLIMBS = {
    ("models/pretrained.py", "data.downloads"),
    ("models/zoo.py", "data.downloads"),
}
ALL = [
    "Dataset", "LiveCurves", "Network", "Predictions", "Run", "Split", "TrainConfig",
    "attention_rollout", "brier_score", "calibration_error", "checkpoint_size", "classwise_errors",
    "confusion_csv", "confusion_matrix", "count_shared", "create_model", "error_consistency",
    "expected_agreement", "export_network", "hard_distillation_loss", "holm", "interclass_errors",
    "js_distance", "list_models", "list_runs", "load_dataset", "load_network", "load_run",
    "mcnemar", "mean_interval", "measure_memory", "measure_speed", "notebook_parameters",
    "observed_agreement", "paired_bootstrap", "paired_difference", "parse_params", "predict",
    "predict_files", "record_attention", "record_features", "run_experiment", "shape_bias",
    "soft_distillation_loss", "soft_target_cross_entropy", "top_accuracy", "wilson_interval",
]  # fmt: skip
ANALYSIS_IN_CORE = {("records/samples.py", "explain")}


def cells(notebook: Path, kind: str = "code") -> list[dict]:
    return [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == kind]


def imported(path: Path) -> set[str]:
    """What of attnlib a file imports when it runs, ``models.layers`` for instance."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attnlib"):
            inside = node.module.removeprefix("attnlib").strip(".")
            is_folder = (ROOT / "attnlib" / inside.replace(".", "/")).is_dir()
            names = [f"{inside}.{a.name}".strip(".") for a in node.names]
            found |= set(names) if is_folder else {inside}
    return found


def wing(name: str) -> str:
    return name.split(".")[0]


def rooms() -> dict[str, set[str]]:
    """Every file of the package, by its path within it, with what it imports of the package."""
    files = (ROOT / "attnlib").rglob("*.py")
    return {str(path.relative_to(ROOT / "attnlib")): imported(path) for path in files}


def wing_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def public_names(tree: ast.Module) -> set[str]:
    """Names that a file binds at its top, but those of what it imports and those with a _."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target)]
            found |= {part.id for part in parts if isinstance(part, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_no_public_name_stands_in_two_modules():
    """A name that means two things sends a reader to the wrong one; constants and types too."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "attnlib").rglob("*.py")):
        for name in public_names(ast.parse(path.read_text())):
            places.setdefault(name, []).append(str(path.relative_to(ROOT / "attnlib")))
    assert len(places) > 500
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_names_of_the_package_are_those_that_notebooks_and_readers_know():
    """Each removal or renaming breaks somebody's notebook; change this list with that in mind."""
    assert al.__all__ == ALL


def test_wings_import_only_from_lower_floors():
    floor = {name: place for place, names in enumerate(FLOORS) for name in names}
    assert {wing_of(path) for path in rooms()} == set(floor)
    climbs = {
        (path, used)
        for path, names in rooms().items()
        for used in names
        if wing(used) != wing_of(path)
        and floor[wing(used)] >= floor[wing_of(path)]
        and wing(used) not in BASE.get(wing_of(path), ())
    }
    assert climbs == CLIMBS
    assert rooms()["data/downloads.py"] == set()


def test_core_imports_no_analysis_no_pandas_and_no_matplotlib():
    used = {
        (path, wing(name))
        for path, names in rooms().items()
        if wing_of(path) not in ANALYSIS | TOP
        for name in names
        if wing(name) in ANALYSIS
    }
    assert used - {("progress.py", "plotting")} == ANALYSIS_IN_CORE  # live curves, when asked for
    script = (
        "import sys\nfor name in ('pandas', 'matplotlib'): sys.modules[name] = None\n"
        "import attnlib, attnlib.__main__"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_attnlib_imports_without_the_notebook_packages():
    absent = ["papermill", "ipykernel", "IPython", "ipywidgets", "nbformat", "jupyter_book",
              "snakemake", "pytest", "myst_nb"]  # fmt: skip
    script = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "import attnlib, attnlib.__main__, attnlib.plotting\n"
        "attnlib.__main__.main(['train', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epochs" in done.stdout


def test_importing_draws_nothing_and_prints_nothing():
    script = "import torch; a = torch.get_rng_state(); import attnlib, attnlib.plotting;"
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
    wanted = [*PROJECT["dependencies"], *(line for name in extras for line in extras[name])]
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


def test_version_stands_in_one_place_and_citation_and_changes_are_of_it():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == al.__version__
    headings = re.findall(r"^## (\S+?)(?:, (.+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    version, date = headings[0]
    assert version == al.__version__
    assert datetime.strptime(date, "%d %B %Y").date() == cited["date-released"]


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
        if "figures." in "".join(cell["source"]) or "plotting." in "".join(cell["source"]):
            shown = cell["metadata"]["mystnb"]
            assert shown["figure"]["name"].startswith("fig-")
            assert shown["figure"]["caption"].endswith(".")
            assert len(shown["image"]["alt"]) > 40


@pytest.mark.parametrize(
    "program", [*NOTEBOOKS, *sorted((ROOT / "benchmarks").glob("*.py"))], ids=lambda path: path.stem
)
def test_attnlib_is_imported_before_torch(program):
    """It says how PyTorch's threads wait, which is too late once PyTorch is imported."""
    text = program.read_text()
    if program.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in cells(program))
    found = re.findall(r"^(?:import|from) (attnlib|torch|timm|torchvision)\b", text, re.MULTILINE)
    assert found[0] == "attnlib"


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
        teacher = teacher_config(configs["deit_t_dp"])
        assert teacher.name == configs["resnet18_p"].name


def test_reference_rows_start_and_learn_as_those_of_table_8_1():
    tables = tomllib.loads((ROOT / "notebooks" / "experiments.toml").read_text())
    rows = tables["reference"]
    started = {name for name, row in rows.items() if row.get("pretrained")}
    assert started == {"efficientnet_lite0_p"}  # whose weights come in a package
    begun = {name: row.get("initial_checkpoint") for name, row in rows.items()}
    assert begun == {
        name: None
        if (not name.endswith("_p") and not name.endswith("_dp")) or name in started
        else "pretraining.deit_t"
        if row["model"] == "deit_t"
        else "pretraining.resnet18"
        for name, row in rows.items()
    }
    taught = {name: row["teacher"] for name, row in rows.items() if "teacher" in row}
    scratch = {name: "resnet18" for name in rows if name.startswith(("deit_t_hard", "deit_t_soft"))}
    assert taught == scratch | {"deit_t_dp": "resnet18_p"}
    assert all(row["seeds"] == [0, 1, 2] for row in rows.values())
