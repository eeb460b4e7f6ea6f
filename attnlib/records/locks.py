"""Locks of run folders: one process per run, released when that process ends."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from attnlib.training.failures import storage_faults


class RunLockedError(ValueError):
    """Another process is training the run."""


@contextmanager
def lock_run(path: Path, note: Callable[[str], object] = lambda _: None) -> Iterator[None]:
    """Lock the run folder ``path`` inside the ``with`` block.

    The operating system releases the lock when its holder ends, in whatever way, so such a holder's
    run is taken over at once and ``note`` is called. The lock is next to the run folder, in
    ``.locks``, so a folder that is kept or copied has none.

    Raises:
        RunLockedError: If another process holds it; the message names that process.
        StorageError: If the lock can't be created.
    """
    folder = path.parent / ".locks"
    lock, holder = FileLock(folder / f"{path.name}.lock"), folder / f"{path.name}.json"
    with storage_faults(path.parent):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise RunLockedError(
                f"{path} is being trained by {_describe(holder)}. Wait for it, stop it, or choose "
                "another runs_dir."
            ) from None
    try:
        if holder.exists():
            note(f"taking over from {_describe(holder)}, which ended without saying so")
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with storage_faults(path.parent):
            holder.write_text(json.dumps(me), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {known['pid']} on {known['host']} (since {known['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has the lock but has not written its name yet


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
