"""Escaping of text from outside, such as a run's title or a class name, for each output format.

One function for each place in which some characters have a special meaning. All code that builds
a command, a page or a script uses these.
"""

import html as standard
import json
import re
import shlex
from typing import Any

# Not allowed in a page: control characters except tab and newline, and lone surrogates.
CONTROL = (*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF)
UNPRINTABLE = dict.fromkeys(CONTROL, "") | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def printable(value: object) -> str:
    """The value as text that any file can hold."""
    return str(value).translate(UNPRINTABLE)


def shell(value: object) -> str:
    """One word of a command line."""
    return shlex.quote(str(value))


def html(value: object) -> str:
    """Text of an HTML element, or of a quoted attribute."""
    return standard.escape(printable(value))


def script(value: Any) -> str:
    r"""JSON for use inside a ``<script>``, without any ``</script>`` or ``<!--``.

    Raises:
        ValueError: If it holds a number that JSON can't represent, such as NaN.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")


def markdown(value: object) -> str:
    """Inline text of MyST Markdown, for paragraphs, headings, items of lists and table cells."""
    text = re.sub(r"([\\`*_{}\[\]<>$~&#])", r"\\\1", " ".join(printable(value).split()))
    # At the start of a line these would begin a list, a comment, a directive or a target.
    return re.sub(r"^(\d*)([.)](?=\s|$)|(?<!\d)[-+%:(])", r"\1\\\2", text)


def code(value: object) -> str:
    """A Markdown code span, delimited by more backticks than any run of them inside."""
    text = " ".join(printable(value).split())
    fence = "`" * (1 + _longest_run(text))
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def code_block(text: str, language: str) -> str:
    """A Markdown code block, with fences longer than any inside."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
