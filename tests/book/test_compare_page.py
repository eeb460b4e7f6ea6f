"""The page that compares runs does so in the reader's browser, and judges a pasted record."""

import json
from pathlib import Path
from typing import Any

import book_sample
import numpy as np
import pytest
from browsing import console_faults, outside_requests, resize, wait

from attnbook import compare_runs
from attnlib.config import complete_values
from attnlib.records.find import list_runs
from attnlib.stats.intervals import paired_difference

ROOT = Path(__file__).resolve().parents[2]

LABELS = np.arange(400) % 3
FIRST, SECOND = "deit_t-digits-quick-s0-01234567", "resnet18-digits-quick-s0-89abcdef"
OTHER = "resnet18-digits-quick-s3-00000000"
CHOICE = {"dataset": "digits", "profile": "quick", "seed": 0}
CONFIG = {"model": "resnet18", "epochs": 6, "lr": 5e-4} | CHOICE


def write_runs(folder: Path) -> None:
    """Two runs that answered the same 400 images, 90% and 80% of them right."""
    for name, title, accuracy in ((FIRST, "DeiT-T", 0.9), (SECOND, "ResNet-18 </script>", 0.8)):
        book_sample.write_run(folder, name, title)
        path = folder / name
        record = json.loads((path / "record.json").read_text())
        record["metrics"]["test_accuracy"] |= {
            "value": accuracy, "low": round(accuracy - 0.04, 2), "high": round(accuracy + 0.03, 2),
            "n": 400,
        }  # fmt: skip
        model = name.split("-")[0]
        record["command"] = f"papermill notebooks/train.ipynb OUT.ipynb -p model {model}"
        (path / "record.json").write_text(json.dumps(record))
        config = book_sample.CONFIG | {"model": model} | CHOICE
        (path / "config.json").write_text(json.dumps(config))
        right = np.arange(400) < 400 * accuracy
        decided = np.where(right, LABELS, (LABELS + 1) % 3)
        np.savez(path / "predictions.npz", logits=np.eye(3)[decided], labels=LABELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare")
    write_runs(place)
    return place


@pytest.fixture
def page(browser: Any, folder: Path) -> Any:
    """The two directives' HTML in a page of its own, opened from the disk."""
    styles = "".join(
        (ROOT / "book/_static" / f"{n}.css").read_text() for n in ("custom", "compare")
    )
    body = compare_runs.SKELETON + compare_runs.CHECK + compare_runs.script(list_runs(folder))
    path = folder / "page.html"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{styles}'
    )
    path.write_text(f"<!DOCTYPE html><html lang=en><head>{head}</style></head><body>{body}")
    resize(browser, (1400, 1000))
    browser.get(path.as_uri())
    yield browser
    assert console_faults(browser) == []
    assert outside_requests(browser) == []


def text(page: Any, selector: str) -> str:
    return page.execute_script(
        "return document.querySelector(arguments[0])?.textContent ?? ''", selector
    )


def paste(page: Any, record: Any, config: Any = "") -> tuple[str, str]:
    """Paste, press Check; the kind of verdict and its words."""
    from selenium.webdriver.common.by import By

    for name, value in (("record", record), ("config", config)):
        shown = value if isinstance(value, str) else json.dumps(value)
        script = "document.getElementById(arguments[0]).value = arguments[1]"
        page.execute_script(script, f"check-{name}", shown)
    page.find_element(By.CSS_SELECTOR, "#check-form button").click()
    kind = page.execute_script("return document.getElementById('check-result').dataset.verdict")
    return kind, text(page, "#check-result")


def record_of(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "record.json").read_text())


def with_accuracy(record: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The record with other numbers in its test accuracy."""
    accuracy = record["metrics"]["test_accuracy"] | values
    return record | {"metrics": record["metrics"] | {"test_accuracy": accuracy}}


def test_data_in_the_page_are_the_records_and_the_paired_differences(folder: Path):
    content = json.loads(compare_runs.data_of(list_runs(folder)))
    assert [run["name"] for run in content["runs"]] == [FIRST, SECOND]
    assert "</script>" not in compare_runs.data_of(list_runs(folder))
    estimate = paired_difference(np.arange(400) < 360, np.arange(400) < 320)
    assert content["differences"][f"{FIRST} {SECOND}"] == pytest.approx(estimate[:3], abs=1e-5)


@pytest.mark.slow
def test_two_runs_stand_side_by_side_with_settings_curves_and_intervals(page: Any):
    result = text(page, "#compare-result")
    assert (
        "less that of the second: +10.0 points" in result
        and "more than the choice of test images" in result
    )
    assert "90.0% [86.0, 93.0]" in result and "80.0% [76.0, 83.0]" in result
    settings = text(page, ".compare-table tbody")
    assert settings == "modeldeit_tresnet18"
    assert "validation accuracy. DeiT-T: from" in page.execute_script(
        "return document.querySelector('#compare-result svg').getAttribute('aria-label')"
    )
    paths = "return [...document.querySelectorAll('#compare-result path')]"
    drawn = page.execute_script(f"{paths}.map(path => path.getAttribute('d'))")
    assert len(drawn) == 2 and all(path.count("L") == 5 for path in drawn)
    labels = "return [...document.querySelectorAll('#compare-result svg text')]"
    axis = page.execute_script(f"{labels}.map(label => label.textContent)")
    assert axis[0] == "0.0%", "the axis of accuracy begins at zero"
    links = page.execute_script("return [...document.querySelectorAll('td a')].map(a => a.href)")
    assert [Path(link).stem for link in links] == [FIRST, SECOND]


@pytest.mark.slow
def test_keyboard_alone_changes_a_run_and_the_curve(page: Any):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page.find_element(By.ID, "compare-second").send_keys("DeiT-T")
    assert wait(lambda: "This is one run, chosen twice" in text(page, "#compare-result"))
    page.find_element(By.ID, "compare-curve").send_keys(Keys.ARROW_DOWN)
    assert wait(lambda: "The validation loss over the epochs" in text(page, "figcaption"))


@pytest.mark.slow
def test_pasted_record_is_matched_and_judged_by_the_interval_of_the_difference(
    page: Any, folder: Path
):
    own = record_of(folder, SECOND) | {"finished": "2026-02-02T00:00:00+00:00"}
    kind, said = paste(page, own)
    assert kind == "agrees" and "of exactly this configuration" in said and SECOND in said
    own["name"] = OTHER
    own["metrics"]["test_accuracy"] |= {"value": 0.82, "low": 0.78, "high": 0.85}
    kind, said = paste(page, own)
    assert kind == "agrees" and "paste config.json" in said and "+2.0 points" in said
    own["metrics"]["test_accuracy"] |= {"value": 0.7, "low": 0.66, "high": 0.73}
    kind, said = paste(page, own, CONFIG | {"seed": 3})
    assert kind == "differs" and "but for the seed" in said
    assert "80.0% [76.0, 83.0]" in said and "\N{MINUS SIGN}10.0 points" in said


@pytest.mark.slow
def test_record_that_fits_no_run_or_is_none_is_told_so(page: Any, folder: Path):
    own = record_of(folder, SECOND)
    assert paste(page, "{not json")[0] == "fault"
    assert paste(page, "")[0] == "fault"
    kind, said = paste(page, {"name": "x"})
    assert kind == "fault" and "dataset.sha256" in said and "metrics.test_accuracy.low" in said
    kind, said = paste(page, own | {"name": "vit_b_16-digits-quick-s0-00000000"})
    assert kind == "none" and "No run here" in said
    kind, said = paste(page, own | {"name": OTHER}, CONFIG | {"epochs": 7, "seed": 3})
    assert kind == "none" and "differs in epochs" in said
    kind, said = paste(page, own | {"dataset": own["dataset"] | {"sha256": "0" * 64}})
    assert kind == "none" and "other data" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "field", "valid"),
    [
        ({"value": 44.8}, "value is 44.8", "a share from 0 to 1"),
        ({"low": -0.1}, "low is -0.1", "from 0 to the value, 0.8"),
        ({"high": 1.2}, "high is 1.2", "from the value, 0.8, to 1"),
        ({"value": 0.5}, "low is 0.76", "from 0 to the value, 0.5"),  # the old interval beside it
        ({"value": 0.95}, "high is 0.83", "from the value, 0.95, to 1"),
        ({"low": 0.83, "high": 0.76}, "low is 0.83", "from 0 to the value, 0.8"),
        ({"n": 0}, "n is 0", "a whole number of images, 1 or more"),
        ({"n": 399.5}, "n is 399.5", "a whole number of images, 1 or more"),
    ],
)
def test_accuracy_out_of_its_range_is_refused_by_name(
    page: Any, folder: Path, values: dict[str, float], field: str, valid: str
):
    own = with_accuracy(record_of(folder, SECOND) | {"name": OTHER}, **values)
    kind, said = paste(page, own)
    assert kind == "fault"
    assert f"metrics.test_accuracy.{field}," in said and f"must be {valid}." in said


@pytest.mark.slow
def test_accuracies_at_the_ends_of_their_range_are_taken(page: Any, folder: Path):
    own = record_of(folder, SECOND) | {"name": OTHER}
    for values in ({"value": 1, "low": 0.99, "high": 1}, {"value": 0, "low": 0, "high": 0.01}):
        assert paste(page, with_accuracy(own, **values))[0] == "differs"


@pytest.mark.slow
def test_other_number_of_test_images_is_told(page: Any, folder: Path):
    own = record_of(folder, SECOND) | {"name": OTHER}
    kind, said = paste(page, with_accuracy(own, n=300))
    assert kind == "agrees" and "tested on 300 images, ours on 400" in said
    assert "tested on" not in paste(page, own)[1]
    kind, said = paste(page, with_accuracy(own, n=None))
    assert kind == "fault" and "it lacks metrics.test_accuracy.n" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pasted", "kind"),
    [("null", "null"), ("7", "a number"), ("[]", "a list"), ('"x"', "a string"), ("true", "true")],
)
def test_json_that_is_no_object_is_told_what_it_is(page: Any, folder: Path, pasted: str, kind: str):
    for name, texts in (("record", (pasted,)), ("config", (record_of(folder, SECOND), pasted))):
        verdict, said = paste(page, *texts)
        assert verdict == "fault" and f"pasted as {name}.json is {kind}" in said
        assert "from { to }" in said


@pytest.mark.slow
def test_config_that_is_none_or_another_run_s_is_refused(page: Any, folder: Path):
    own = record_of(folder, SECOND) | {"name": OTHER}
    kind, said = paste(page, own, own)
    assert kind == "fault" and "no config.json of a run: it lacks model" in said
    for name, config, why in (
        (OTHER, CONFIG, "begins resnet18-digits-quick-s0"),
        (OTHER, CONFIG | {"seed": 3, "model": "deit_t"}, "begins deit_t-digits-quick-s3"),
        (SECOND, CONFIG | {"epochs": 7}, "differ from config.json in epochs"),
        ("resnet18-digits-quick-s0-00000000", CONFIG, f"is named {SECOND}"),
    ):
        kind, said = paste(page, own | {"name": name}, config)
        assert kind == "fault" and "contradict each other" in said and why in said
    command = own["command"] + " -p epochs 7"
    kind, said = paste(page, own | {"command": command}, CONFIG | {"seed": 3})
    assert kind == "fault" and "command sets epochs to 7, but in config.json it is 6" in said
    kind, _ = paste(page, own, CONFIG | {"seed": 3, "runs_dir": "/elsewhere", "data_path": "/x"})
    assert kind == "agrees"


@pytest.mark.slow
def test_our_own_record_agrees_only_with_itself(page: Any, folder: Path):
    own = record_of(folder, SECOND)
    for config in ("", CONFIG):
        kind, said = paste(page, own, config)
        assert kind == "itself" and "This is our record itself" in said and "repetition" in said
    kind, said = paste(page, with_accuracy(own, value=0.81))
    assert kind == "fault" and "another metrics.test_accuracy.value: it was altered" in said
    kind, said = paste(page, own | {"git": {"commit": "f" * 40}})
    assert kind == "agrees" and "itself" not in said


@pytest.mark.slow
def test_another_seed_may_explain_a_difference_but_not_one_of_the_same_seed(
    page: Any, folder: Path
):
    own = with_accuracy(record_of(folder, SECOND), value=0.7, low=0.66, high=0.73)
    own["finished"] = "2026-02-02T00:00:00+00:00"
    kind, said = paste(page, own, CONFIG)
    assert kind == "differs" and "may explain it" not in said
    kind, said = paste(page, own | {"name": OTHER}, CONFIG | {"seed": 3})
    assert kind == "differs" and "Another seed may explain it." in said
    kind, said = paste(page, own | {"name": OTHER})
    assert kind == "differs" and "Another seed or another setting may explain it." in said


@pytest.mark.slow
def test_page_does_not_scroll_sideways_at_360_pixels(page: Any):
    resize(page, (360, 740))
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_no_kept_record_is_said_to_contradict_its_own_configuration(browser: Any, tmp_path: Path):
    """Nor is the same run's, whose config.json is from a time with more parameters or fewer."""
    kept = list_runs(ROOT / "results")
    body = compare_runs.SKELETON + compare_runs.CHECK + compare_runs.script(kept)
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><html lang=en><meta charset=utf-8><body>{body}")
    browser.get(path.as_uri())
    for run in kept:
        own = record_of(run.path.parent, run.name)
        assert paste(browser, own, run.config)[0] == "itself", run.name
        other = own | {"finished": "2026-02-02T00:00:00+00:00"}
        newer = complete_values(run.config)
        older = {k: v for k, v in run.config.items() if k not in ("skip_nonfinite", "accumulate")}
        is_mixed = run.config["amp"] == "true"  # asked for, not chosen
        once = older if is_mixed else older | {"amp": False}
        for config in (run.config, newer, older, once):
            assert paste(browser, other, config)[0] == "agrees", run.name
        kind, said = paste(browser, other, newer | {"amp": "false" if is_mixed else "true"})
        told = "sets amp to true" if is_mixed else "settings differ from config.json in amp"
        assert kind == "fault" and told in said
