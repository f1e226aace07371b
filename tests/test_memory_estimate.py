"""The estimate of memory against what runs take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import measured_memory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's account of memory"),
]


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[int, int]]:
    """What each run took, and what was estimated, by name."""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, measured_memory.__file__, "512"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {name: (most, estimate) for name, most, estimate in rows}


@pytest.mark.parametrize("name", measured_memory.RUNS)
def test_estimates_are_right_within_15_per_cent(
    measured: dict[str, tuple[int, int]], name: str
) -> None:
    most, estimate = measured[name]
    assert estimate == pytest.approx(most, rel=0.15)
