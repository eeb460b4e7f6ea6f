"""The bootstrap cell adds attnlib to what Colab has, whatever its state, and changes nothing."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import packaging
import pip
import pytest

ROOT = Path(__file__).parents[2]
TRAIN = json.loads((ROOT / "notebooks" / "train.ipynb").read_text())
(CELL,) = ("".join(cell["source"]) for cell in TRAIN["cells"]
           if "bootstrap" in cell["metadata"].get("tags", []))  # fmt: skip
SCRIPT = Path("attnlib", "colab", "requirements.py")
# What Colab has and attnlib needs; torch's version is one that no index offers.
VERSIONS = {
    "torch": "2.11.0+cu126", "torchvision": "0.26.0+cu126", "timm": "1.0.28", "numpy": "2.1.3",
    "pandas": "2.2.3", "scipy": "1.16.3", "scikit-learn": "1.6.1", "matplotlib": "3.10.0",
    "pillow": "11.3.0", "safetensors": "0.7.0", "platformdirs": "4.3.8", "tqdm": "4.67.3",
    "filelock": "3.20.3", "certifi": "2026.1.4", "packaging": "25.0", "pyparsing": "3.3.2",
}  # fmt: skip


def metadata_of(name: str, version: str, *needs: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""])


def installed(site: Path, stem: str, text: str | bytes, file: str = "METADATA") -> Path:
    """Write the metadata of an installed distribution; of an egg's if ``file`` is PKG-INFO."""
    folder = site / f"{stem}.{'dist' if file == 'METADATA' else 'egg'}-info"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def wheel(folder: Path, name: str, version: str, *needs: str, **files: str) -> Path:
    """A wheel without code but ``files``, by their places in its package."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {f"{name}/{place}": text for place, text in ({"__init__.py": ""} | files).items()}
    files[f"{info}/METADATA"] = metadata_of(name, version, *needs)
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


class Colab:
    """A Python with Colab's packages, or rather their metadata, an index, and a working folder."""

    def __init__(self, root: Path) -> None:
        self.work, self.first, self.system, self.index = (
            root / name for name in ("content", "dist-packages", "system", "index")
        )
        for folder in (self.work, self.first, self.system, self.index):
            folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
        self.python = str(root / "venv" / "bin" / "python")
        (site,) = (root / "venv").glob("lib/python*/site-packages")
        (site / "colab.pth").write_text(f"{self.first}\n{self.system}\n")
        for name, version in VERSIONS.items():
            installed(self.first, f"{name.replace('-', '_')}-{version}", metadata_of(name, version))
        for module in (packaging, pip):
            (self.first / module.__name__).symlink_to(Path(module.__file__).parent)
        needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        script = {"colab/requirements.py": (ROOT / SCRIPT).read_text()}
        self.wheel = wheel(self.index, "attnlib", "9.9", *needs, **script)
        wheel(self.index, "captum", "0.9.0", "numpy", "torch>=1.10", "matplotlib", "packaging")
        wheel(self.index, "shtab", "1.13.0")
        for newer in ("torch", "numpy", "pandas", "pyparsing"):  # which must tempt nobody
            wheel(self.index, newer, "99.0")

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``script`` in the working folder, which comes first on the path as in a kernel."""
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        pip = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_CONFIG_FILE": os.devnull,
        }
        given = {"ATTNLIB_SOURCE": str(self.wheel), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return subprocess.run(
            [self.python, "-c", script], cwd=self.work, env=inherited | pip | given | environment,
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    def versions(self) -> dict[str, str]:
        """Versions of what is installed here and can be read; the first on the path counts."""
        script = (
            "import json\nfrom importlib import metadata\nfound = {}\n"
            "for d in metadata.distributions():\n"
            "    try: found.setdefault(d.metadata['Name'].lower(), d.version)\n"
            "    except Exception: pass\n"
            "print(json.dumps(found))"
        )
        return json.loads(self.run(script).stdout)


@pytest.fixture
def colab(tmp_path: Path) -> Colab:
    return Colab(tmp_path)


def nothing_else(colab: Colab) -> None:
    """Colab as it should be."""


def shadowed_versions(colab: Colab) -> None:
    """Debian's older packages behind Colab's."""
    installed(colab.system, "pyparsing-2.4.7", metadata_of("pyparsing", "2.4.7"), "PKG-INFO")
    installed(colab.system, "numpy-1.21.5", metadata_of("numpy", "1.21.5"))


def two_spellings(colab: Colab) -> None:
    installed(colab.system, "Scikit_Learn-0.23.2", metadata_of("Scikit_Learn", "0.23.2"))
    installed(colab.system, "Pillow-9.0.1", metadata_of("Pillow", "9.0.1"), "PKG-INFO")
    for site, name, version in (
        (colab.first, "ruamel.yaml", "2"),
        (colab.system, "ruamel-yaml", "1"),
    ):
        installed(site, f"{name}-{version}", metadata_of(name, version))


def metadata_that_lacks_its_name(colab: Colab) -> None:
    installed(colab.system, "nameless-1.0", "Metadata-Version: 2.1\nVersion: 1.0\n")
    installed(colab.system, "odd name-1.0", metadata_of("odd name", "1.0"))
    installed(colab.system, "~umpy-1.0", metadata_of("~umpy", "1.0"))
    installed(colab.system, "empty-1.0", "")
    (colab.system / "folder-1.0.dist-info").mkdir()


def metadata_that_lacks_its_version(colab: Colab) -> None:
    installed(colab.system, "unversioned", "Metadata-Version: 2.1\nName: unversioned\n", "PKG-INFO")
    installed(colab.system, "custom-1", metadata_of("custom", "1.0-custom"))
    installed(colab.system, "wordy-1", metadata_of("wordy", "not a version"), "PKG-INFO")


def a_broken_package_before_a_whole_one(colab: Colab) -> None:
    """Pip sees the first: the second's version must not be asked for."""
    installed(colab.first, "broken-1.0", "Metadata-Version: 2.1\nName: broken\n")
    installed(colab.system, "broken-0.5", metadata_of("broken", "0.5"))


def editable_and_from_an_address(colab: Colab) -> None:
    address = "https://example.org/model-3.0.whl"
    info = installed(colab.first, "model-3.0", metadata_of("model", "3.0", f"torch @ {address}"))
    (info / "direct_url.json").write_text(json.dumps({"url": address, "archive_info": {}}))
    info = installed(colab.first, "mine-0.1.dev0+g12ab", metadata_of("mine", "0.1.dev0+g12ab"))
    editable = {"url": colab.work.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(editable))


def a_clone_in_the_working_folder(colab: Colab) -> None:
    (colab.work / "attnlib" / "attnlib").mkdir(parents=True)
    (colab.work / "attnlib" / "attnlib" / "__init__.py").touch()


def another_folder_of_that_name(colab: Colab) -> None:
    (colab.work / "attnlib").mkdir()


def an_attnlib_whose_code_is_gone(colab: Colab) -> None:
    """Installed as editable from a folder that is no longer there."""
    installed(colab.first, "attnlib-0.0.1", metadata_of("attnlib", "0.0.1"))


def an_attnlib_without_its_requirements(colab: Colab) -> None:
    """An earlier cell's ``pip install --no-deps``, or this one's, cut off in the middle."""
    words = "'install', '-q', '--no-deps', os.environ['ATTNLIB_SOURCE']"
    script = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', {words}])"
    done = colab.run(script)
    assert done.returncode == 0 and colab.versions()["attnlib"] == "9.9", done.stderr


SITUATIONS = [
    nothing_else, shadowed_versions, two_spellings, metadata_that_lacks_its_name,
    metadata_that_lacks_its_version, a_broken_package_before_a_whole_one,
    editable_and_from_an_address, a_clone_in_the_working_folder, another_folder_of_that_name,
    an_attnlib_whose_code_is_gone, an_attnlib_without_its_requirements,
]  # fmt: skip
FOUND = "\nimport attnlib, captum; print('found', attnlib.__file__)"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_bootstrap_cell_adds_attnlib_and_changes_no_version(
    colab: Colab, situation: Callable[[Colab], None]
):
    situation(colab)
    before = {k: v for k, v in colab.versions().items() if k not in ("attnlib", "captum")}
    done = colab.run(CELL + FOUND)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("found ") and done.stdout.endswith("attnlib/__init__.py\n")
    after = colab.versions()
    assert (after["attnlib"], after["captum"]) == ("9.9", "0.9.0")
    assert {name: after[name] for name in before} == before


def test_in_the_folder_of_a_clone_its_own_code_gets_what_it_needs(colab: Colab):
    package = colab.work / "attnlib"
    (package / "colab").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(ROOT / SCRIPT, package / "colab")
    done = colab.run(CELL + FOUND)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"found {package / '__init__.py'}\n"


def test_a_second_run_of_the_cell_needs_neither_pip_nor_network(colab: Colab):
    assert colab.run(CELL).returncode == 0
    again = colab.run(CELL.replace('"pip"', '"no_such_module"') + FOUND, PIP_FIND_LINKS="")
    assert again.returncode == 0, again.stderr


def test_a_namespace_that_was_imported_before_gives_way(colab: Colab):
    a_clone_in_the_working_folder(colab)
    done = colab.run("import attnlib\nassert attnlib.__file__ is None\n" + CELL + FOUND)
    assert done.returncode == 0, done.stderr


def test_without_a_network_the_cell_says_what_could_not_be_had_and_works_later(colab: Colab):
    done = colab.run(CELL, ATTNLIB_SOURCE="git+https://127.0.0.1:9/attnlib")
    assert done.returncode != 0 and "127.0.0.1:9" in done.stderr
    (captum,) = colab.index.glob("captum-*.whl")
    hidden = captum.rename(captum.with_suffix(".hidden"))
    done = colab.run(CELL)  # attnlib came, and then the network went
    assert done.returncode != 0 and "captum" in done.stderr
    hidden.rename(captum)
    done = colab.run(CELL + FOUND)
    assert done.returncode == 0, done.stderr


def test_what_attnlib_can_not_live_with_is_told_and_left_as_it_is(colab: Colab):
    shutil.rmtree(next(colab.first.glob("numpy-*")))
    installed(colab.first, "numpy-1.20.0", metadata_of("numpy", "1.20.0"))
    done = colab.run(CELL)
    assert done.returncode != 0
    assert "attnlib needs numpy>=1.26. Here is 1.20.0, which is left as it is" in done.stderr
    assert colab.versions()["numpy"] == "1.20.0"


def test_the_cell_leaves_no_file_in_the_working_folder(colab: Colab):
    assert colab.run(CELL).returncode == 0
    assert list(colab.work.iterdir()) == []
