"""Provenance of results: versions, commit, device and time."""

import importlib.metadata
import json
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnlib.atomic import write_atomically

PACKAGES = ("attnlib", "torch", "torchvision", "timm", "numpy", "Pillow", "scikit-learn")


def commit_words(commit: str | None, dirty: bool | None, digits: int = 40) -> str:
    """A commit of attnlib in words: its first ``digits``, and whether there were changes."""
    if commit is None:
        return "none: not run from a repository"
    return commit[:digits] + (", with uncommitted changes" if dirty else "")


def threads_of(threads: int) -> str:
    """The number of threads, in words."""
    return f"{threads} thread{'s' * (threads != 1)}"


def json_bytes(content: Any) -> bytes:
    """Indented JSON as bytes."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_atomically(path, json_bytes(content))


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect a result."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_git() -> dict[str, Any]:
    """Commit of attnlib's checkout and whether it has changes; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(dirty)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def describe_device(device: str) -> dict[str, Any]:
    """The device that the run used."""
    import torch  # takes seconds, and those who read a record do without

    name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    elif (cpu := Path("/proc/cpuinfo")).exists():
        models = re.findall(r"model name\s*: (.+)", cpu.read_text())
        name = models[0] if models else name
    return {"type": device.split(":")[0], "name": name, "threads": torch.get_num_threads()}
