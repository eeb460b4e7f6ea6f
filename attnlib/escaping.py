"""Text that others wrote, such as a run's title or the name of a class, made harmless.

One function for each place in which characters have a meaning of their own. Whatever builds a
command, a page or a script uses these.
"""

import html as standard
import json
import re
import shlex
from typing import Any

# What no page can hold: control characters but tab and newline, and halves of a character.
CONTROL = (*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF)
UNPRINTABLE = dict.fromkeys(CONTROL, "") | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def printable(value: object) -> str:
    """The value as text that any file can hold."""
    return str(value).translate(UNPRINTABLE)


def shell(value: object) -> str:
    """One word of a command line."""
    return shlex.quote(str(value))


def html(value: object) -> str:
    """Text of an element, or of an attribute in quotation marks."""
    return standard.escape(printable(value))


def script(value: Any) -> str:
    r"""JSON inside a ``<script>``, in which no ``</script>`` or ``<!--`` can be.

    Raises:
        ValueError: If it holds a number that JSON has not, such as NaN.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")


def markdown(value: object) -> str:
    """Words within a line of MyST Markdown, of a heading or of a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>$~&#])", r"\\\1", " ".join(printable(value).split()))


def code(value: object) -> str:
    """A code span of Markdown, in more backticks than stand in it side by side."""
    text = " ".join(printable(value).split())
    fence = "`" * (1 + _longest_run(text))
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def code_block(text: str, language: str) -> str:
    """A block of code in Markdown, between fences longer than any in it."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
