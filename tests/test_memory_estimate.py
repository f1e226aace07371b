"""The estimate of memory against what runs take."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import measured_memory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's account of memory"),
]


Peak = tuple[int, int]  # what a run took at most, and what was estimated


def peaks(*names: str) -> list[Peak]:
    """Those of some runs, each in a process of its own; of all without names."""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, measured_memory.__file__, "512", *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return [(most, estimate) for _, most, estimate in lines]


@pytest.fixture(scope="module")
def measured() -> dict[str, Peak]:
    """Of each run by name."""
    return dict(zip(measured_memory.RUNS, peaks(), strict=True))


@pytest.mark.parametrize("name", measured_memory.RUNS)
def test_estimates_are_right_within_15_per_cent(measured: dict[str, Peak], name: str) -> None:
    most, estimate = measured[name]
    right = pytest.approx(estimate, rel=0.15)
    if most != right:
        # The same run varies by a quarter, with where its gaps come to lie.
        most = median([most, *(again for again, _ in peaks(name, name))])
    assert most == right
