"""As a program: what runs take of memory, and what was estimated, as a line of JSON for each.

Its arguments are a size in px and the names of runs; without names it is all of them.
"""

import ctypes
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import nst
from nst.objective.cost import Cost
from nst.run.memory import Memory, choose_tile_size
from support import checker_picture, xor_picture

TILED: dict[str, Any] = {"memory": "tiled", "tile_size": 256}
RUNS: dict[str, dict[str, Any]] = {
    "lbfgs": {"optimizer": nst.lbfgs},
    "l2 poolings, pixels": {
        "optimizer": partial(nst.averaged, optimizer=nst.adam),
        "parametrization": nst.pixel,
        "gamut": nst.gamuts.free,
        "network": {"pooling": "l2"},
    },
    "shallow layers of VGG-16": {
        "optimizer": nst.adam,
        "network": {"weights": "random", "architecture": "vgg16"},
        "loss": {"strength": 1.0, "style_layers": {"relu1_1": 1.0, "relu3_1": 1.0}},
    },
    "distributions, bf16": {
        "optimizer": nst.adam,
        "loss": {"strength": None, "style_loss": nst.statistics.SlicedWasserstein()},
        "compute": {"precision": "bf16"},
    },
    "covariances in two regions, bf16": {
        "optimizer": nst.adam,
        "regions": 2,
        "loss": {"strength": None, "style_loss": nst.statistics.Wasserstein()},
        "compute": {"precision": "bf16"},
    },
    "lbfgs, the content's colours, tiles, bf16": {
        "optimizer": nst.lbfgs,
        "color": nst.colors.Content(),
        "compute": {"precision": "bf16", **TILED},
    },
}


def resident(name: str) -> int:
    """Bytes that the system says of this process: `VmRSS` now, `VmHWM` the most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def measured(size: int, settings: dict[str, Any]) -> tuple[int, int]:
    """What a run took at most, and what was estimated."""
    estimates: list[int] = []

    def note(
        memory: Memory,
        tile_size: int | None,
        device: torch.device,
        height: int,
        width: int,
        cost: Cost,
        *,
        kept: int,
        **options: Any,
    ) -> int | None:
        chosen = choose_tile_size(
            memory, tile_size, device, height, width, cost, kept=kept, **options
        )
        estimates.append(cost.needed(height, width, chosen) + kept)
        return chosen

    content, style = (one.resize((size, size)) for one in (checker_picture(), xor_picture()))
    count = settings.get("regions", 1)
    masks = [style.convert("L").point(lambda value: 255 * (value > 100))] * (count - 1)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the most is what there is now
    before = resident("VmRSS")
    with patch("nst.api.choose_tile_size", note):
        nst.stylize(
            content,
            [style] * count,
            size=size,
            regions=nst.Regions([*masks, None]) if masks else None,
            network=nst.Network(**{"weights": "embedded", **settings.get("network", {})}),
            loss=nst.Loss(**settings.get("loss", {})),
            compute=nst.Compute("cpu", **settings.get("compute", {})),
            budget=nst.Budget(evaluations=2),
            **{
                key: settings[key]
                for key in ("optimizer", "parametrization", "gamut", "color")
                if key in settings
            },
        )
    return resident("VmHWM") - before, estimates[-1]


def measure(name: str, size: int) -> None:
    """Become the process of a run."""
    measured(64, RUNS[name])  # what is imported and loaded then is the program's
    print(json.dumps([name, *measured(size, RUNS[name])]), flush=True)


if __name__ == "__main__":
    for name in sys.argv[2:] or RUNS:
        # In a fresh process: what earlier runs leave has gaps that later ones fill.
        if not (child := os.fork()):
            measure(name, int(sys.argv[1]))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name}: failed")
