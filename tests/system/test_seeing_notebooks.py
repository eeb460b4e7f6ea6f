"""The notebooks of attention and features, executed as a stranger would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import attnlib as al

ROOT = Path(__file__).parents[2]
PAPERMILL = str(Path(sys.executable).parent / "papermill")


def execute(
    notebook: str, folder: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    options = [part for name, value in zip(words[::2], words[1::2], strict=True)
               for part in ("-p", name, value)]  # fmt: skip
    return subprocess.run(
        [PAPERMILL, "--no-progress-bar", str(ROOT / "notebooks" / f"{notebook}.ipynb"),
         "OUT.ipynb", *options],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def shown(folder: Path) -> tuple[str, int]:
    """All text that the executed notebook shows, and the number of its figures."""
    cells = json.loads((folder / "OUT.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [o for o in outputs if o.get("name") == "stderr"], "warnings are a defect"
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs]
    text = "\n".join("".join(each) for each in texts)
    return text, sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which attention, executed offline, found no run and made small ones."""
    folder = tmp_path_factory.mktemp("offline")
    unreachable = {"https_proxy": "http://127.0.0.1:9", "ATTNLIB_DATA": str(folder / "none")}
    done = execute("attention", folder, "sample", "8", **unreachable)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_attention_runs_offline_in_a_folder_without_runs(offline: Path) -> None:
    text, figures = shown(offline)
    assert figures == 8
    assert "trained DeiT-T, hard distillation from ResNet-18 on 200 digits" in text
    assert "2 prefix tokens and 4 x 4 patches" in text and "gradient" in text
    assert "ResNet-18 on scikit-learn digits" in text and "maps of layer" in text
    assert "random by" in text or "than random" in text, "what the sample can tell is said"
    assert al.list_runs(offline / "runs") == []
    assert len(al.list_runs(offline / "runs" / "small")) == 4
    assert json.loads((offline / "OUT.ipynb").read_text())["metadata"].get("widgets") is None


@pytest.mark.slow
def test_features_runs_offline_in_a_folder_without_runs(tmp_path: Path) -> None:
    done = execute("features", tmp_path, "side", "64", https_proxy="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    text, figures = shown(tmp_path)
    assert figures == 6  # one of them CKA, of the digits
    for claim in (
        "has no useless maps",
        "lies between",
        "training on hardly changes the range",
    ):
        assert claim in text
    assert al.list_runs(tmp_path / "runs") == []


@pytest.mark.slow
def test_a_run_an_image_and_a_kind_can_be_asked_for(
    tmp_path: Path, tiny_run: al.Run, offline: Path
) -> None:
    small = tmp_path / "runs" / "small"  # what stands beside the run is there, and found
    shutil.copytree(offline / "runs" / "small", small)
    before = {run.name for run in al.list_runs(small)}
    done = execute(
        "attention", tmp_path, "run", str(tiny_run.path), "image", "5", "kind", "rollout",
        "layer", "2", "sample", "4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text, _ = shown(tmp_path)
    assert "1 prefix tokens and 2 x 2 patches" in text and "distillation" not in text
    assert {run.name for run in al.list_runs(small)} == before


def test_a_wrong_parameter_stops_before_any_work(tmp_path: Path) -> None:
    done = execute("attention", tmp_path, "kind", "men")
    assert done.returncode != 0
    assert "kind: unknown value 'men'. Did you mean 'mean'? Valid:" in done.stderr
    assert not (tmp_path / "runs").exists()
