"""Seconds of whole sweeps, from the command to the last picture, with the launchers of one machine.

- `reference's four`: `experiment=reference optimizer=adam,lbfgs init=random,content`, 9800
  evaluations, with both terms in one pass (`loss.joint=true`), and with nst's L-BFGS and its
  bounded steps in place of torch's (`~rounding`);
- `eight`: eight runs of 300 evaluations each with L-BFGS, from noise of different seeds.

Jobs go one after the other (`basic`), as one batch, or as four processes at a time (`joblib`, where
that launcher is installed). Of what a sweep writes, intermediate images are left out. What a job
counts as its own seconds is optimisation alone, from its first evaluation on; the rest of the wall
clock is the start of the programs, pictures, the yardstick and files.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import ROOT

EVALUATIONS = 300
LAUNCHERS = {
    "basic": ["hydra/launcher=basic"],
    "batch": ["hydra/launcher=batch"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
}


def measure(
    sizes: Sequence[int],
    reference: Sequence[int],
    precisions: Sequence[str],
    launchers: Sequence[str],
    device: str,
) -> list[dict[str, Any]]:
    """Run every sweep with every launcher, print and return what each took.

    Args:
        sizes: of `eight`, longest sides in px.
        reference: of the reference's four runs, sides in px.
        precisions: of the network.
        launchers: of `LAUNCHERS`.
        device: where.
    """
    found: list[dict[str, Any]] = []
    if not (sizes or reference):
        return found
    if "joblib" in launchers and not _is_installed("hydra-joblib-launcher"):
        print("\njoblib: hydra-joblib-launcher is not installed")
        launchers = [launcher for launcher in launchers if launcher != "joblib"]
        if not launchers:
            return found
    columns = f"{'launcher':<10}{'seconds':>9}{'evaluations/s':>15}{'of the jobs':>13}"
    print(f"\n{'sweep':<18}{'size':<6}{'precision':<11}{columns}")
    for name, size, overrides in commands(sizes, reference):
        for precision in precisions:
            for launcher in launchers:
                given = [
                    *overrides,
                    *LAUNCHERS[launcher],
                    f"precision={precision}",
                    f"device={device}",
                ]
                figures = run(given)
                found.append(
                    {
                        "sweep": name,
                        "size": size,
                        "precision": precision,
                        "launcher": launcher,
                        **figures,
                    }
                )
                rate = figures["evaluations"] / figures["seconds"]
                own = figures["evaluations"] / figures["optimisation"]
                print(
                    f"{name:<18}{size:<6}{precision:<11}{launcher:<10}{figures['seconds']:>9.1f}"
                    f"{rate:>15.1f}{own:>13.1f}",
                    flush=True,
                )
    return found


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def commands(
    sizes: Sequence[int], reference: Sequence[int]
) -> Iterator[tuple[str, int, list[str]]]:
    """Name, size and overrides of each sweep."""
    both = ["optimizer=adam,lbfgs", "init=random,content"]
    for size in reference:
        preset = ["experiment=reference", "loss.joint=true", "~rounding"]
        yield "reference's four", size, [*preset, *both, f"size={size}"]
    for size in sizes:
        seeds = ",".join(map(str, range(8)))
        budget = f"budget.evaluations={EVALUATIONS}"
        yield "eight", size, ["init=random", f"seed={seeds}", budget, f"size={size}"]


def run(overrides: list[str]) -> dict[str, Any]:
    """One sweep in a process of its own: its seconds, and its jobs' evaluations and seconds."""
    with TemporaryDirectory() as folder:
        fixed = ["model.weights=embedded", "output.image_every=null", f"hydra.sweep.dir={folder}"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "nst", *overrides, *fixed, "--multirun"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        results = [json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")]
    return {
        "seconds": seconds,
        "jobs": len(results),
        "evaluations": sum(result["evaluations"] for result in results),
        "optimisation": sum(result["seconds"] for result in results),
    }
