"""Tables of the book sort, filter, copy and scroll, by mouse and by keyboard."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsing import console_faults, resize, wait
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
pytestmark = pytest.mark.slow
RUNS = ("ten", "nine", "two", "none yet")
SHARES = ("10.5% [9.1, 12.0]", "9.75% [8.0, 11.9]", "\N{MINUS SIGN}2.0% [-3.1, 0.4]", "-")
SIZES = ("1,024 kB", "2 MB", "900", "12 kB")


def frame(rows: int = len(RUNS)) -> str:
    """A table as pandas shows it, with the index's name in a second row of the heading."""
    count = -(-rows // len(RUNS))
    columns = {"share & more": SHARES * count, "size": SIZES * count}
    table = pd.DataFrame(columns, index=list(RUNS * count)).rename_axis("run").iloc[:rows]
    return table.to_html().replace("<th></th>", "<td></td>")  # as the book's own repair writes it


def show(browser: Any, folder: Path, article: str) -> Any:
    """The browser on a page of this article, with the book's own style and script of tables."""
    sheets = [(STATIC / f"{name}.css").read_text("utf-8") for name in ("tables", "provenance")]
    styles = "".join(sheets) + "td { white-space: nowrap; }"
    script = (STATIC / "tables.js").read_text(encoding="utf-8")
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
        f"<style>{styles}</style><article>{article}</article><script>{script}</script></html>",
        encoding="utf-8",
    )
    resize(browser, (800, 600))
    browser.get(page.as_uri())
    return browser


def rows(*cells: tuple[str, ...], heads: tuple[str, ...] = ("name", "seen")) -> str:
    """A table of these cells, each of which may hold HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@pytest.fixture
def opened(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """The browser on a page with one table, of as many rows as the test's parameter says."""
    table = frame(getattr(request, "param", len(RUNS)))
    return show(
        browser,
        tmp_path,
        f"<section><h2>Sizes<a href='#'>#</a></h2>{table}</section>"
        f"<table class=linked-confusion><thead><tr><th>a</th></tr></thead></table>",
    )


def column(browser: Any, number: int) -> list[str]:
    cells = browser.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({number})")
    return [cell.text for cell in cells if cell.is_displayed()]


def buttons(browser: Any) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, ".table-sort")


def copied(browser: Any, kind: str) -> str:
    """What the button ``kind`` puts on the clipboard."""
    caught = "navigator.clipboard.writeText = text => { window.copied = text; }"
    browser.execute_script(f"window.copied = ''; {caught}")
    browser.find_element(By.XPATH, f"//button[.='{kind}']").click()
    return wait(lambda: browser.execute_script("return window.copied"))


def test_numbers_with_percent_and_interval_sort_by_value_and_what_is_none_comes_last(opened: Any):
    buttons(opened)[1].click()
    assert column(opened, 1) == ["two", "nine", "ten", "none yet"]
    buttons(opened)[1].click()
    assert column(opened, 1) == ["ten", "nine", "two", "none yet"]
    assert console_faults(opened) == []


def test_sizes_sort_by_what_their_units_mean(opened: Any):
    buttons(opened)[2].click()
    assert column(opened, 3) == ["900", "12 kB", "1,024 kB", "2 MB"]


def test_keyboard_sorts_and_says_so(opened: Any):
    first = buttons(opened)[0]
    first.send_keys(Keys.ENTER)
    heads = opened.find_elements(By.CSS_SELECTOR, "table.dataframe thead th")
    assert column(opened, 1) == ["nine", "none yet", "ten", "two"]
    assert [head.get_attribute("aria-sort") for head in heads] == ["ascending", None, None]
    first.send_keys(Keys.SPACE)
    assert heads[0].get_attribute("aria-sort") == "descending"
    assert column(opened, 1) == ["two", "ten", "none yet", "nine"]


def test_name_of_the_index_stands_in_the_one_row_of_headings(opened: Any):
    heads = opened.find_elements(By.CSS_SELECTOR, "table.dataframe thead th")
    assert [head.text.strip() for head in heads] == ["run", "share & more", "size"]
    assert len(opened.find_elements(By.CSS_SELECTOR, "table.dataframe thead tr")) == 1


@pytest.mark.parametrize("opened", [9], indirect=True)
def test_rows_can_be_filtered_where_there_are_many(opened: Any):
    field = opened.find_element(By.CSS_SELECTOR, ".table-tools input")
    field.send_keys("nine mb")
    assert column(opened, 1) == ["nine", "nine"]
    assert opened.find_element(By.CSS_SELECTOR, "[role=status]").text == "2 of 9 rows"
    assert copied(opened, "CSV").count("\n") == 3


def test_few_rows_need_no_filter(opened: Any):
    assert opened.find_elements(By.CSS_SELECTOR, ".table-tools input") == []


def test_csv_reads_back_as_the_same_table(opened: Any, tmp_path: Path):
    (tmp_path / "copied.csv").write_text(copied(opened, "CSV"), encoding="utf-8")
    back = pd.read_csv(tmp_path / "copied.csv")
    assert list(back.columns) == ["run", "share & more", "size"]
    assert tuple(back["size"]) == SIZES and tuple(back["share & more"]) == SHARES
    status = opened.find_element(By.CSS_SELECTOR, "[role=status]")
    assert wait(lambda: status.text) == "Copied 4 rows as CSV"


def test_latex_is_escaped_and_numbers_stand_to_the_right(opened: Any):
    lines = copied(opened, "LaTeX").splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}" and lines[-1] == r"\end{tabular}"
    assert r"run & share \& more & size \\" in lines
    assert r"two & $-$2.0\% [-3.1, 0.4] & 900 \\" in lines


def test_wide_table_scrolls_in_a_box_that_the_keyboard_reaches(opened: Any):
    box = opened.find_element(By.CSS_SELECTOR, ".table-scroll")
    assert box.get_attribute("tabindex") is None  # nothing to scroll yet
    resize(opened, (160, 600))
    assert wait(lambda: box.get_attribute("tabindex")) == "0"
    assert box.get_attribute("role") == "region"
    assert box.get_attribute("aria-label") == "Table 1 of “Sizes”"
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 160


def test_the_caption_of_a_wide_table_is_in_view(browser: Any, tmp_path: Path):
    heads = tuple(f"a_long_heading_that_does_not_break_{n}" for n in range(9))
    page = rows(("1",) * 9, ("2",) * 9, heads=heads)
    show(browser, tmp_path, page.replace("<table>", f"<table><caption>{'words ' * 60}</caption>"))
    caption = browser.find_element(By.TAG_NAME, "caption")
    assert browser.find_element(By.TAG_NAME, "table").rect["width"] > 1000
    assert caption.rect["x"] + caption.rect["width"] <= 800


def test_on_a_phone_a_table_too_wide_for_it_is_cards_and_a_narrow_one_stays_a_table(
    browser: Any, tmp_path: Path
):
    heads = ("model", "batch 1", "batch 4")
    short = [("DeiT-T", "62", "81"), ("ResNet-18", "40", "54")]
    long = [(name, f"unstable: {one} to 90", f"{four} (40.5 to 43.4)") for name, one, four in short]
    page = "".join(rows(*lines, heads=heads) for lines in (short, long))
    show(browser, tmp_path, page.replace("<table>", "<table class=notebook-table>"))
    resize(browser, (390, 600))
    narrow, wide = browser.find_elements(By.TAG_NAME, "table")
    assert narrow.value_of_css_property("display") == "table"
    assert wide.value_of_css_property("display") == "block"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_on_a_phone_many_cards_are_few_until_all_are_asked_for_or_filtered(
    browser: Any, tmp_path: Path
):
    lines = [(f"model {n}", "1", "2", "3") for n in range(20)]
    page = rows(*lines, heads=("name", "a", "b", "c"))
    show(browser, tmp_path, page.replace("<table>", "<table class=notebook-table>"))
    assert len(column(browser, 1)) == 20
    assert not browser.find_element(By.CLASS_NAME, "table-all").is_displayed()
    resize(browser, (390, 600))
    assert len(column(browser, 1)) == 4
    button = browser.find_element(By.CLASS_NAME, "table-all")
    assert button.text == "Show all 20 rows"
    button.click()
    assert len(column(browser, 1)) == 20
    browser.refresh()
    browser.find_element(By.CSS_SELECTOR, ".table-tools input").send_keys("model 19")
    assert column(browser, 1) == ["model 19"]


@pytest.mark.parametrize("heads", [("name", "a"), ("name", "a", "b", "c")])
def test_on_a_wide_screen_the_first_rows_of_a_long_table_stand_for_all(
    browser: Any, tmp_path: Path, heads: tuple[str, ...]
):
    lines = [(f"model {n}", *heads[1:]) for n in range(40)]
    page = rows(*lines, heads=heads).replace("<table>", "<table class=notebook-table>")
    show(browser, tmp_path, page)
    assert column(browser, 1) == [f"model {n}" for n in range(12)]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert len(column(browser, 1)) == 40, "paper has them all"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    button = browser.find_element(By.CLASS_NAME, "table-all")
    assert button.text == "Show all 40 rows"
    button.click()
    assert len(column(browser, 1)) == 40
    show(
        browser,
        tmp_path,
        rows(*lines[:24], heads=heads).replace("<table>", "<table class=notebook-table>"),
    )
    assert len(column(browser, 1)) == 24


def test_a_link_to_a_row_shows_it_on_a_phone(browser: Any, tmp_path: Path):
    lines = [(f"model {n}", "1", "2", "3") for n in range(20)]
    page = rows(*lines, heads=("name", "a", "b", "c"))
    page = page.replace("<td>model 15", "<td id=r15>model 15")
    show(browser, tmp_path, page.replace("<table>", "<table class=notebook-table>"))
    resize(browser, (390, 600))
    assert "model 15" not in column(browser, 1)
    browser.execute_script("location.hash = '#r15'")
    assert wait(lambda: "model 15" in column(browser, 1))


def test_grid_of_confusions_is_left_alone(opened: Any):
    assert opened.find_elements(By.CSS_SELECTOR, ".linked-confusion button") == []


def test_column_mostly_blank_sorts_by_value_with_blanks_last_either_way(
    browser: Any, tmp_path: Path
):
    cells = [("a", "10"), ("b", ""), ("c", "9"), ("d", "<p></p>"), ("e", "1e-5"), ("f", "none yet")]
    show(browser, tmp_path, rows(*cells, ("g", ""), ("h", "")))
    buttons(browser)[1].click()
    assert column(browser, 1) == ["e", "c", "a", "f", "b", "d", "g", "h"]
    buttons(browser)[1].click()
    assert column(browser, 1) == ["a", "c", "e", "f", "b", "d", "g", "h"]


def test_column_of_words_sorts_with_blanks_last_either_way(browser: Any, tmp_path: Path):
    show(browser, tmp_path, rows(("a", ""), ("b", "yes"), ("c", "-"), ("d", "no")))
    buttons(browser)[1].click()
    assert column(browser, 1) == ["d", "b", "a", "c"]
    buttons(browser)[1].click()
    assert column(browser, 1) == ["b", "d", "a", "c"]


def test_table_in_closed_details_has_its_headings_name_and_content(browser: Any, tmp_path: Path):
    named = "<caption>Table 7.4 The files.<a class=headerlink href='#'>#</a></caption><thead>"
    table = rows(("b", "2"), ("a", "1"), heads=("<p>file</p>", "<p>level</p>"))
    table = table.replace("<thead>", named)
    show(browser, tmp_path, f"<details><summary>All</summary>{table}</details>")
    bar = browser.find_element(By.CSS_SELECTOR, ".table-tools")
    assert bar.get_attribute("aria-label") == "Table 7.4 The files.: tools"
    browser.find_element(By.CSS_SELECTOR, "summary").click()
    assert [button.text for button in buttons(browser)] == ["file", "level"]
    assert [button.accessible_name.strip() for button in buttons(browser)] == ["file", "level"]
    assert copied(browser, "CSV") == "file,level\nb,2\na,1\n"


def number(shown: str, facts: str) -> str:
    """A number with its box of facts, as the extension ``provenance`` writes it."""
    box = f"<span class=number-facts role=tooltip>{facts}</span>"
    return f"<span class=number><a class=number-link href='#'>{shown}</a>{box}</span>"


def test_box_of_an_open_number_is_neither_copied_nor_searched(browser: Any, tmp_path: Path):
    cells = [(f"run {i}", number(str(i), f"counted by: abacus {i}")) for i in range(9)]
    show(browser, tmp_path, rows(*cells))
    browser.execute_script("document.querySelector('.number-link').focus()")
    box = browser.find_element(By.CSS_SELECTOR, ".number-facts")
    assert box.is_displayed()
    browser.execute_script(  # by script, because a click would close the box
        "navigator.clipboard.writeText = text => { window.copied ??= text; };"
        "document.querySelector('.table-copy button').click()"
    )
    wrote = wait(lambda: browser.execute_script("return window.copied"))
    assert wrote.splitlines()[:3] == ["name,seen", "run 0,0", "run 1,1"]
    browser.find_element(By.CSS_SELECTOR, ".table-tools input").send_keys("abacus")
    assert browser.find_element(By.CSS_SELECTOR, "[role=status]").text == "0 of 9 rows"


def test_numbers_are_numbers_in_csv_and_all_else_stays_as_written(browser: Any, tmp_path: Path):
    cells = ("1,234,567.5", "\N{MINUS SIGN}3", "2e\N{MINUS SIGN}5", "12", "-1,000")
    show(
        browser, tmp_path, rows(*[("1,2", cell) for cell in cells], ("\N{MINUS SIGN}a", "1,024 B"))
    )
    (tmp_path / "copied.csv").write_text(copied(browser, "CSV"), encoding="utf-8")
    back = pd.read_csv(tmp_path / "copied.csv")
    assert list(back["name"]) == ["1,2"] * 5 + ["\N{MINUS SIGN}a"]
    assert list(back["seen"]) == ["1234567.5", "-3", "2e-5", "12", "-1000", "1,024 B"]


def test_latex_has_a_true_minus_before_digits_only(browser: Any, tmp_path: Path):
    show(browser, tmp_path, rows(("a-1", "-3"), ("-x", "-.5"), ("-", "\N{MINUS SIGN}2")))
    lines = copied(browser, "LaTeX").splitlines()
    assert lines[4:7] == [r"a-1 & $-$3 \\", r"-x & $-$.5 \\", r"- & $-$2 \\"]


def test_latex_aligns_a_column_by_most_of_what_it_says(browser: Any, tmp_path: Path):
    cells = [("1", ""), ("b", "none yet"), ("c", "2"), ("d", "3"), ("e", "")]
    show(browser, tmp_path, rows(*cells))
    assert copied(browser, "LaTeX").splitlines()[0] == r"\begin{tabular}{lr}"


def test_lines_within_a_cell_are_told_apart_when_copied(browser: Any, tmp_path: Path):
    listed = "<p>first</p>\n<ul>\n<li><p>second</p></li>\n<li>third\nstill</li></ul>"
    show(browser, tmp_path, rows(("a<br>b", listed), ("<p>one</p>", "92.1<br><i>[91, 93]</i>")))
    assert copied(browser, "CSV").splitlines() == [
        "name,seen",
        "a; b,first; second; third still",
        'one,"92.1; [91, 93]"',
    ]


def test_formula_is_copied_as_the_tex_it_carries(browser: Any, tmp_path: Path):
    raised = "<msup><mi>x</mi><mn>2</mn></msup>"
    note = r"<annotation encoding='application/x-tex'>\frac{x}{2}</annotation>"
    cells = [
        ("named", rf"<math alttext='x^2 \times y_1'>{raised}</math> & more"),
        ("noted", f"<math><semantics>{raised}{note}</semantics></math>"),
        ("bare", f"<math>{raised}</math>"),
    ]
    show(browser, tmp_path, rows(*cells))
    assert copied(browser, "CSV").splitlines()[1:] == [
        r"named,$x^2 \times y_1$ & more", r"noted,$\frac{x}{2}$", "bare,x 2",
    ]  # fmt: skip
    assert copied(browser, "LaTeX").splitlines()[4:7] == [
        r"named & $x^2 \times y_1$ \& more \\", r"noted & $\frac{x}{2}$ \\", r"bare & x 2 \\",
    ]  # fmt: skip
