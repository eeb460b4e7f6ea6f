"""The documented calls, as a stranger types them: papermill, the command line, Colab."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import attnlib as al

ROOT = Path(__file__).parents[2]
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


def test_papermill_trains_and_shows_what_a_reader_needs(tmp_path):
    done = call(PAPERMILL, TRAIN, "OUT.ipynb", "-p", "model", "deit_t", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = outputs(tmp_path / "OUT.ipynb")
    (run,) = al.list_runs(tmp_path / "runs")
    assert "profile  quick on" in text and re.search(r"limit\s+60  <- set here", text)
    assert re.search(r"epoch 1/1  lr .* loss .* val .*%  \d+ images/s  0 s left", text)
    assert re.search(r"test accuracy \d+\.\d+% \[\d+\.\d+%, \d+\.\d+%\] on 359 images", text)
    assert run.name in text and "runs/" in text
    shown = json.loads((tmp_path / "OUT.ipynb").read_text())["cells"]
    figures = [o for c in shown for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(figures) == 2
    assert "papermill notebooks/train.ipynb OUT.ipynb -p model deit_t" in run.record.command


def test_papermill_without_out_succeeds_into_a_pipe(tmp_path):
    done = call(PAPERMILL, TRAIN, "-p", "model", "resnet18", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"]
    assert len(al.list_runs(tmp_path / "runs")) == 1


def test_out_may_be_a_template_in_the_runs_folder_of_a_fresh_clone(tmp_path):
    tracked = call("git", "ls-files", "runs", cwd=ROOT).stdout
    assert tracked.strip() == "runs/.gitkeep"  # so that the folder is there to write into
    (tmp_path / "runs").mkdir()
    done = call(
        PAPERMILL, TRAIN, "runs/{model}.ipynb", "-p", "model", "resnet18", *SMALL, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "resnet18.ipynb").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["epohcs", "5"], "epohcs: no such parameter. Did you mean 'epochs'? Parameters: model,"),
        (["model", "deit_x"], "model: unknown value 'deit_x'. Did you mean 'deit_t'? Valid:"),
        (["epochs", "ten"], "epochs: expected a whole number >= 1; got 'ten'"),
        (["patch_size", "15"], "patch_size: 15 does not divide img_size 32. Valid: 1, 2, 4, 8"),
    ],
)
def test_wrong_parameter_stops_papermill_before_any_work(tmp_path, words, told):
    done = call(PAPERMILL, TRAIN, "OUT.ipynb", "-p", *words, "-p", "profile", "quick", cwd=tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["epohcs", "5"], ["model", "deit_x"]])
def test_wrong_parameter_stops_the_command_line_with_the_same_words(tmp_path, words):
    done = call(sys.executable, "-m", "attnlib", "train", "-p", *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {words[0]}: ") and "Traceback" not in done.stderr


def test_pretrained_true_asks_for_weights_and_says_offline_where_to_put_them(tmp_path):
    done = call(
        sys.executable, "-m", "attnlib", "train", "-p", "pretrained", "true", "-p", "profile",
        "quick", "-p", "patch_size", "16", "-p", "device", "cpu", cwd=tmp_path,
        ATTNLIB_DATA=str(tmp_path / "cache"), https_proxy="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 2
    assert "deit_tiny_distilled_patch16_224-b40b3cf7.pth" in done.stderr
    assert str(tmp_path / "cache" / "weights") in done.stderr


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


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An environment with torch, torchvision, timm and ipykernel, and no attnlib; its versions.

    The packages are links to the ones installed here, so nothing is downloaded for it.
    """
    folder = tmp_path_factory.mktemp("colab")
    call(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
    there = folder / "site"
    there.mkdir()
    versions = {}
    for distribution in distributions_of("torch", "torchvision", "timm", "ipykernel", "pip"):
        versions[distribution.metadata["Name"]] = distribution.version
        for file in distribution.files or []:
            top = there / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not top.exists():
                top.symlink_to(Path(str(distribution.locate_file(file.parts[0]))).resolve())
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / "venv" / "lib" / version / "site-packages"
    (site / "there.pth").write_text(f"{there}\n")
    kernel = folder / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(folder / "venv/bin/python"), "-m", "ipykernel_launcher", "-f",
               "{connection_file}"]  # fmt: skip
    description = {"argv": command, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(description))
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT), "-w", "."]
    assert call(*wheel, cwd=folder).returncode == 0
    return folder, versions


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.skipif(sysconfig.get_platform().startswith("win"), reason="links need Unix")
def test_on_colab_the_bootstrap_cell_adds_attnlib_and_changes_no_version(colab, tmp_path):
    folder, before = colab
    assert "attnlib" not in before and "papermill" not in before
    python = str(folder / "venv" / "bin" / "python")
    missing = call(python, "-c", "import attnlib", cwd=tmp_path)
    assert "No module named 'attnlib'" in missing.stderr
    (wheel,) = folder.glob("attnlib-*.whl")
    environment = {"JUPYTER_PATH": str(folder), "ATTNLIB_SOURCE": str(wheel)}
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        given = SMALL if notebook.stem == "train" else []
        done = call(
            PAPERMILL, str(notebook), f"{notebook.stem}.ipynb", "-k", "colab", *given,
            cwd=tmp_path, **environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    script = "import json; from importlib import metadata as m;"
    script += "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    after = json.loads(call(python, "-c", script, cwd=tmp_path).stdout)
    assert after["attnlib"] == al.__version__
    assert {name: after[name] for name in before} == before
    runs = al.list_runs(tmp_path / "runs")
    assert runs and all(run.record.status == "finished" for run in runs)
