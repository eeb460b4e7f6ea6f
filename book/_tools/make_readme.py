"""The results in README.md, from the records in ``results``.

python book/_tools/make_readme.py
"""

import re
from pathlib import Path

from attnbook.findings import interval_words, percent, points, read_rows, read_runs
from attnlib.compare.reference_runs import Answer, ReferenceRow, answer, find_rows
from page_parts import ROOT, table, write

PLACE = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def results(root: Path) -> str:
    """What came out of the reference runs that are kept, as two tables."""
    rows = find_rows(read_rows(root), read_runs(root, "results"))
    trained = [row_of_network(row) for row in rows.values() if row.runs]
    asked = [row_of_answer(found) for found in answer(rows) if found.difference]
    header = ("network", "epochs", "seeds", "test accuracy", "95% interval")
    text = table(header, trained, "lrrrr")
    if asked:
        header = ("does it hold that", "difference, points", "95% interval", "verdict")
        text += "\n" + table(header, asked, "lrrl")
    return text


def row_of_network(row: ReferenceRow) -> tuple[object, ...]:
    """A network with its accuracy."""
    share = row.accuracy
    interval = interval_words(share.low, share.high, percent)
    return row.title, row.epochs, len(row.runs), percent(share.value), interval


def row_of_answer(found: Answer) -> tuple[object, ...]:
    """A question to these networks with its answer."""
    gap = found.difference
    assert gap is not None
    interval = interval_words(gap.low, gap.high, points)
    return found.claim.text, points(gap.value).removesuffix(" points"), interval, found.verdict


def fill(text: str, content: str) -> str:
    """The README's text with these results in their place.

    Raises:
        ValueError: If the place is missing.
    """
    if not PLACE.search(text):
        raise ValueError("README.md has no place for results, between two comments")
    return PLACE.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", text)


def main() -> None:
    """Fill the results in."""
    path = ROOT / "README.md"
    write(path, fill(path.read_text(encoding="utf-8"), results(ROOT)))


if __name__ == "__main__":
    main()
