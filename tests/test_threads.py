"""PyTorch's threads wait as attnlib says, where it comes first and the user says nothing."""

import os
import subprocess
import sys

import pytest

SHOWN = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_WAIT", "GOMP_"))}
    return subprocess.run(
        [sys.executable, "-c", script], env=kept | variables, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("script", "variables", "expected"),
    [
        ("import attnlib", {}, "1000"),
        ("import attnlib.config", {}, "1000"),
        ("import torch, attnlib", {}, "None"),
        ("import attnlib", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("import attnlib", {"GOMP_SPINCOUNT": "7"}, "7"),
    ],
)
def test_threads_sleep_soon_unless_it_is_too_late_or_the_user_has_chosen(
    script, variables, expected
):
    done = run_python(f"{script}; {SHOWN}", **variables)
    assert (done.stdout.strip(), done.stderr) == (expected, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP is Linux's")
def test_the_library_that_starts_the_threads_has_read_it():
    done = run_python("import attnlib, torch", OMP_DISPLAY_ENV="VERBOSE")
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
