"""Downloads against a real server on this machine, with the faults that mirrors have."""

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from attnlib.data import downloads
from attnlib.data.downloads import DownloadError, cache_dir, fetch

CONTENT = bytes(range(256)) * 4000  # a megabyte: more than the sockets' buffers swallow unread
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirror(BaseHTTPRequestHandler):
    """The path's first part names the fault; ``asked`` keeps each request with its range."""

    asked: list[tuple[str, str | None]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Keep standard error for the progress under test."""

    def do_GET(self) -> None:
        """Answer with the content, whole or from the byte asked for, as the fault has it."""
        fault, asked = self.path.split("/")[1], self.headers.get("Range")
        self.asked.append((fault, asked))
        self.close_connection = True
        if fault in ("missing", "silent"):
            self.send_error(404) if fault == "missing" else time.sleep(1.5)
            return
        if fault == "late":
            time.sleep(0.8)
        if fault in ("login", "disguised"):
            self.send_page(html=fault == "login")
            return
        body = CONTENT[::-1] if fault == "wrong" else CONTENT
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "plain" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if fault != "unsized":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if fault == "drop":
            body = body[: start + 300_000]
        if fault == "slow":
            for position in range(start, start + 40):
                self.wfile.write(body[position : position + 1])
                time.sleep(0.05)
        elif fault == "stall":
            self.wfile.write(body[start : start + 1000])
            time.sleep(1.5)
        else:
            self.wfile.write(body[start:])

    def send_page(self, *, html: bool) -> None:
        """Answer as a network does that wants a password first."""
        page = b"\n <!DOCTYPE html><title>Log in</title>"
        self.send_response(200)
        if html:
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def handle(self) -> None:
        """Serve, and let a client go that has seen enough."""
        with suppress(ConnectionError):
            super().handle()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    Mirror.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def get(mirror: str, *faults: str, sha256: str | None = SHA256) -> Path:
    return fetch("a.bin", [f"{mirror}/{fault}/a.bin" for fault in faults], sha256=sha256)


def test_fetch_downloads_once_and_then_serves_the_cached_file(mirror: str, tmp_path: Path) -> None:
    first = get(mirror, "good")
    assert first == tmp_path / "a.bin" and first.read_bytes() == CONTENT
    assert get(mirror, "good") == first
    assert Mirror.asked == [("good", None)]
    assert not list(tmp_path.glob("*.part"))


def test_fetch_writes_nothing_beside_a_file_that_is_there(tmp_path: Path, mirror: str) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert get(mirror).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_fetch_checks_an_md5_too(mirror: str) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    path = fetch("a.bin", [f"{mirror}/good/a.bin"], md5=md5, folder="set")
    assert path == cache_dir() / "set" / "a.bin" and path.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="md5 " + "0" * 32):
        fetch("b.bin", [f"{mirror}/good/b.bin"], md5="0" * 32)


def test_fetch_refuses_two_hashes() -> None:
    with pytest.raises(ValueError, match="not both"):
        fetch("a.bin", [], sha256="00", md5="00")


def test_fetch_accepts_the_first_digits_of_a_hash(mirror: str) -> None:
    assert get(mirror, "good", sha256=SHA256[:8]).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_fetch_without_a_hash_takes_a_whole_answer_and_resumes_nothing(
    mirror: str, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"of another version")
    assert get(mirror, kind, sha256=None).read_bytes() == CONTENT
    assert Mirror.asked == [(kind, None)]


def test_fetch_without_a_hash_refuses_an_answer_that_breaks_off(mirror: str) -> None:
    with pytest.raises(DownloadError, match=f"broke off after 300000 of {len(CONTENT)} bytes"):
        get(mirror, "drop", sha256=None)


def test_fetch_tries_the_mirrors_in_order(mirror: str) -> None:
    assert get(mirror, "missing", "good").read_bytes() == CONTENT
    assert [fault for fault, _ in Mirror.asked] == ["missing", "good"]


def test_fetch_resumes_a_connection_that_drops_for_as_long_as_bytes_come(mirror: str) -> None:
    assert get(mirror, "drop").read_bytes() == CONTENT
    ranges = [asked for _, asked in Mirror.asked]
    assert ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_fetch_resumes_at_the_next_mirror(mirror: str) -> None:
    assert get(mirror, "drop", "good").read_bytes() == CONTENT
    assert Mirror.asked == [("drop", None), ("good", "bytes=300000-")]


def test_fetch_resumes_the_part_of_an_earlier_call(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1234])
    assert get(mirror, "good").read_bytes() == CONTENT
    assert Mirror.asked == [("good", "bytes=1234-")]


def test_fetch_begins_anew_where_the_server_has_no_ranges(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1234])
    assert get(mirror, "plain").read_bytes() == CONTENT
    assert Mirror.asked == [("plain", "bytes=1234-")]


@pytest.mark.parametrize("part", [b"x" * 1234, b"x" * len(CONTENT), b"x" * 2 * len(CONTENT)])
def test_fetch_drops_a_part_that_belongs_to_another_file(
    mirror: str, tmp_path: Path, part: bytes
) -> None:
    (tmp_path / "a.bin.part").write_bytes(part)
    assert get(mirror, "good").read_bytes() == CONTENT
    assert Mirror.asked[-1] == ("good", None)


def test_fetch_finishes_a_download_killed_just_before_its_rename(
    mirror: str, tmp_path: Path
) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert get(mirror, "good").read_bytes() == CONTENT
    assert Mirror.asked == [("good", f"bytes={len(CONTENT)}-")]


def test_fetch_leaves_a_mirror_with_wrong_bytes_for_the_next(mirror: str) -> None:
    assert get(mirror, "wrong", "good").read_bytes() == CONTENT
    assert Mirror.asked == [("wrong", None), ("good", None)]


def test_fetch_asks_a_dropping_mirror_again_after_a_wrong_one(mirror: str) -> None:
    assert get(mirror, "drop", "wrong").read_bytes() == CONTENT


def test_fetch_never_serves_wrong_bytes(mirror: str, tmp_path: Path) -> None:
    found = hashlib.sha256(CONTENT[::-1]).hexdigest()
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes with sha256 {found}"):
        get(mirror, "wrong")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin.lock"]


@pytest.mark.parametrize(("fault", "received"), [("stall", [1000]), ("slow", range(1, 30))])
def test_fetch_leaves_a_mirror_that_hardly_moves_and_keeps_its_bytes(
    mirror: str, monkeypatch: pytest.MonkeyPatch, fault: str, received: Sequence[int]
) -> None:
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(downloads, "SLOW_SECONDS", 0.4)
    assert get(mirror, fault, "good").read_bytes() == CONTENT
    assert Mirror.asked[0] == (fault, None)
    assert Mirror.asked[1] in [("good", f"bytes={count}-") for count in received]


def test_fetch_gives_up_where_a_round_of_the_mirrors_hardly_brings_a_byte(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.2)
    with pytest.raises(DownloadError, match=r"stalled for 0\.2 s\n  1000 bytes are kept"):
        get(mirror, "stall")


def test_fetch_is_patient_once_any_mirror_has_answered(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "OFFLINE_SECONDS", 0.3)
    assert get(mirror, "missing", "late").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="no answer within"):
        fetch("b.bin", [f"{mirror}/late/b.bin"], sha256=SHA256)


def test_fetch_moves_a_corrupt_cached_file_aside_and_repairs_it(
    mirror: str, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"torn")
    assert get(mirror, "good").read_bytes() == CONTENT
    assert (tmp_path / "a.bin.corrupt").read_bytes() == b"torn"


def test_fetch_names_a_corrupt_cached_file_when_it_cannot_be_repaired(
    mirror: str, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"torn")
    with pytest.raises(DownloadError) as caught:
        get(mirror, "missing")
    here = f"Put the file at {tmp_path / 'a.bin'}"
    for part in (SHA256, "4 bytes", hashlib.sha256(b"torn").hexdigest(), ".corrupt", "404", here):
        assert part in str(caught.value)
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize("fault", ["login", "disguised"])
def test_a_web_page_is_never_taken_for_the_file(
    mirror: str, tmp_path: Path, fault: str, sha256: str | None
) -> None:
    with pytest.raises(DownloadError, match="sent a web page in place of the file"):
        get(mirror, fault, sha256=sha256)
    assert not (tmp_path / "a.bin").exists()
    assert get(mirror, fault, "good", sha256=sha256).read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize("fault", ["good", "unsized"])
def test_a_file_beyond_the_limit_is_not_kept(
    mirror: str, tmp_path: Path, fault: str, sha256: str | None
) -> None:
    with pytest.raises(DownloadError, match="at most 500000 are taken"):
        fetch("a.bin", [f"{mirror}/{fault}/a.bin"], sha256=sha256, limit=500_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin.lock"]


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match="1024000 bytes are needed, 1000 are free"):
        get(mirror, "good")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin.lock"]


def test_fetch_says_what_is_kept_for_the_next_call(mirror: str) -> None:
    with pytest.raises(DownloadError, match=r"no mirror is known\nPut the file"):
        fetch("a.bin", [], sha256=SHA256)
    (cache_dir() / "a.bin.part").write_bytes(CONTENT[:77])
    with pytest.raises(DownloadError, match=r"77 bytes are kept in a\.bin\.part"):
        get(mirror, "missing")


def test_offline_all_mirrors_share_one_patience(
    mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert downloads.OFFLINE_SECONDS < 5
    monkeypatch.setattr(downloads, "OFFLINE_SECONDS", 1.2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}/a.bin"
        unknown = "http://no-such-host.invalid/a.bin"
        silent = [f"{mirror}/silent/{n}" for n in range(4)]
        with pytest.raises(DownloadError) as caught:
            fetch("a.bin", [unknown, refused, *silent], sha256=SHA256)
    told = str(caught.value)
    assert all(url in told for url in (unknown, refused, *silent))
    waited = [float(seconds) for seconds in re.findall(r"no answer within ([\d.]+) s", told)]
    assert len(waited) == 4 and told.count("no connection") == 2
    assert sum(waited) <= 1.2 + 4 * 0.05  # they are rounded


def test_fetch_names_a_cache_that_cannot_be_written(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot be written to .*file.*ATTNLIB_DATA"):
        get(mirror, "good")


def test_progress_counts_up_to_the_whole_and_from_the_resumed_byte(mirror: str) -> None:
    seen: list[tuple[int, int | None]] = []
    (cache_dir() / "a.bin.part").write_bytes(CONTENT[:1000])
    url = f"{mirror}/good/a.bin"
    fetch("a.bin", [url], sha256=SHA256, progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] > 1000 and seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_progress_is_plain_lines_where_standard_error_is_no_terminal(
    mirror: str, capsys: pytest.CaptureFixture[str]
) -> None:
    get(mirror, "good")
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 2 and lines[-1] == "a.bin: 1.0 of 1.0 MB"


def test_progress_is_one_bar_in_a_terminal(
    mirror: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    get(mirror, "good")
    assert re.search(r"\ra\.bin \[#{20}\] 1\.0 of 1\.0 MB\n$", capsys.readouterr().err)


def test_processes_that_fetch_at_once_share_one_download(mirror: str) -> None:
    module = f"runpy.run_path({downloads.__file__!r})"  # by itself: the package brings torch
    code = f"import runpy; {module}['fetch']('a.bin', ['{mirror}/drop/'], sha256='{SHA256}')"
    running = [subprocess.Popen([sys.executable, "-c", code], env=os.environ) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(Mirror.asked) == 4  # the ranges of one download that drops three times


def test_cache_dir_reads_the_environment_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("ATTNLIB_DATA", "~/data")
    assert cache_dir() == Path.home() / "data"
    monkeypatch.delenv("ATTNLIB_DATA")
    assert cache_dir().name == "attnlib"
