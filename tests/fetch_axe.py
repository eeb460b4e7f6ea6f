"""Fetch axe-core, which checks the built pages for accessibility, into the test environment.

``make test`` calls it. The book itself never holds or loads it. ``NPM_CONFIG_REGISTRY`` names
another registry, as it does for npm.
"""

import argparse
import os
import tarfile
from pathlib import Path

import pooch

VERSION = "4.14.1"
SHA512 = (
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
)
SCRIPT = Path(__file__).resolve().parents[1] / ".venv" / f"axe-{VERSION}.min.js"


def fetch(script: Path) -> None:
    """Write the script that the package of that version and hash holds."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    archive = pooch.retrieve(
        f"{registry}/axe-core/-/axe-core-{VERSION}.tgz",
        known_hash=f"sha512:{SHA512}",
        path=script.parent,
        fname=f"axe-core-{VERSION}.tgz",
    )
    with tarfile.open(archive) as package:
        content = package.extractfile("package/axe.min.js")
        assert content is not None
        script.write_bytes(content.read())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    fetch(SCRIPT)
