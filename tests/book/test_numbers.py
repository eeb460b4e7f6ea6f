"""Numbers in the text come from records, say where from, and can't be typed by hand."""

import functools
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import book_sample
import numpy as np
import pytest
from browsing import NARROW, WIDE, resize, wait
from sphinx.application import Sphinx

from attnbook import findings
from attnbook.typed_numbers import typed_in
from attnlib.config import TrainConfig, row_parameters
from attnlib.records.run import config_values
from attnlib.stats.consistency import error_consistency
from attnlib.stats.crossed import crossed_mean

ROOT = Path(__file__).resolve().parents[2]

LABELS = np.arange(400) % 3


def write_reference_run(
    folder: Path, accuracy: float, row: str, *, profile: str = "cpu-reference", **changes: Any
) -> str:
    """Write an invented run of a row of [reference]; its name."""
    given = row_parameters(findings.read_rows(ROOT)[row], profile)
    given |= {"data_path": "cifar.npz", "device": "cpu"} | changes
    config = TrainConfig.from_params(**given)
    record = book_sample.invented_record(config.name, config.title)
    record["teacher"] = f"{config.teacher}-npz-{profile}-s0-01234567" if config.teacher else None
    record["seeds"]["run"] = config.seed
    record["metrics"]["test_accuracy"] |= {
        "value": accuracy, "low": accuracy - 0.03, "high": accuracy + 0.02, "n": len(LABELS)
    }  # fmt: skip
    path = folder / config.name
    path.mkdir(parents=True)
    (path / "record.json").write_text(json.dumps(record))
    (path / "config.json").write_text(json.dumps(config_values(config)))
    (path / "history.jsonl").write_text(book_sample.invented_history())
    np.savez(path / "predictions.npz", logits=logits(accuracy), labels=LABELS)
    return config.name


def right(accuracy: float) -> np.ndarray[Any, Any]:
    """Which answers are right, of a run with that share."""
    return np.arange(len(LABELS)) < accuracy * len(LABELS)


def logits(accuracy: float) -> np.ndarray[Any, Any]:
    """Answers of which that share is right."""
    answers = np.where(right(accuracy), LABELS, (LABELS + 1) % 3)
    return np.eye(3)[answers].astype(np.float16)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project with the table of experiments and no run."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "experiments.toml", tmp_path / "notebooks")
    return tmp_path


def test_result_is_the_records_value_with_its_interval_and_leads_to_its_run(place: Path):
    name = write_reference_run(place / "results", 0.9, "resnet18")
    found = findings.find_result(place, "resnet18.test_accuracy")
    assert (found.text, found.interval) == ("90.0%", "[87.0, 92.0]")
    assert found.page == f"runs/records/{name}"
    facts = dict(found.facts)
    record = book_sample.invented_record(name, "")
    assert facts["run"] == name and facts["command"] == record["command"]
    assert facts["commit"].startswith("1234567890ab") and "uncommitted" in facts["commit"]
    assert "0123456789abcdef" in facts["data"] and "x86_64" in facts["device"]
    assert facts["date"] == "2026-01-01"


def test_result_takes_costs_settings_and_classes_in_their_units(place: Path):
    write_reference_run(place / "results", 0.9, "resnet18")
    shown = {
        key: findings.find_result(place, f"resnet18.{key}").text
        for key in ("parameters", "train_images_per_second", "wall_seconds", "weights_bytes",
                    "peak_memory_bytes", "epochs", "per_class.cat", "best_epoch")
    }  # fmt: skip
    assert shown == {
        "parameters": "5,526,346", "train_images_per_second": "500 images/s",
        "wall_seconds": "42 s", "weights_bytes": "22.1 MB", "peak_memory_bytes": "not measured",
        "epochs": "8", "per_class.cat": "90.0%", "best_epoch": "5",
    }  # fmt: skip


def test_several_seeds_give_their_mean_with_an_interval_over_seeds_and_images(place: Path):
    for seed, accuracy in enumerate((0.8, 0.85, 0.9)):
        write_reference_run(place / "results", accuracy, "resnet18", seed=seed)
    found = findings.find_result(place, "resnet18.test_accuracy")
    mean = crossed_mean([right(share) for share in (0.8, 0.85, 0.9)])
    assert found.text == "85.0%"
    assert found.interval == f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}], 3 seeds"
    assert "3 seeds with the 95% interval over seeds and images" in dict(found.facts)["what"]


def test_reference_profile_wins_and_is_never_mixed_with_the_cpus(place: Path):
    for seed in (0, 1, 2):
        write_reference_run(place / "results", 0.5, "resnet18", seed=seed)
    assert findings.find_result(place, "resnet18.test_accuracy").text == "50.0%"
    findings.read_runs.cache_clear()
    write_reference_run(place / "results", 0.9, "resnet18", profile="reference", amp="true")
    assert findings.find_result(place, "resnet18.test_accuracy").text == "90.0%"
    write_reference_run(place / "results", 0.7, "deit_t")
    findings.read_runs.cache_clear()
    assert findings.find_result(place, "deit_t.test_accuracy").text == "not run"
    assert findings.find_result(place, "resnet18 - deit_t").text == "not run"
    write_reference_run(place / "results", 0.7, "deit_t", profile="reference", amp="true")
    findings.read_runs.cache_clear()
    assert findings.find_result(place, "resnet18 - deit_t").text == "+20.0 points"


def test_a_difference_from_a_row_without_a_run_is_not_run_and_says_why(place: Path):
    write_reference_run(place / "results", 0.4, "deit_t")
    asked = findings.find_result(place, "resnet18 - deit_t")
    assert asked.text == "not run" and asked.facts[0] == ("what", "ResNet-18: no run record yet")


def test_rows_are_told_apart_by_start_distillation_teacher_and_tokens(place: Path):
    write_reference_run(place / "results", 0.4, "deit_t")
    write_reference_run(place / "results", 0.5, "deit_t_hard")
    write_reference_run(place / "results", 0.6, "deit_t_soft")
    write_reference_run(place / "results", 0.7, "atresnet18_p")
    write_reference_run(place / "results", 0.8, "atresnet18_spatial_p")
    rows = ("deit_t", "deit_t_hard", "deit_t_soft", "atresnet18_p", "atresnet18_spatial_p")
    shown = [findings.find_result(place, f"{row}.test_accuracy").text for row in rows]
    assert shown == ["40.0%", "50.0%", "60.0%", "70.0%", "80.0%"]
    for row in ("deit_t_soft_code", "efficientnet_lite0_p", "resnet18_p", "resnet18"):
        assert findings.find_result(place, f"{row}.test_accuracy").text == "not run"


@pytest.mark.parametrize("folder", ["runs", "results"])
@pytest.mark.parametrize("changes", [{"epochs": 1}, {"limit": 100}, {"lr": 0.1}])
def test_runs_of_other_settings_do_not_count(place: Path, folder: str, changes: dict[str, Any]):
    write_reference_run(place / folder, 0.5, "resnet18", **changes)
    assert findings.find_result(place, "resnet18.test_accuracy").text == "not run"


def test_difference_is_paired_by_image(place: Path):
    write_reference_run(place / "results", 0.9, "deit_t_hard")
    write_reference_run(place / "results", 0.8, "deit_t")
    found = findings.find_result(place, "deit_t_hard - deit_t")
    mean = crossed_mean([right(0.9).astype(int) - right(0.8)])
    assert found.text == "+10.0 points"
    assert found.interval == f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}]"
    assert "over 400 images" in dict(found.facts)["what"]


def test_difference_of_two_differences_is_paired_by_image_and_seed(place: Path):
    shares = {"deit_t_p": 0.8, "deit_t": 0.6, "resnet18_p": 0.9, "resnet18": 0.85}
    for seed in (0, 1):
        for row, share in shares.items():
            write_reference_run(place / "results", share + seed / 100, row, seed=seed)
    found = findings.find_result(place, "(deit_t_p - deit_t) - (resnet18_p - resnet18)")
    assert found.text == "+15.0 points" and found.interval.endswith("], 2 seeds")
    facts = dict(found.facts)
    assert "DeiT-T, pretrained on Tiny-ImageNet less that of DeiT-T; less the same" in facts["what"]
    assert len(facts["runs"].split(", ")) == 2 and facts["runs"].count(" less ") == 6


def write_three_kinds(place: Path) -> None:
    """Three seeds of a network, of its student and of one without a teacher."""
    for seed in range(3):
        for row, share in {"resnet18": 0.8, "deit_t": 0.5, "deit_t_hard": 0.6}.items():
            write_reference_run(place / "results", share + seed / 50, row, seed=seed)


def test_kappa_of_two_rows_has_an_interval_and_says_what_accuracies_allow(place: Path):
    write_three_kinds(place)
    found = findings.find_result(place, "kappa(deit_t_hard, resnet18, same)")
    pairs = [(right(0.6 + k / 50), right(0.8 + k / 50)) for k in range(3)]
    mean = np.mean([error_consistency(*pair) for pair in pairs])
    assert found.text == f"{mean:.2f}" and found.page == "runs/between"
    assert re.fullmatch(r"\[0\.\d\d, 0\.\d\d\]", found.interval)
    facts = dict(found.facts)
    assert "same seeds; mean of 3 pairs" in facts["what"] and len(facts["runs"].split(", ")) == 6
    assert facts["largest possible"].startswith(f"{mean:.2f}, ")  # one's errors are the other's
    assert (
        "mean of 9 pairs"
        in dict(findings.find_result(place, "kappa(deit_t, resnet18)").facts)["what"]
    )
    assert findings.find_result(place, "kappa(deit_t_dp, resnet18_p)").text == "not run"
    with pytest.raises(ValueError, match="no row of"):
        findings.find_result(place, "kappa(deit_t, resnet81)")


def test_answers_are_the_verdicts_on_what_is_asked(place: Path):
    write_three_kinds(place)
    shown = {
        key: findings.find_answer(place, key).text
        for key in ("deit_t_hard - deit_t", "deit_t_hard - resnet18", "deit_t_p - deit_t",
                    "(deit_t_p - deit_t) - (resnet18_p - resnet18)", "between(deit_t_dp)")
    }  # fmt: skip
    assert list(shown.values()) == ["holds", "the opposite holds", "not run", "not run", "not run"]
    asked = findings.find_answer(place, "deit_t_hard - deit_t")
    assert asked.page == "runs/reference"
    assert dict(asked.facts)["question"] == "hard distillation helps DeiT-T"
    assert findings.find_answer(place, "between(deit_t_hard)").page == "runs/between"
    with pytest.raises(ValueError, match=r"no question 'deit_t - resnet18_p'"):
        findings.find_answer(place, "deit_t - resnet18_p")


def test_row_without_a_record_says_so_and_how_to_make_it(place: Path):
    for key in ("resnet18.test_accuracy", "deit_t_hard - deit_t",
                "(deit_t_p - deit_t) - (resnet18_p - resnet18)"):  # fmt: skip
        found = findings.find_result(place, key)
        assert found.text == "not run"
        assert dict(found.facts)["command"] == "make reference DATA=FILE.npz PRETRAIN=FILE.npz"


@pytest.mark.parametrize(
    "key",
    [
        "resnet81.test_accuracy",
        "resnet18.test_acuracy",
        "resnet18",
        "resnet18 - deit_x",
        "(deit_t - resnet18) - (deit_x - resnet18)",
    ],
)
def test_unknown_result_is_refused(place: Path, key: str):
    with pytest.raises(ValueError, match=r"no (row|metric)"):
        findings.find_result(place, key)
    write_reference_run(place / "results", 0.9, "resnet18")
    findings.read_runs.cache_clear()
    with pytest.raises(ValueError, match=r"no (row|metric)"):
        findings.find_result(place, key)


def test_measured_reads_one_row_of_a_file():
    measured = functools.partial(findings.find_measured, ROOT)
    rows = json.loads((ROOT / "results/measurements/step-cpu.json").read_text())["rows"]
    row = next(r for r in rows if r["model"] == "resnet18" and r["way"] == rows[0]["way"])
    found = measured(f"step-cpu(model=resnet18, way={rows[0]['way']}).images_per_second")
    assert found.text == f"{row['images_per_second']:#.3g} images/s"
    assert found.interval == f"[{row['low']:#.3g}, {row['high']:#.3g}]"
    assert dict(found.facts)["file"] == "results/measurements/step-cpu.json"
    assert found.page == "runs/measurements/step-cpu"
    assert found.place == f"row-{rows.index(row)}"
    assert measured("cost-cpu(model=deit_t, quantity=gmac).value").text == "1.26 GMAC"
    people = measured("human(part=system, system=people).accuracy")
    assert (people.text, people.interval) == ("77.6%", "[76.0, 79.0]")
    for wrong, said in (
        ("step.x", "no measurement file"),
        ("step-cpu(model=deit_x).images_per_second", "no row"),
        ("step-cpu(model=deit_t).images_per_second", "rows fit; they differ in"),
        ("step-cpu(model=resnet18, way=timm).speed", "no column|no row"),
        ("step-cpu", "expected FILE"),
    ):
        with pytest.raises(ValueError, match=said):
            measured(wrong)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("cost-cpu(model=deit_t, quantity=memory_no_grad_bytes, attention=explicit).value",
         "memory without gradients: DeiT-T, explicit attention"),
        ("human(part=gaps, measure=inter_js, first=ViT-B_32, second=resnet50).value",
         "inter-class JS distance: ViT-B/32, less ResNet-50"),
        ("cost-cpu(model=deit_t, quantity=images_per_second, batch_size=1).value",
         "images per second: DeiT-T, batches of 1"),
        ("human(part=shifts, measure=inter_js, first=efficientnet_lite0-bgr-sum).value",
         "inter-class JS distance: EfficientNet-Lite0 (BGR, sum)"),
    ],
)  # fmt: skip
def test_a_box_speaks_words_and_not_the_keys_of_files(key: str, words: str):
    assert dict(findings.find_measured(ROOT, key).facts)["what"] == words


def test_thesis_number_is_as_printed_and_marked():
    found = findings.find_thesis(ROOT, "accuracy_deit_t_dp")
    assert (found.text, found.mark) == ("97.10%", "thesis")
    assert (found.page, found.place) == ("runs/scoreboard", "thesis-accuracy-deit-t-dp")
    assert "Table" in dict(found.facts)["in the thesis"]
    with pytest.raises(ValueError, match="no statement"):
        findings.find_thesis(ROOT, "accuracy_deit_x")


def test_counted_counts_now():
    assert findings.find_counted(ROOT, "tokens(model=deit_t)").text == "198"
    assert findings.find_counted(ROOT, "parameters(model=resnet18)").text == "11,181,642"
    facts = dict(findings.find_counted(ROOT, "parameters(model=atresnet18, tokens=spatial)").facts)
    assert facts["what"] == "parameters: AtResNet-18, spatial tokens"
    with pytest.raises(ValueError, match="no count"):
        findings.find_counted(ROOT, "tokenz(model=deit_t)")
    with pytest.raises(ValueError, match="needs"):
        findings.find_counted(ROOT, "tokens()")


@pytest.mark.parametrize(
    "text",
    ["97.10% of", "97.1 percent", "a gain of 1.2 points", "63 images/s", "63 images a second",
     "88.7 MB", "3 ms", "1.26 GMAC", "12 seconds", "an accuracy of 0.963", "0.95 accuracy",
     "10 to 12%", "(5.3%)"],
)  # fmt: skip
def test_measured_number_typed_by_hand_is_seen(text: str):
    assert len(typed_in(text)) == 1


@pytest.mark.parametrize(
    "text",
    ["in 2021", "16 x 16 patches", "100 epochs", "224 pixels", "section 5.6", "equation (5.2)",
     "a 95% interval", "95% Wilson intervals", "the 95% t-interval", "a temperature of 0.07",
     "CC BY 4.0", "two points", "Figure 2.1", "10,000 images", "Python 3.11, 3.12 or 3.13"],
)  # fmt: skip
def test_years_settings_and_numbers_of_things_may_be_typed(text: str):
    assert typed_in(text) == []


@dataclass
class Built:
    """Pages and warnings of a small book."""

    pages: dict[str, str]
    warnings: dict[str, list[str]]


PAGES = {
    "intro": "# Numbers\n\nIt is {result}`resnet18.test_accuracy`, {result}`deit_t.test_accuracy`, "
    "{thesis}`accuracy_deit_t_dp`.\n\n## Of {counted}`tokens(model=deit_t)` tokens\n\n"
    "{cited}`81.8%` {cite:p}`x`. In `97.1%` and $97.1\\%$:\n\n```\n97.1%\n```\n",
    "unknown": "# Unknown\n\n{result}`resnet81.test_accuracy` {measured}`x.y` {thesis}`x` "
    "{counted}`x`\n",
    "typed": "# Typed\n\nIt is 97.1% right.\n\n{cited}`81.8%` of nobody.\n",
    "reproduce": "# Reproduce\n",
    "runs/scoreboard": "# Scoreboard\n\nGenerated, 97.1%.\n",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A few pages, built with the extensions alone."""
    root = tmp_path_factory.mktemp("numbers")
    (root / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "experiments.toml", root / "notebooks")
    name = write_reference_run(root / "results", 0.9, "resnet18")
    source = root / "book"
    for page, text in {**PAGES, f"runs/records/{name}": "# Run\n"}.items():
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{page}.md").write_text(f"---\norphan: true\n---\n{text}")
    (source / "x.bib").write_text("@book{x, title={T}, author={A}, year={2000}, publisher={P}}\n")
    (source / "bib.md").write_text("---\norphan: true\n---\n# B\n\n```{bibliography}\n```\n")
    warned = io.StringIO()
    app = Sphinx(
        str(source), None, str(root / "out"), str(root / "doctrees"), "html",
        {"extensions": ["myst_parser", "sphinxcontrib.bibtex", "attnbook.provenance",
                        "attnbook.typed_numbers"],
         "root_doc": "intro", "bibtex_bibfiles": ["x.bib"], "html_theme": "basic",
         "myst_enable_extensions": ["dollarmath"]},
        status=None, warning=warned,
    )  # fmt: skip
    app.build()
    warnings: dict[str, list[str]] = {}
    for line in re.sub(r"\x1b\[[\d;]*m", "", warned.getvalue()).splitlines():
        form = re.match(rf"{re.escape(str(source))}/(.+?)\.md(?::\d+)?: WARNING: (.+)", line)
        warnings.setdefault(form[1] if form else "", []).append(form[2] if form else line)
    pages = {page: (root / "out" / f"{page}.html").read_text() for page in PAGES}
    return Built(pages, warnings)


def test_unknown_keys_and_typed_numbers_are_warnings_and_nothing_else_is(built: Built):
    assert set(built.warnings) == {"unknown", "typed"}, built.warnings
    assert [line.split(":")[0] for line in built.warnings["unknown"]] == [
        "result", "measured", "thesis", "counted"
    ]  # fmt: skip
    typed, uncited = built.warnings["typed"]
    assert "'97.1%' typed by hand" in typed
    assert "without {cite}" in uncited


def test_number_is_a_link_described_by_its_facts(built: Built):
    page = built.pages["intro"]
    boxes = re.findall(
        r'<a href="(runs/records/[^"]+)\.html" class="number-link" aria-describedby="([^"]+)">'
        r'90\.0% <span class="number-interval">\[87\.0, 92\.0\]</span></a>'
        r'<span class="number-facts" role="tooltip" id="([^"]+)">(.*?)</span></span>',
        page,
    )
    assert len(boxes) == 1
    target, described, box, facts = boxes[0]
    assert described == box and page.count(f'id="{box}"') == 1
    for term in ("run", "commit", "command", "data", "device", "date"):
        assert f'<span class="number-term">{term}: </span>' in facts
    assert Path(target).name in facts


def test_number_without_a_run_links_to_the_command_and_the_thesis_is_marked(built: Built):
    page = built.pages["intro"]
    assert re.search(r'<a href="reproduce.html"[^>]*>not&nbsp;run</a>', page)
    assert "make reference DATA=FILE.npz" in page
    assert re.search(r'97\.10%<sup class="number-mark">T</sup></a>', page)
    assert 'href="runs/scoreboard.html#thesis-accuracy-deit-t-dp"' in page


def test_number_in_a_heading_is_text(built: Built):
    assert re.search(r"<h2>Of 198 tokens", built.pages["intro"])


@pytest.mark.slow
def test_box_opens_on_hover_focus_and_tap_closes_with_escape_and_fits_a_phone(
    browser: Any, built: Built, tmp_path: Path
):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    static = ROOT / "book" / "_static"
    style = (static / "provenance.css").read_text()
    script = (static / "provenance.js").read_text()
    numbers = re.findall(r'<span class="number.*?</span></span>', built.pages["intro"], re.DOTALL)
    page = tmp_path / "page.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    body = f"<p>{'words ' * 60}{' and '.join(numbers)}</p><script>{script}</script>"
    page.write_text(f"<!DOCTYPE html><html lang=en><head>{head}<style>{style}</style></head>{body}")
    shown = "return [...document.querySelectorAll('.number-facts')].map(b => b.offsetHeight > 0)"
    inside = """
    return [...document.querySelectorAll('.number-facts')].every(box => {
        const {left, right, top, bottom} = box.getBoundingClientRect();
        return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
    }) && document.documentElement.scrollWidth <= innerWidth"""
    for size in (WIDE, NARROW, (360, 640)):
        resize(browser, size)
        browser.get(page.as_uri())
        assert not any(browser.execute_script(shown))
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        assert wait(lambda: browser.execute_script(shown)[0]), size
        assert not any(browser.execute_script(shown)[1:])
        assert browser.execute_script(inside), size
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not any(browser.execute_script(shown))
        browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.execute_script(shown)[:2] == [False, True]
    browser.get(page.as_uri())
    point(browser, browser.find_elements(By.CLASS_NAME, "number-link")[0])
    assert wait(lambda: browser.execute_script(shown)[0])
    point(browser, browser.find_elements(By.CLASS_NAME, "number-facts")[0])
    assert browser.execute_script(shown)[0], "the pointer may go into the box, to copy from it"
    point(browser, browser.find_element(By.TAG_NAME, "html"))
    assert wait(lambda: not any(browser.execute_script(shown)))
    tap(browser, browser.find_elements(By.CLASS_NAME, "number-link")[0])
    assert wait(lambda: browser.execute_script(shown)[0])
    assert browser.current_url == page.as_uri(), "the first tap only opens"
    tap(browser, browser.find_elements(By.CLASS_NAME, "number-link")[0])
    assert wait(lambda: browser.current_url != page.as_uri()), "the second one follows"
    resize(browser, WIDE)


@pytest.mark.slow
@pytest.mark.parametrize("above", [0, 350, 420, 500, 780])
def test_box_on_a_phone_never_covers_the_number_that_was_tapped(
    browser: Any, built: Built, tmp_path: Path, above: int
):
    """Wherever the number stands, and however long its box."""
    from selenium.webdriver.common.by import By

    static = ROOT / "book" / "_static"
    number = re.findall(r'<span class="number.*?</span></span>', built.pages["intro"], re.DOTALL)[0]
    fact = '<span class="number-term">more</span><span class="number-fact">{}</span></span>'
    page = tmp_path / "page.html"
    for facts in ("words", "words " * 400):
        long = number.removesuffix("</span>") + fact.format(facts)
        page.write_text(
            '<!DOCTYPE html><html lang=en><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<style>{(static / 'provenance.css').read_text()}</style>"
            f"<p style='margin-top: {above}px'>{long}</p><script>"
            f"{(static / 'provenance.js').read_text()}</script></html>"
        )
        resize(browser, NARROW)
        browser.get(page.as_uri())
        link = browser.find_element(By.CLASS_NAME, "number-link")
        tap(browser, link)
        box = browser.find_element(By.CLASS_NAME, "number-facts")
        assert wait(box.is_displayed)
        rectangle = "return arguments[0].getBoundingClientRect().toJSON()"
        number_at, box_at = (browser.execute_script(rectangle, each) for each in (link, box))
        assert box_at["bottom"] <= number_at["top"] or number_at["bottom"] <= box_at["top"]
        assert box_at["top"] >= 0 and box_at["bottom"] <= NARROW[1] and box_at["height"] > 100
    resize(browser, WIDE)


def middle(browser: Any, element: Any) -> dict[str, float]:
    """Where the middle of an element is."""
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", element)
    return {"x": box["left"] + box["width"] / 2, "y": box["top"] + box["height"] / 2}


def point(browser: Any, element: Any) -> None:
    """The mouse over the middle of an element."""
    moved = {"type": "mouseMoved", **middle(browser, element)}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", moved)


def tap(browser: Any, element: Any) -> None:
    """A finger's tap on the middle of an element."""
    at = middle(browser, element)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [at]), ("touchEnd", [])):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
