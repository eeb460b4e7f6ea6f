"""Tables of the book sort, filter, copy and scroll, by mouse and by keyboard."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsing import console_faults, resize, wait
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

STATIC = Path(__file__).resolve().parents[1] / "book" / "_static"
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


@pytest.fixture
def opened(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """The browser on a page with one table, of as many rows as the test's parameter says."""
    styles = (STATIC / "tables.css").read_text(encoding="utf-8") + "td { white-space: nowrap; }"
    script = (STATIC / "tables.js").read_text(encoding="utf-8")
    table = frame(getattr(request, "param", len(RUNS)))
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title>"
        f"<style>{styles}</style><article>"
        f"<section><h2>Sizes<a href='#'>#</a></h2>{table}</section>"
        f"<table class=linked-confusion><thead><tr><th>a</th></tr></thead></table></article>"
        f"<script>{script}</script></html>",
        encoding="utf-8",
    )
    resize(browser, (800, 600))
    browser.get(page.as_uri())
    return browser


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


def test_grid_of_confusions_is_left_alone(opened: Any):
    assert opened.find_elements(By.CSS_SELECTOR, ".linked-confusion button") == []
