"""The chapters compute what they say: every worked example is executed, every equation has one."""

import doctest
import re
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = (
    "intro", "transformer", "attention_in_vision", "vit", "deit", "consistency", "atresnet",
    "implementation", "conclusion",
)  # fmt: skip
PRACTICE = ("explorer", "reproduce", "compare")
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
STUB = "This page is not written yet."
FENCE = re.compile(
    r"^(?P<marks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=marks)[ ]*$", re.M | re.S
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def text(chapter: str) -> str:
    return (BOOK / f"{chapter}.md").read_text(encoding="utf-8")


WRITTEN = [chapter for chapter in CHAPTERS if STUB not in text(chapter)]


def fences(chapter: str, info: str) -> list[re.Match[str]]:
    """The fenced blocks whose first line begins with ``info``."""
    return [f for f in FENCE.finditer(text(chapter)) if f["info"].strip().startswith(info)]


def sections(chapter: str) -> list[str]:
    """The text cut at headings of the second level and below, outside fenced blocks."""
    source = text(chapter)
    inside = [range(f.start(), f.end()) for f in FENCE.finditer(source)]
    cuts = [
        m.start()
        for m in re.finditer(r"^##+ ", source, re.M)
        if not any(m.start() in span for span in inside)
    ]
    return [source[a:b] for a, b in zip([0, *cuts], [*cuts, len(source)], strict=True)]


def items(block: str) -> list[str]:
    """The list items of the first level."""
    return re.findall(r"^(?:[-*]|\d+\.) +(\S.*)$", block, re.M)


def examples(chapter: str) -> doctest.DocTest:
    """All worked examples of a chapter as one test, each at its own line."""
    lines = [""] * (text(chapter).count("\n") + 1)
    for fence in fences(chapter, "python"):
        first = text(chapter).count("\n", 0, fence.start("body"))
        body = fence["body"].splitlines()
        lines[first : first + len(body)] = body
    place = str(BOOK / f"{chapter}.md")
    return doctest.DocTestParser().get_doctest(
        "\n".join(lines), {"__name__": "__main__"}, chapter, place, 0
    )


def test_every_chapter_is_in_the_table_of_contents():
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    files = [
        page["file"]
        for part in contents["parts"]
        for entry in part["chapters"]
        for page in (entry, *(below for below in entry.get("sections", []) if "file" in below))
    ]
    assert [f for f in [contents["root"], *files] if f in CHAPTERS] == list(CHAPTERS)


def test_every_chapter_is_written():
    assert sorted(set(CHAPTERS) - set(WRITTEN)) == []


@pytest.mark.parametrize("chapter", WRITTEN)
def test_worked_examples_print_what_the_chapter_says(chapter, monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    report: list[str] = []
    test = examples(chapter)
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    results = runner.run(test, out=report.append)
    assert results.failed == 0, "".join(report)
    assert results.attempted == sum(f["body"].count(">>> ") for f in fences(chapter, "python"))


@pytest.mark.parametrize("chapter", WRITTEN)
def test_no_python_of_a_chapter_is_left_out_of_the_execution(chapter):
    unexecuted = [f["body"] for f in fences(chapter, "python") if ">>> " not in f["body"]]
    assert unexecuted == []


@pytest.mark.parametrize("chapter", [*WRITTEN, *PRACTICE])
def test_chapter_opens_with_what_you_will_learn(chapter):
    opening = sections(chapter)[0]
    found = [f["body"] for f in FENCE.finditer(opening) if "What you will learn" in f["info"]]
    assert len(found) == 1, "no admonition 'What you will learn' before the first section"
    assert 3 <= len(items(found[0])) <= 4
    assert found[0].count(";\n- ") == len(items(found[0])) - 1 and found[0].rstrip().endswith(".")


@pytest.mark.parametrize("chapter", [*WRITTEN, *PRACTICE])
def test_chapter_closes_with_three_things_to_remember(chapter):
    closing = text(chapter).rpartition("Three things to remember")
    assert closing[1], "no 'Three things to remember'"
    assert re.findall(r"^(\d)\. ", closing[2], re.M) == ["1", "2", "3"]
    assert not re.search(r"^##* ", closing[2], re.M), "something follows the three things"


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_notebook_opens_and_closes_like_a_chapter(notebook):
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    opening = cells[0].source.partition("**What you will learn**\n")[2]
    assert 3 <= len(items(opening)) <= 4
    closing = cells[-1].source.partition("## Three things to remember\n")[2]
    assert len(items(closing)) == 3


@pytest.mark.parametrize("chapter", WRITTEN)
def test_every_equation_is_labelled_and_stands_beside_what_computes_it(chapter):
    assert "$$" not in FENCE.sub("", text(chapter)), "an equation without a label"
    for section in sections(chapter):
        for equation in re.finditer(r"^`{3,}\{math\}\n(.*?)^`{3,}", section, re.M | re.S):
            label = re.search(r"^:label: (eq-[\w-]+)$", equation[1], re.M)
            assert label, equation[0]
            after = section[equation.end() :]
            assert re.search(r"\{literalinclude\}|^>>> ", after, re.M), label[1]


@pytest.mark.parametrize("chapter", WRITTEN)
def test_source_shown_in_a_chapter_is_whole_functions(chapter):
    """By name, so that the lines shown cannot drift from what they are called."""
    for fence in fences(chapter, "{literalinclude}"):
        path = BOOK / fence["info"].split("}")[1].strip()
        assert path.is_file(), path
        assert ":pyobject:" in fence["body"] and ":lines:" not in fence["body"], fence[0]
        assert ":caption:" in fence["body"], fence[0]


def test_every_entry_of_the_glossary_has_its_croatian_word():
    (fence,) = fences("glossary", "{glossary}")
    entries = fence["body"].strip().split("\n\n")
    assert len(entries) >= 60
    assert [entry.split("\n")[0] for entry in entries if not re.search("{hr}`[^`]+`", entry)] == []
