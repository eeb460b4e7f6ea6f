"""Where a result comes from: versions, commit, device and time, and JSON written whole."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from attnlib.records import provenance
from attnlib.records.provenance import (
    describe_device,
    describe_git,
    describe_versions,
    json_bytes,
    now,
    threads_of,
    write_json,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A package in a repository of its own, with the module's place in it."""
    package = tmp_path / "project" / "package"
    (package / "records").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "losses.py").write_text("one = 1\n")
    git(tmp_path, "init", "-q", "project")
    git(tmp_path / "project", "add", "-A")
    git(tmp_path / "project", "commit", "-qm", "First")
    monkeypatch.setattr(provenance, "__file__", str(package / "records" / "provenance.py"))
    return package


def test_git_tells_the_commit_and_that_nothing_has_changed(checkout):
    assert describe_git() == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_a_change_anywhere_in_the_package_is_told(checkout):
    (checkout / "losses.py").write_text("one = 2\n")
    assert describe_git()["dirty"] is True


def test_changes_outside_the_package_and_new_files_do_not_count(checkout):
    (checkout.parent / "README.md").write_text("more")
    (checkout / "notes.txt").write_text("of the author")
    assert describe_git()["dirty"] is False


def test_a_package_that_is_not_committed_has_no_commit(checkout):
    """As when it is installed below somebody else's repository."""
    git(checkout, "rm", "-q", "--cached", "__init__.py")
    assert describe_git() == {"commit": None, "dirty": None}


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert describe_git() == {"commit": None, "dirty": None}


def test_versions_are_those_in_use_and_what_lacks_is_said(monkeypatch):
    versions = describe_versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert list(versions)[1:] == list(provenance.PACKAGES)
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert describe_versions()["no-such-package"] == "not installed"


def test_device_is_named_with_its_threads():
    device = describe_device("cpu")
    assert device["type"] == "cpu" and device["name"]
    assert device["threads"] == torch.get_num_threads()
    assert (threads_of(1), threads_of(2)) == ("1 thread", "2 threads")


def test_time_is_in_utc_with_whole_seconds():
    told = datetime.fromisoformat(now())
    assert told.tzinfo == UTC and told.microsecond == 0
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60


def test_json_is_text_for_people_that_ends_with_a_line(tmp_path):
    content = {"name": "\N{LATIN SMALL LETTER C WITH CARON}", "values": [1, 2.5, None]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content and text.endswith("}\n")
    assert "\N{LATIN SMALL LETTER C WITH CARON}" in text
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert (tmp_path / "a.json").read_bytes() == json_bytes(1)
