"""How the book reaches readers: as an archive with checksums, in print, by the workflows."""

import hashlib
import re
import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from pypdf import PdfReader, PdfWriter

import tidy_epub
from make_archive import make_archive
from make_prints import mend_bookmarks, without_buttons

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


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


def test_every_script_of_the_book_that_is_named_is_there():
    named = {}
    for path in (ROOT / "Makefile", ROOT / "Snakefile", ROOT / "README.md", *BOOK.rglob("*.*")):
        if path.suffix in ("", ".md", ".py", ".yml") and "runs" not in path.relative_to(ROOT).parts:
            for script in re.findall(r"book/[\w/]+\.py\b", path.read_text(encoding="utf-8")):
                named.setdefault(script, []).append(path.name)
    assert {"book/_tools/make_pages.py", "book/_tools/stamp.py"} <= set(named)
    assert {script: where for script, where in named.items() if not (ROOT / script).exists()} == {}


def test_sphinx_reads_neither_extensions_nor_scripts():
    python = {path.relative_to(BOOK).parts[0] for path in BOOK.rglob("*.py")}
    assert python - {"runs"} == {"_ext", "_tools"}
    assert python <= {*read(ROOT / "_config.yml")["exclude_patterns"], "runs"}


ADDRESSES = re.compile(
    r"(?:colab\.research\.google\.com/github/|git\+https://github\.com/|git clone https://github\.com/"
    r"|^Repository = \"https://github\.com/|^repository-code: \"https://github\.com/)([\w.-]+/[\w.-]+)",
    re.MULTILINE,
)


def addresses(root: Path) -> dict[str, set[str]]:
    """Which repositories each file names as this one."""
    kinds = ("*.md", "*.toml", "*.cff", "notebooks/*.ipynb", "book/*.md")
    files = [path for kind in kinds for path in root.glob(kind)]
    found = {path.name: set(ADDRESSES.findall(path.read_text(encoding="utf-8"))) for path in files}
    return {name: named for name, named in found.items() if named}


def test_repository_has_one_address():
    url = read(ROOT / "_config.yml")["repository"]["url"]
    found = addresses(ROOT)
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {"README.md", "CITATION.cff", "pyproject.toml", "reproduce.md"} | notebooks <= set(found)
    assert {name: named for name, named in found.items() if named != {url[19:]}} == {}


def test_documented_command_gives_a_fork_its_address_everywhere(tmp_path: Path):
    (command,) = re.findall(r"^git grep .*", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    names = ["README.md", "CITATION.cff", "pyproject.toml", "_config.yml", "book/reproduce.md",
             "notebooks/train.ipynb"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "other.md").write_text("It learns from https://github.com/facebookresearch/deit.\n")
    command = command.replace("OWNER/NAME", "someone/vision-book")
    for line in ("git init --quiet", "git add .", command):
        subprocess.run(line, shell=True, cwd=tmp_path, check=True)
    found = addresses(tmp_path)
    assert len(found) == len(names) - 1
    assert set.union(*found.values()) == {"someone/vision-book"}
    assert read(tmp_path / "_config.yml")["repository"]["url"].endswith("/someone/vision-book")
    assert "facebookresearch/deit" in (tmp_path / "other.md").read_text()


def test_colab_links_lead_to_notebooks_that_exist():
    # the copy that a built page links to is checked in test_book.py
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"/blob/main/notebooks/{notebook.name}" in notebook.read_text(encoding="utf-8")


def test_archive_holds_the_pages_and_its_checksums_hold(tmp_path: Path):
    (tmp_path / "html" / "runs").mkdir(parents=True)
    (tmp_path / "html" / "intro.html").write_text("<h1>Introduction</h1>")
    (tmp_path / "html" / "runs" / "train.html").write_text("<h1>Train</h1>")
    (tmp_path / "pdf").mkdir()
    (tmp_path / "pdf" / "attnlib.pdf").write_bytes(b"%PDF-")
    out = make_archive(tmp_path)
    with zipfile.ZipFile(out / "attnlib-html.zip") as archive:
        assert sorted(archive.namelist()) == ["attnlib/intro.html", "attnlib/runs/train.html"]
    lines = (out / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {"attnlib-html.zip", "attnlib.pdf"}
    for name, digest in sums.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert (make_archive(tmp_path) / "SHA256SUMS").read_text().splitlines() == lines


def test_book_is_served_to_this_machine_alone():
    rules = subprocess.run(["make", "--dry-run", "serve"], cwd=ROOT, capture_output=True, text=True)
    served = [line for line in rules.stdout.splitlines() if "http.server" in line]
    assert served and "--bind 127.0.0.1 --directory _build/html 8000" in served[0]


def test_epub_configuration_is_the_books_own_but_for_the_buttons():
    config = read(ROOT / "_config.yml")
    epub = without_buttons(config)
    assert "launch_buttons" not in epub and "launch_buttons" in config
    assert epub["title"] == config["title"]
    assert epub["sphinx"]["config"]["extensions"] == config["sphinx"]["config"]["extensions"]
    places = epub["sphinx"]["local_extensions"].values()
    assert all(Path(place).is_dir() and Path(place).is_absolute() for place in places)


def test_bookmarks_say_a_heading_once():
    titles = {
        "Attention (a)": "Attention (a)",
        "HeadsHeads": "Heads",
        "no no": "no no",
        "Pažnja \N{EN DASH} ViTPažnja \N{EN DASH} ViT": "Pažnja \N{EN DASH} ViT",
        "DeiT-T, hardDeiT-T, hard, digits": "DeiT-T, hard, digits",
    }
    writer, above = PdfWriter(), None
    writer.add_blank_page(100, 100)
    for title in titles:
        above = writer.add_outline_item(
            title=title, page_number=0, parent=above
        )  # each below the one before
    printed = BytesIO()
    writer.write(printed)
    outline = PdfReader(BytesIO(mend_bookmarks(printed.getvalue()))).outline
    found = []
    while outline:
        found.append(outline[0].title)
        outline = outline[1] if len(outline) > 1 else []
    assert found == list(titles.values())


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
