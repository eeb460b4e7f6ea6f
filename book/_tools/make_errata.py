"""The page of the thesis's errors, written from ``attnlib/thesis/errata.toml``.

    python book/_tools/make_errata.py --out book/runs

Numbers in the text are computed when the page is written; none is typed here.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from attnlib.thesis.counts import Values
from attnlib.thesis.statements import Errata, Erratum, read_errata, read_thesis
from page_parts import ROOT, table, write

INTRO = """(errata)=
# Errors of the thesis

Anyone who checks a text closely finds errors in it, and would in this book. These {count} are the
ones that we know of in the thesis, in our words, ordered by how much they change what a reader
takes away. Each says what the thesis states, what is true as far as we can tell, and how that is
checked: every entry has a test of its own, which checks as much of it as can be computed; the rest
is read in the sources named. Numbers in the entries are computed from the thesis's own and from
counts when this page is written. The entries' numbers are fixed, so that other pages can refer to
them.

```{{admonition}} What you will learn
- where the thesis's text, its numbers and the code that it rests on part ways;
- what is true instead, as far as can be told, and how it was found out;
- which of its conclusions that changes, and which it leaves standing.
```

What the thesis gets right stands on {{doc}}`the scoreboard <scoreboard>`, in greater number.

"""


CLOSING = """```{admonition} Three things to remember
:class: tip
1. The order is one of consequence: what changes a conclusion comes first, slips of the pen last.
2. An error is listed only with a test of what can be computed, and the source of what can't.
3. This book has errors of its own. They can be found in the same way, and reported.
```
"""


def entry(erratum: Erratum, values: Values) -> str:
    """Markdown of one error."""
    cited = f" {{cite}}`{','.join(erratum.sources)}`" if erratum.sources else ""
    return f"""(erratum-{erratum.number})=
### {erratum.number}. {erratum.title}

**The thesis** ({erratum.place}). {values.fill(erratum.thesis)}

**What is true.** {values.fill(erratum.truth)}{cited}

**How it is checked.** {erratum.how} `pytest tests -k erratum_{erratum.number:02}`

"""


def page(errata: Errata, values: Values) -> str:
    """Markdown of the whole page."""
    by_group: Mapping[str, list[Erratum]] = {
        group: [e for e in errata.entries.values() if e.group == group] for group in errata.groups
    }
    rows = [
        (
            errata.groups[group]["title"],
            ", ".join(f"[{e.number}](erratum-{e.number})" for e in entries),
            len(entries),
        )
        for group, entries in by_group.items()
    ]
    text = INTRO.format(count=len(errata.entries))
    text += table(("How much it changes", "Entries", "Number"), rows, "llr") + "\n"
    for group, entries in by_group.items():
        about = errata.groups[group]
        text += f"## {about['title']}\n\n{about['about']}\n\n"
        text += "".join(entry(erratum, values) for erratum in entries)
    return text + CLOSING


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Write the book's page of errors.")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "runs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    errata = read_errata()
    write(options.out / "errata.md", page(errata, Values(read_thesis(), errata)))


if __name__ == "__main__":
    main()
