"""Whole runs in a control group that kills what takes more memory than it allows."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
# Program and network take about half of it.
LIMIT = 1000 << 20


@pytest.fixture
def group() -> Iterator[Path]:
    """The folder of a control group with `LIMIT`, version 1 or 2."""
    for mount, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        try:
            folder = Path(tempfile.mkdtemp(prefix="nst-test-", dir=mount))
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(LIMIT))
            yield folder
            return
        except OSError:
            continue
        finally:
            folder.rmdir()
    pytest.skip("needs to make control groups")


@pytest.mark.parametrize(
    "settings",
    [
        ("optimizer=lbfgs", "precision=bf16"),
        ("optimizer=adam", "parametrization=pixel"),
    ],
    ids=" ".join,
)
def test_a_run_is_planned_for_the_memory_that_it_may_have(
    group: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    # As a whole the picture would take more than the limit, in bfloat16 more than may be planned.
    picture = ("size=512", "resize=stretch", "budget.evaluations=1", "model.weights=embedded")
    command = [sys.executable, "-m", "nst", *picture, *settings, "hydra.run.dir=run"]

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        command, cwd=tmp_path, preexec_fn=enter, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "Tiled: 512 x 512 px would take" in done.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "ok"
