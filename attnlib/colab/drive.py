"""Google Drive in Colab, where runs outlast the virtual machine."""

import importlib
import os
import sys
from pathlib import Path

DRIVE = Path("/content/drive")  # where Colab's own button also mounts it
DRIVE_SAVE_SECONDS = 1800.0  # minimum time between two states, as Drive's trash keeps replaced ones


def on_drive(runs_dir: str) -> str:
    """``runs_dir`` as a folder of Google Drive.

    Raises:
        ValueError: Outside Colab's notebooks, or if ``runs_dir`` is outside Drive.
    """
    if "google.colab" not in sys.modules:  # loaded in Colab's kernel, but not in its terminal
        raise ValueError(
            "drive: Google Drive can be mounted in a notebook of Colab alone. Elsewhere leave "
            "drive out; runs_dir says where runs are written."
        )
    home = DRIVE / "MyDrive" / "attnlib"
    path = Path(os.path.normpath(home / runs_dir))
    if not path.is_relative_to(DRIVE / "MyDrive"):
        raise ValueError(
            f"runs_dir: with drive expected a folder below {home}, as 'runs' is; got {runs_dir!r}."
        )
    return str(path)


def mount_drive() -> None:
    """Mount Google Drive unless it is mounted; Colab asks for permission."""
    importlib.import_module("google.colab.drive").mount(str(DRIVE))
