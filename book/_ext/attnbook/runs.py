"""The finished runs that the book shows, and which folders it leaves out and why.

A folder may hold anything: copies, partial files, foreign records. What would break a page is
left out, with the reason.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from attnlib.records.answers import read_answers
from attnlib.records.find import Found, read_runs
from attnlib.records.run import Run

# A run's name is that of its page and of a target in it; MyST allows targets of 100 characters.
NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,90}", re.ASCII)


def shown_runs(*folders: Path) -> Found:
    """The finished runs in ``folders`` that pages can be made of, and those left out."""
    read = read_runs(*folders)
    shown: list[Run] = []
    left_out = dict(read.left_out)
    for run in sorted(read.runs, key=lambda run: run.name.swapcase()):  # lower case first
        try:
            check(run, [other.name for other in shown])
        except (ValueError, OSError) as fault:
            left_out["/".join(run.path.parts[-2:])] = str(fault)
        else:
            shown.append(run)
    return Found(sorted(shown, key=lambda run: run.name), left_out)


def check(run: Run, others: Iterable[str] = ()) -> None:
    """Check that pages can be made of ``run``, beside runs called ``others``.

    Raises:
        ValueError: Saying what is wrong with it.
    """
    if not NAME.fullmatch(run.name):
        raise ValueError("its name can't be that of a page")
    for other in others:
        if other.lower() == run.name.lower():
            raise ValueError(f"its name differs from {other} in capitals alone")
    if not run.title.strip():
        raise ValueError("it has no title")
    check_arrays(run.path)
    if (run.path / "predictions.npz").exists():
        read_answers(run)


def check_arrays(folder: Path) -> None:
    """Read every array file of a run.

    Raises:
        ValueError: Naming a damaged file.
    """
    for path in sorted(folder.glob("*.npz")):
        try:
            with zipfile.ZipFile(path) as archive:
                torn = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as fault:
            raise ValueError(f"{path.name} is torn: {fault}") from fault
        if torn is not None:
            raise ValueError(f"{path.name} is torn: {torn}")
