"""Downloads from mirrors in order, resumed after interruptions, checked by hash and cached.

Not pooch, which neither resumes nor gives up a slow mirror for the next.
"""

import errno
import functools
import hashlib
import os
import queue
import shutil
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

ReportBytes = Callable[[int, int | None], None]  # bytes so far, total bytes if known

DOWNLOAD_CHUNK = 1 << 16  # bytes
OFFLINE_SECONDS = 4.0  # without a word from any mirror, over all of them
STALL_SECONDS = 20.0  # without a byte
SLOW_RATE = 30_000  # bytes per second, over SLOW_SECONDS; a slower mirror is given up for the next
SLOW_SECONDS = 20.0
LIMIT_BYTES = 4 * 2**30  # of a file; the largest that attnlib downloads has 1.2 GB
PAGE = "sent a web page in place of the file, to log in perhaps"
PAGE_STARTS = (b"<!doctype html", b"<html")
REPORT_SECONDS = 10.0  # between two lines if standard error is not a terminal


class DownloadError(OSError):
    """A file is neither cached nor downloadable; says what was tried and what to do."""

    def __init__(self, message: str) -> None:
        # File names may hold bytes that terminals can't encode.
        super().__init__(message.encode("utf-8", "backslashreplace").decode())


class _MirrorError(Exception):
    """One mirror failed: ``silent`` if it did not answer, ``gone`` if permanently."""

    def __init__(self, reason: str, *, silent: bool = False, gone: bool = False) -> None:
        super().__init__(reason)
        self.silent, self.gone = silent, gone


@dataclass(frozen=True)
class _Digest:
    """The hash that a file must have, or its first digits, and its maximum size."""

    algorithm: str
    value: str
    limit: int  # maximum bytes of the file

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}" if self.value else "no hash is known"

    def of(self, path: Path) -> str:
        """The hash of the file at ``path``, by the same algorithm."""
        if not self.value:
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, self._new).hexdigest()

    def _new(self) -> "hashlib._Hash":
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def fits(self, found: str) -> bool:
        """Whether ``found`` is the expected hash."""
        return found.startswith(self.value)


def cache_dir() -> Path:
    """Root of the download cache: ``ATTNLIB_DATA``, else the platform's cache folder."""
    if root := os.environ.get("ATTNLIB_DATA"):
        return Path(root).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("attnlib"))


def fetch(
    file: str,
    urls: Sequence[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    folder: str = "",
    progress: ReportBytes | None = None,
    limit: int = LIMIT_BYTES,
) -> Path:
    """Path of a cached file with the right hash, downloaded first if necessary.

    An interrupted download is kept as ``FILE.part`` and resumed from the next mirror or
    at the next call. It is renamed to ``FILE`` once its hash is verified. Several processes
    may call this at once: one downloads, the others wait.

    Args:
        file: Name in the cache.
        urls: The same bytes at several mirrors, best first.
        sha256: The hash the file must have, or its first digits. Without any hash, a whole answer
            of the mirror is trusted, and nothing is resumed.
        md5: Instead of ``sha256``, if nothing better is published.
        folder: Folder of the file below ``cache_dir()``.
        progress: Called with the bytes so far and in total (None if the mirror doesn't say);
            by default a line on standard error.
        limit: Maximum bytes of the file.

    Returns:
        The complete and verified file.

    Raises:
        ValueError: If both hashes are given.
        DownloadError: If no mirror has the file; without a network within five seconds.
    """
    if sha256 and md5:
        raise ValueError(f"{file}: sha256 or md5 is needed, not both; found {sha256}, {md5}")
    digest = _Digest("md5", md5, limit) if md5 else _Digest("sha256", sha256 or "", limit)
    path = cache_dir() / folder / file
    if path.is_file() and digest.fits(digest.of(path)):
        return path
    from filelock import FileLock  # torch's own dependency

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            _download(path, urls, digest, progress or _Report(file))
    except DownloadError:
        raise
    except OSError as error:  # disk full, read-only, a folder in the way
        raise DownloadError(
            f"{file} cannot be written to {path.parent}: {error}; free space there, or set "
            f"ATTNLIB_DATA to another folder"
        ) from error
    return path


def _download(path: Path, urls: Sequence[str], digest: _Digest, progress: ReportBytes) -> None:
    """Go through the mirrors until the file is verified or a whole round brings no data."""
    notes: list[str] = []
    if path.is_file():
        if digest.fits(found := digest.of(path)):
            return  # another process was faster
        corrupt = path.with_name(f"{path.name}.corrupt")
        notes.append(
            f"the cached file, {_size(path)} bytes, had {digest.algorithm} {found}; "
            f"it is now {corrupt.name}"
        )
        os.replace(path, corrupt)
    part = path.with_name(f"{path.name}.part")
    reasons: dict[str, str] = {}
    left, furthest = list(urls), -DOWNLOAD_CHUNK
    deadline, online = time.monotonic() + OFFLINE_SECONDS, False
    while left and _size(part) >= furthest + DOWNLOAD_CHUNK:
        furthest = _size(part)
        for still, url in zip(range(len(left), 0, -1), tuple(left), strict=True):
            share = max(0.1, (deadline - time.monotonic()) / still)  # of the remaining patience
            try:
                _complete(url, part, digest, STALL_SECONDS if online else share, progress)
            except _MirrorError as error:
                reasons[url] = str(error)
                online = online or not error.silent
                if error.gone:
                    left.remove(url)
                    furthest = -DOWNLOAD_CHUNK
            else:
                _move(part, path)
                return
    notes += [f"{url}: {reason}" for url, reason in reasons.items()] or ["no mirror is known"]
    if digest.value and _size(part):
        notes.append(
            f"{_size(part)} bytes are kept in {part.name}, and the next call goes on there"
        )
    raise DownloadError(
        "\n  ".join((f"{path.name} ({digest}) cannot be downloaded:", *notes))
        + f"\nPut the file at {path} by hand, or set ATTNLIB_DATA to a cache that holds it."
    )


def _complete(
    url: str, part: Path, digest: _Digest, patience: float, progress: ReportBytes
) -> None:
    """Complete ``part``; if its hash is then wrong, start over once."""
    if not digest.value:
        part.unlink(missing_ok=True)
    resumed = True
    while resumed:
        resumed = _size(part) > 0
        _transfer(url, part, patience, progress, digest.limit)
        found, size = digest.of(part), _size(part)
        if digest.fits(found):
            return
        part.unlink()
    raise _MirrorError(
        f"sent another file: {size} bytes with {digest.algorithm} {found}", gone=True
    )


def _transfer(url: str, part: Path, patience: float, progress: ReportBytes, limit: int) -> None:
    """Append what is missing of ``part``, or rewrite it if the server doesn't support ranges."""
    done = _size(part)
    response = _open(url, done, patience)
    if response is None:  # nothing is missing
        return
    with response:
        if response.status == 206:
            start, _, size = response.headers.get("Content-Range", "").partition("/")
            if not start.startswith(f"bytes {done}-"):
                raise _MirrorError(f"sent another range: {start!r}", gone=True)
        else:
            done, size = 0, response.headers.get("Content-Length", "")
        total = int(size) if size.isdigit() else None
        if total is not None:
            _refuse_large(part, total, limit)
            if (free := shutil.disk_usage(part.parent).free) < total - done:
                told = f"{total - done} bytes are needed, {free} are free"
                raise OSError(errno.ENOSPC, told, str(part.parent))
        if done == 0 and response.headers.get_content_type() == "text/html":
            raise _MirrorError(PAGE, gone=True)
        with part.open("ab" if done else "wb") as stream:
            began, base = time.monotonic(), done
            while chunk := _read(response):
                if done == 0 and chunk.lstrip()[:20].lower().startswith(PAGE_STARTS):
                    raise _MirrorError(PAGE, gone=True)
                _refuse_large(part, done + len(chunk), limit)
                stream.write(chunk)
                done += len(chunk)
                progress(done, total)
                seconds = time.monotonic() - began
                if seconds >= SLOW_SECONDS:
                    if done - base < SLOW_RATE * seconds:
                        raise _MirrorError(f"slower than {SLOW_RATE / 1000:g} kB/s")
                    began, base = time.monotonic(), done
    if total is not None and done < total:
        raise _MirrorError(f"broke off after {done} of {total} bytes")


def _refuse_large(part: Path, size: int, limit: int) -> None:
    if size > limit:
        part.unlink(missing_ok=True)
        raise _MirrorError(f"sent {size} bytes or more; at most {limit} are taken", gone=True)


def _open(url: str, offset: int, patience: float) -> HTTPResponse | None:
    """The server's answer from byte ``offset`` on; None if the file ends there.

    Asked in a thread, as name servers and hosts with many addresses ignore timeouts.
    """
    context = _certificates()
    headers = {"User-Agent": "attnlib"} | ({"Range": f"bytes={offset}-"} if offset else {})
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            request = Request(url, headers=headers)
            answers.put(urlopen(request, timeout=STALL_SECONDS, context=context))
        except Exception as error:  # passed to the caller's thread, whatever it is
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience)
    except queue.Empty:
        raise _MirrorError(f"no answer within {patience:.1f} s", silent=True) from None
    if isinstance(answer, HTTPError):
        answer.close()
        if answer.code == 416 and offset:
            return None
        raise _MirrorError(f"HTTP {answer.code} {answer.reason}", gone=True) from answer
    if isinstance(answer, Exception):
        reason = answer.reason if isinstance(answer, URLError) else answer
        raise _MirrorError(f"no connection: {reason}", silent=True) from answer
    return answer


@functools.cache
def _certificates() -> ssl.SSLContext:
    import certifi  # some Pythons don't find the system's certificates

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(DOWNLOAD_CHUNK)
    except TimeoutError as error:
        raise _MirrorError(f"stalled for {STALL_SECONDS:g} s") from error
    except (OSError, HTTPException) as error:
        raise _MirrorError(f"broke off: {error}") from error


def _move(part: Path, path: Path) -> None:
    """Rename so that neither a kill nor a power cut leaves a partial file under the final name."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Report:
    """Reports progress on standard error: a bar in a terminal, else a line every few seconds."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.next = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if now < self.next and done != total:
            return
        self.next = now + (0.2 if terminal else REPORT_SECONDS)
        size = f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total else " MB")
        if terminal:
            bar = "#" * (20 * done // total) if total else ""
            sys.stderr.write(f"\r{self.file} [{bar:20}] {size}" + "\n" * (done == total))
        else:
            sys.stderr.write(f"{self.file}: {size}\n")
        sys.stderr.flush()
