"""Text that others wrote stays text wherever it is put: in a shell, a page, a table, a script."""

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from attnlib import escaping

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = (
    "plain", "R (copy)", "x; touch pwned", "$(touch pwned)", "`touch pwned`", "a' b\" c", "-rf", "",
    "<script>window.pwned = 1</script>", "<!--<script>", "--><img src=x onerror=alert(1)>",
    "]]></script>", "&lt;b&gt;", "a | b", "a \\| b", "[a](javascript:alert(1))", "![a](http://x/y)",
    "{raw}`html <b>`", "{{ title }}", "$x$ and $$y$$", "*a* _b_ **c** __d__ ~~e~~", "```{raw} html",
    "# not a heading #", "a\n\n# b\n\n<b>", "a\\", "``", "`", "<http://example.org>", "[^1]",
    "\\begin{align}x\\end{align}", "cat\0dog\x07", "\ud800", "US$ 10 & $20_x", "漢字 \u202e abc",
    "- a", "+ a", "= a", "% a", ": a", "1. a", "2) a", "3.", "---", "===", ":::{note}", "(target)=",
    "> a", "\u2028a", "a\u200b\ufeff",
)  # fmt: skip


def shown(value: str) -> str:
    """What a reader should see of a hostile text, with white space as HTML has it."""
    return " ".join(escaping.printable(value).split())


class Parts(HTMLParser):
    """What a browser would see: tags with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def read_html(text: str) -> Parts:
    parts = Parts()
    parts.feed(text)
    parts.close()
    return parts


def render(text: str) -> Parts:
    """The book's Markdown as HTML."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    extensions = set(config["parse"]["myst_enable_extensions"])
    parser = create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)
    return read_html(parser.render(text))


@pytest.mark.parametrize("value", HOSTILE)
def test_word_of_a_command_is_one_word(value: str):
    value = value.replace("\0", "").replace("\ud800", "")  # which no command line can hold
    done = subprocess.run(f"printf %s {escaping.shell(value)}", shell=True, capture_output=True)
    assert done.stdout.decode() == value


@pytest.mark.parametrize("value", HOSTILE)
def test_html_is_text_in_an_element_and_in_an_attribute(value: str):
    parts = read_html(f'<p title="{escaping.html(value)}">{escaping.html(value)}</p>')
    assert parts.tags == [("p", {"title": escaping.printable(value)})]
    assert parts.text == escaping.printable(value)
    parts.text.encode()


@pytest.mark.parametrize("value", HOSTILE)
def test_script_can_not_be_left_and_holds_the_value(value: str):
    written = escaping.script({value: [value, 1.5, None]})
    assert "<" not in written
    assert json.loads(written) == {value: [value, 1.5, None]}


def test_script_refuses_what_a_browser_could_not_read():
    with pytest.raises(ValueError, match="not JSON"):
        escaping.script([float("nan")])


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "around",
    [
        "# {}\n",
        "{} of it\n",
        "- {}\n",
        "All {} of it\n",
        "| a | b |\n|--|--|\n| {} | c |\n",
    ],
)
def test_markdown_shows_the_words_and_nothing_else(value: str, around: str):
    written = around.format(escaping.markdown(value).replace("|", "\\|" if "--" in around else "|"))
    parts, plain = render(written), render(around.format("plain"))
    assert parts.tags == plain.tags
    assert " ".join(parts.text.split()) == " ".join(
        plain.text.replace("plain", shown(value)).split()
    )


@pytest.mark.parametrize("value", HOSTILE)
def test_markdown_shows_code_as_it_is(value: str):
    span = render(f"All {escaping.code(value)} of it")
    assert [tag for tag, _ in span.tags] == ["p", "code"]
    assert span.text.split() == ["All", *shown(value).split(), "of", "it"]
    block = render(f"{escaping.code_block(value, 'bash')}\n\nAfter\n")
    assert [tag for tag, _ in block.tags] == ["pre", "code", "p"]
    assert block.text.split() == [*shown(value).split(), "After"]


def test_nothing_else_in_the_project_escapes_by_itself():
    own = re.compile(
        r"from html import .*\bescape\b|\bhtml\.escape\b|\bshlex\.quote|from shlex"
        r"|replace\(\"(?:<|</|&)\""
    )
    files = [p for f in ("attnlib", "book", "benchmarks") for p in (ROOT / f).rglob("*.py")]
    files.remove(ROOT / "attnlib" / "escaping.py")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*files, ROOT / "Snakefile"]
        for line in path.read_text(encoding="utf-8").splitlines()
        if own.search(line)
    ]
    assert len(files) > 100 and found == []
