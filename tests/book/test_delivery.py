"""How the book reaches readers: served, as an archive with checksums, by the workflows."""

import hashlib
import importlib.util
import re
import sys
import threading
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


sys.path.insert(0, str(ROOT / "book"))
import tidy_epub  # noqa: E402


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_both_workflows_are_there():
    assert [path.stem for path in WORKFLOWS] == ["colab", "pages"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_whole(path: Path):
    workflow = read(path)
    assert workflow["name"] and workflow[True]  # YAML reads the key `on` as true
    assert "permissions" in workflow, "a workflow says what it may do"
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] and job["steps"], name
        needs = job.get("needs", [])
        assert {needs} if isinstance(needs, str) else set(needs) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"]), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_calls_targets_and_notebooks_that_exist(path: Path):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))
    called = "\n".join(step.get("run", "") for step in steps(read(path)))
    assert set(re.findall(r"\bmake ([\w-]+)", called)) <= targets
    for names in re.findall(r"for notebook in ([\w ]+);", called):
        there = {notebook.stem for notebook in (ROOT / "notebooks").glob("*.ipynb")}
        assert set(names.split()) == there, "the weekly run leaves out a notebook"


def test_every_documented_target_of_make_exists():
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "book/reproduce.md"):
        blocks = re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        named = set(re.findall(r"^make ([\w-]+)", "\n".join(blocks), re.MULTILINE))
        assert {"book", "test", "serve", "pdf", "epub"} <= named <= targets, name


def test_archive_holds_the_pages_and_its_checksums_hold(tmp_path: Path):
    (tmp_path / "html" / "runs").mkdir(parents=True)
    (tmp_path / "html" / "intro.html").write_text("<h1>Introduction</h1>")
    (tmp_path / "html" / "runs" / "train.html").write_text("<h1>Train</h1>")
    (tmp_path / "pdf").mkdir()
    (tmp_path / "pdf" / "attnlib.pdf").write_bytes(b"%PDF-")
    make_archive = load("make_archive").make_archive
    out = make_archive(tmp_path)
    with zipfile.ZipFile(out / "attnlib-html.zip") as archive:
        assert sorted(archive.namelist()) == ["attnlib/intro.html", "attnlib/runs/train.html"]
    lines = (out / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {"attnlib-html.zip", "attnlib.pdf"}
    for name, digest in sums.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert (make_archive(tmp_path) / "SHA256SUMS").read_text().splitlines() == lines


def test_served_book_is_the_built_one_even_where_the_port_is_taken(tmp_path: Path):
    (tmp_path / "index.html").write_text("the book")
    serve = load("serve").serve
    first = serve(tmp_path, 0)
    second = serve(tmp_path, first.server_port)
    assert second.server_port != first.server_port
    threading.Thread(target=second.serve_forever, daemon=True).start()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{second.server_port}/") as answer:
        assert answer.read() == b"the book"
    second.shutdown()
    for server in (first, second):
        server.server_close()


def test_epub_configuration_is_the_books_own_but_for_the_buttons():
    config = read(ROOT / "_config.yml")
    epub = load("make_prints").without_buttons(config)
    assert "launch_buttons" not in epub and "launch_buttons" in config
    assert epub["title"] == config["title"]
    assert epub["sphinx"]["config"]["extensions"] == config["sphinx"]["config"]["extensions"]
    places = epub["sphinx"]["local_extensions"].values()
    assert all(Path(place).is_dir() and Path(place).is_absolute() for place in places)


def test_bookmarks_say_a_heading_once_and_the_file_keeps_its_length():
    once = load("make_prints").once
    pdf = b"<</Title (Attention (a)>> <</Title (HeadsHeads)>> <</Title (no no)>>"
    assert once(pdf) == b"<</Title (Attention (a)>> <</Title (Heads     )>> <</Title (no no)>>"
    assert once(b"/Title (DeiT-T, hardDeiT-T, hard, digits)") == (
        b"/Title (DeiT-T, hard, digits            )"
    )


def test_page_of_an_epub_becomes_xml_that_it_may_hold():
    page = (
        '<html><link rel="stylesheet" href="_static/print.css" /><style scoped>a{}</style><p>a<br>'
        '<img src="a.png" alt="a &gt; b">&nbsp;</p><script>if (a < b && c) {}</script>'
        '<svg viewBox="0 0 1 1"><path/></svg><details><summary><p>Show</p></summary></details>'
        '<a href="runs/index.html#a">runs</a><a href="https://a.b/c.html">c</a></html>'
    )
    assert tidy_epub.fault(page)
    tidied = tidy_epub.tidy_page(page)
    assert tidy_epub.fault(tidied) is None
    assert "<style" not in tidied and "<script" not in tidied and "print.css" not in tidied
    assert 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"' in tidied
    assert "<summary><span>Show</span></summary>" in tidied
    assert "runs/index.xhtml#a" in tidied and "https://a.b/c.html" in tidied


def test_epub_says_which_pages_hold_mathematics_and_drawings(tmp_path: Path):
    listed = (
        '<item id="a" href="a.xhtml" /><item id="b" href="b.xhtml" /><meta property="x"></meta>'
    )
    book = tmp_path / "book.epub"
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("content.opf", listed)
        archive.writestr("a.xhtml", "<p><math></math></p>")
        archive.writestr("b.xhtml", "<p>b</p>")
    tidy_epub.tidy(book)
    with zipfile.ZipFile(book) as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
        tidied = archive.read("content.opf").decode()
    assert (
        tidied == '<item id="a" href="a.xhtml" properties="mathml"/><item id="b" href="b.xhtml" />'
    )
    with zipfile.ZipFile(book, "a") as archive:
        archive.writestr("c.xhtml", "<p>unclosed")
    with pytest.raises(ValueError, match="no XML"):
        tidy_epub.tidy(book)


def test_style_sheet_that_an_epub_lacks_stops_it(tmp_path: Path):
    book = tmp_path / "book.epub"
    page = '<p><link rel="stylesheet" href="../_static/own.css?v=1" /></p>'
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("content.opf", "<package/>")
        archive.writestr("runs/a.xhtml", page)
    with pytest.raises(ValueError, match=r"lacks: _static/own\.css"):
        tidy_epub.tidy(book)
    with zipfile.ZipFile(book, "a") as archive:
        archive.writestr("_static/own.css", "p {}")
    tidy_epub.tidy(book)
