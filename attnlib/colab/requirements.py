"""Installation of attnlib's requirements in Colab or any Jupyter, without changing what is there.

The notebooks' bootstrap cell runs this file by path, after ``pip install --no-deps attnlib``, when
attnlib can't be imported yet. Every Jupyter kernel has the package packaging.
"""

import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


def installed_versions() -> dict[str, str]:
    """Versions of installed packages, by normalised name, as pip sees them.

    If a name is found twice, the first on the path counts, whatever its spelling. Metadata
    that can't be read are ignored.
    """
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        with suppress(TypeError, ValueError, KeyError):
            facts = cast(Message, distribution.metadata)
            versions.setdefault(
                canonicalize_name(facts.get("Name", "")), facts.get("Version", "none")
            )
    return versions


def make_pins(versions: Mapping[str, str]) -> str:
    """A line ``name==version`` for each version that pip accepts, as others make it fail."""
    lines = []
    for name, version in versions.items():
        with suppress(InvalidRequirement):
            lines.append(str(Requirement(f"{name}=={version}")))
    return "\n".join(lines)


def add_requirements() -> None:
    """Install missing requirements of attnlib without changing installed versions.

    Raises:
        SystemExit: If an installed version conflicts with attnlib, or pip can't install the rest.
    """
    versions = installed_versions()
    needed = [Requirement(line) for line in metadata.requires("attnlib") or []]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in needed:
        there = versions.get(canonicalize_name(requirement.name), "none")
        with suppress(InvalidVersion):
            if not requirement.specifier.contains(Version(there), prereleases=True):
                sys.exit(
                    f"attnlib needs {requirement}. Here is {there}, which is left as it is: choose "
                    "a newer runtime (in Colab: Runtime, Change runtime type)."
                )
    with TemporaryDirectory() as folder:
        pins = Path(folder, "there.txt")
        pins.write_text(make_pins(versions), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "-c", str(pins)]
        done = subprocess.run([*command, *map(str, needed)])
    sys.exit(done.returncode)


if __name__ == "__main__":
    add_requirements()
