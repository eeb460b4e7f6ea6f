"""Freed memory serves the next tensor, unless the user has set up malloc."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")

COUNTED = """
import resource, torch
for _ in range(12):
    torch.ones(16 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 * 2**20)  # 64 MiB, 16,384 pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(first: str, **variables: str) -> int:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    script = [sys.executable, "-c", first + COUNTED]
    done = subprocess.run(script, env=kept | variables, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_tensor_takes_the_pages_of_the_one_that_was_freed_before() -> None:
    assert count_faults("import attnlib") < 16_384
    assert count_faults("") > 9 * 16_384  # what glibc does by itself


def test_a_user_who_has_set_up_malloc_is_left_alone() -> None:
    assert count_faults("import attnlib", MALLOC_ARENA_MAX="4") > 9 * 16_384
    assert count_faults("import attnlib", GLIBC_TUNABLES="glibc.malloc.arena_max=4") > 9 * 16_384


def test_freed_memory_that_is_kept_is_counted() -> None:
    script = (
        "import attnlib, torch; from attnlib.allocator import kept_memory; before = kept_memory(); "
        "torch.ones(64 * 2**20); print(kept_memory() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 200e6  # of 256 MiB
