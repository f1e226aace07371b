"""Peak memory of whole runs against the picture's size, each in a process of its own.

A run is `nst.stylize` of two pictures of noise with Adam and two evaluations, in tiles of 512 px or
as a whole, from reading the pictures to the result and its yardstick. The figure is the largest
resident memory that the system saw of its process, with the program, torch and the network, about
0.5 GiB, in it; on a GPU it is the most that torch held.
"""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any, Literal

import torch
from PIL import Image

import nst
from benchmarks.common import ROOT
from nst.objective import Precision

MODES: tuple[tuple[Literal["full", "tiled"], Precision], ...] = (
    ("full", "fp32"),
    ("full", "bf16"),
    ("tiled", "fp32"),
    ("tiled", "bf16"),
)
# Small enough for the picture's own tensors to show beside a tile's.
TILE_SIZE = 512
# Larger pictures are run with tiles alone.
LARGEST_FULL = 1024


def measure(sizes: list[int], device: str) -> list[dict[str, Any]]:
    """Run every mode at every size, print and return what each took."""
    found = []
    if sizes:
        print(f"\n{'size':<8}{'memory':<8}{'precision':<11}{'peak GiB':>10}{'s/evaluation':>14}")
    for size in sizes:
        for mode, precision in MODES:
            if mode == "full" and size > LARGEST_FULL:
                continue
            command = [sys.executable, "-m", "benchmarks.memory", str(size), mode, precision]
            done = subprocess.run(
                [*command, device],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "scripts"))),
                },
                check=True,
                capture_output=True,
                text=True,
            )
            figures = json.loads(done.stdout.splitlines()[-1])
            found.append({"size": size, "memory": mode, "precision": precision, **figures})
            print(
                f"{size:<8}{mode:<8}{precision:<11}{figures['peak'] / 2**30:>10.2f}"
                f"{figures['seconds_per_evaluation']:>14.2f}",
                flush=True,
            )
    return found


def run(size: int, memory: Literal["full", "tiled"], precision: Precision, device: str) -> None:
    """One run in this process; prints its figures as JSON."""
    tile = Image.effect_noise((256, 256), 100).convert("RGB")
    picture = Image.new("RGB", (size, size))
    for x in range(0, size, 256):
        for y in range(0, size, 256):
            picture.paste(tile, (x, y))
    began = time.perf_counter()
    result = nst.stylize(
        picture,
        picture,
        size=size,
        network=nst.Network("embedded"),
        optimizer=nst.adam,
        budget=nst.Budget(evaluations=2),
        compute=nst.Compute(device, precision, memory=memory, tile_size=TILE_SIZE),
    )
    # In kilobytes, on macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    figures = {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "seconds_per_evaluation": result.seconds / len(result.losses),
        "seconds": time.perf_counter() - began,
        "tile_size": result.start.tile_size,
    }
    if device.startswith("cuda"):
        figures["peak"] = torch.cuda.max_memory_reserved()
    print(json.dumps(figures))


if __name__ == "__main__":
    _, side, mode, precision, device = sys.argv
    run(int(side), mode, precision, device)  # type: ignore[arg-type]
