"""Executed pages: the story before the code, drawings in the page's colours, tables of one kind."""

from typing import Any

import pytest

from attnbook import outputs, story
from attnlib import plotting


def code(*tags: str, finding: str = "", **mystnb: Any) -> dict[str, Any]:
    said = {"finding": finding} if finding else {}
    output = {"output_type": "display_data", "metadata": {story.SVG: said}}
    metadata = {"tags": list(tags), "mystnb": mystnb}
    return {"cell_type": "code", "metadata": metadata, "outputs": [output], "source": "show()"}


@pytest.mark.parametrize(
    ("tags", "how"),
    [((), "hide-input"), (("bootstrap",), "remove-cell"), (("checks",), "remove-input"),
     (("parameters",), "hide-input")],
)  # fmt: skip
def test_code_folds_and_set_up_and_asserts_are_hidden(tags: tuple[str, ...], how: str):
    cell = code(*tags)
    story.fold(cell)
    assert cell["metadata"]["tags"] == [*tags, how]


def test_a_figures_finding_stands_before_its_caption_and_in_its_description():
    cell = code(
        finding="Of 10 * 2 are right.", figure={"caption": "By class."}, image={"alt": "Dots."}
    )
    story.tell(cell)
    options = cell["metadata"]["mystnb"]
    assert options["figure"]["caption"] == r"Of 10 \* 2 are right. By class."
    assert options["image"]["alt"] == "Dots. Of 10 * 2 are right."


def test_a_negative_number_of_a_finding_has_a_minus_sign():
    cell = code(finding="It is -0.08 for cut-off -1.", figure={"caption": "c"}, image={"alt": "a"})
    story.tell(cell)
    caption = cell["metadata"]["mystnb"]["figure"]["caption"]
    assert caption.startswith("It is \N{MINUS SIGN}0.08 for cut-off \N{MINUS SIGN}1.")


def test_a_figure_that_says_nothing_keeps_its_caption():
    cell = code(figure={"caption": "By class."})
    story.tell(cell)
    assert cell["metadata"]["mystnb"]["figure"]["caption"] == "By class."


def test_findings_open_the_page_after_its_title_and_badge():
    text = story.open_with("# Title\n\n[![Open](badge)](colab)\n\nWords.", ["One.", "Two."])
    assert text.index("badge") < text.index("- One.\n- Two.") < text.index("Words.")
    assert story.open_with("# Title\n\nWords.", []) == "# Title\n\nWords."


def test_both_lists_of_a_notebook_become_boxes():
    text = story.boxed("Before.\n\n**What you will learn**\n\n- a;\n- b.")
    assert text.startswith("Before.\n\n:::{admonition} What you will learn\n\n- a;\n- b.\n")
    last = story.boxed("## Three things to remember\n\n1. A.\n2. B.")
    assert last.startswith(":::{admonition} Three things to remember\n:class: tip\n\n1. A.\n")


def test_a_drawing_takes_the_pages_colours_and_text():
    with plotting.style():
        figure, axes = plotting.subplots(figsize=(2, 2))
        axes.plot([0, 1], color=plotting.COLOURS[0])
        axes.set_xlabel("words")
    svg, _ = figure._repr_svg_()
    shown = outputs.in_page_colours(svg, "A line that rises")
    assert "var(--attn-series-1" in shown and "var(--pst-color-text-base" in shown
    assert ">words</text>" in shown and "DejaVu" not in shown and "<style" not in shown
    assert shown.startswith('<svg role="img" aria-label="A line that rises"')
    assert 'height="' not in shown[: shown.index(">")] and "viewBox" in shown


def test_two_drawings_on_a_page_share_no_id():
    first, second = ('<svg><g id="a"/><use href="#a"/></svg>', '<svg><g id="a"/></svg>')
    shown = [outputs.in_page_colours(svg, "A drawing") for svg in (first, second)]
    names = [svg.split('id="')[1].split('"')[0] for svg in shown]
    assert names[0] != names[1] and f'href="#{names[0]}"' in shown[0]


def table(html: str) -> list[list[str]]:
    found = outputs.to_table(f'<table class="dataframe">{html}</table>')
    assert found is not None
    rows = [row for row in found.findall() if row.tagname == "row"]
    return [[cell.astext() for cell in row.children] for row in rows]


def test_a_column_that_only_counts_rows_is_dropped():
    html = (
        "<thead><tr><th></th><th>a</th></tr></thead>"
        "<tbody><tr><th>0</th><td>x</td></tr><tr><th>1</th><td>y</td></tr></tbody>"
    )
    assert table(html) == [["a"], ["x"], ["y"]]


def test_the_name_of_an_index_and_headings_over_headings_become_one_row():
    html = (
        '<thead><tr><th></th><th colspan="2">disk</th></tr><tr><th></th><th>thesis</th>'
        "<th>ours</th></tr><tr><th>model</th><th></th><th></th></tr></thead>"
        "<tbody><tr><th>DeiT-T</th><td>1</td><td>2</td></tr></tbody>"
    )
    assert table(html) == [["model", "disk: thesis", "disk: ours"], ["DeiT-T", "1", "2"]]


def test_rows_keep_the_place_that_numbers_lead_to():
    body = '<thead><tr><th>a</th></tr></thead><tbody><tr id="thesis-a"><td>x<br>y</td></tr></tbody>'
    html = f'<table class="dataframe">{body}</table>'
    found = outputs.to_table(html)
    assert found is not None and 'ids="thesis-a"' in str(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("0.5 [0.4, 0.6]", "0.5\xa0[0.4,\xa00.6]"), ("-0.3", "\N{MINUS SIGN}0.3"),
     ("a-1 name", "a-1 name"), ("NaN", ""), ("12.0% to 14.0%", "12.0%\xa0to\xa014.0%")],
)  # fmt: skip
def test_intervals_stay_on_one_line(text: str, shown: str):
    assert outputs.unbroken(text) == shown


def test_what_is_no_table_of_pandas_is_left_alone():
    assert outputs.to_table('<table class="linked-confusion"></table>') is None
