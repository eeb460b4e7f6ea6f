"""What tests share: a device, a tiny configuration and run of it, a small book, a browser."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import book_sample
import pytest
import torch
from browsing import open_browser
from page_walk import Visit, walk
from pretended_device import T4, Machine, pretend

import attnlib as al

HAS_CUDA = torch.cuda.is_available()
LONG = ("book", "system")  # whole programs, the book and a browser; the other folders take seconds


def pytest_configure() -> None:
    """Ctrl-C does here what it does in a terminal, even if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Short files come last, so that several workers are busy to the end."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_report_header() -> str:
    """Where tests marked gpu run."""
    if HAS_CUDA:
        return f"gpu: {torch.cuda.get_device_name()}"
    return f"gpu: none here; tests marked gpu run on a pretended {T4.name}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests marked gpu were not on a real device."""
    count = sum(
        ("device", "pretended") in map(tuple, getattr(report, "user_properties", ()))
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.getreports(outcome)
    )
    if count:
        terminalreporter.write_line(f"gpu: {count} tests ran on a pretended {T4.name}")


@pytest.fixture(autouse=True)
def _no_threads_fight() -> Iterator[None]:
    """Two threads on two cores that others use too are slower than one; results stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _processor_without_bfloat16() -> Iterator[None]:
    """``amp auto`` means float32 on the CPU, whichever processor the tests run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attnlib.training.state.cpu_computes_bfloat16", lambda: False)
        yield


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine | None]:
    """The pretended machine of a test marked gpu; None where a real device takes its place."""
    if HAS_CUDA or not request.node.get_closest_marker("gpu"):
        yield None
        return
    request.node.user_properties.append(("device", "pretended"))
    with pretend(T4) as machine:
        yield machine


CUDA = pytest.param("cuda", marks=pytest.mark.gpu, id="cuda" if HAS_CUDA else "pretended_cuda")


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """The CPU, and CUDA: a real device or a pretended one."""
    return request.param


@pytest.fixture(scope="session")
def tiny() -> al.TrainConfig:
    """The whole program in seconds: DeiT-T with four patches, 100 digits, two epochs."""
    return al.TrainConfig.from_params(
        model="deit_t", profile="quick", patch_size=16, limit=100, epochs=2, device="cpu"
    )


@pytest.fixture(scope="session")
def tiny_run(tiny: al.TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> al.Run:
    """A finished run of ``tiny``; read it, don't change its folder."""
    folder: Path = tmp_path_factory.mktemp("runs")
    return al.run_experiment(replace(tiny, runs_dir=str(folder)))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small book, built strictly from invented records."""
    folder = tmp_path_factory.mktemp("book")
    book_sample.sample_book(folder)
    return folder


@pytest.fixture(scope="session")
def html(request: pytest.FixtureRequest) -> Path:
    """The HTML that the browser looks at."""
    if built := os.environ.get("ATTNLIB_BOOK_HTML"):
        assert (Path(built) / "intro.html").exists(), f"ATTNLIB_BOOK_HTML: no book in {built}"
        return Path(built).resolve()
    return request.getfixturevalue("sample") / "_build" / "html"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium with its console and its network in the logs."""
    yield from open_browser(tmp_path_factory.mktemp("chromium"))


@pytest.fixture(scope="session")
def visits(browser: Any, html: Path) -> dict[str, Visit]:
    """Every page of that HTML as the browser and axe-core have seen it."""
    return walk(browser, html)
