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

import attnlib as al


def pytest_configure() -> None:
    """Ctrl-C does here what it does in a terminal, even if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_threads_fight() -> Iterator[None]:
    """Two threads on two cores that others use too are slower than one; results stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """The CPU always; CUDA where ``-m gpu`` finds one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
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
