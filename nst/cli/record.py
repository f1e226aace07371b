"""`result.json`: what a run says of itself when it has ended."""

import json
import math
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

import nst
from nst.cli.settings import config_sha256
from nst.errors import InputError
from nst.files import atomic_write
from nst.network import weights
from nst.run.folder import Folder
from nst.run.results import Result


def write(folder: Path, sha256: str, entries: Mapping[str, Any]) -> None:
    """Write `result.json`: what `entries` say, the config's SHA-256 and the versions."""
    whole = {**entries, "config_sha256": sha256, "versions": _versions()}
    text = json.dumps(whole, indent=2, allow_nan=False)
    atomic_write(folder / "result.json", text.encode() + b"\n")


def write_failure(folder: Path, config: DictConfig, reason: str, asked: Mapping[str, str]) -> None:
    """Write the `result.json` of a run that has no result, where no earlier one's stands.

    A full disk, or a file of the user's in its place, leaves it out.
    """
    if "picture" in read(folder):
        return
    nothing = {"final": None, "best": None, "steps": 0, "evaluations": 0, "seconds": 0.0}
    with suppress(OSError, InputError):
        own = Folder(folder)
        own.claim(folder / "result.json")
        if not (folder / "losses.jsonl").exists():  # else the settings of the run that began stand
            own.remember(asked)
        failed = {"status": "failed", "stop_reason": "error", "error": reason, **nothing}
        write(folder, config_sha256(config), failed)


def is_done(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds the finished run of this very config."""
    left = read(folder)
    if (left.get("status"), left.get("config_sha256")) != ("ok", config_sha256(config)):
        return False
    # ImageNet's weights may have come within reach since.
    then: str = left["weights"]["source"]
    if config.model.weights != "auto" or then == "imagenet":
        return True
    now = weights.resolve("auto", architecture=config.model.architecture)
    return now.source == then


def read(folder: Path) -> dict[str, Any]:
    """What `result.json` says; empty where there is none."""
    try:
        values = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def summary(result: Result, seed: int, picture: str) -> dict[str, Any]:
    """What a result says of itself, as plain values.

    Args:
        result: of the run.
        seed: likewise.
        picture: name of its file.
    """
    last = result.losses[-1] if result.losses else None
    resumed = result.start.rows
    losses = asdict(result.picture_losses)
    losses |= losses.pop("terms")  # each a column of its own
    return {
        "status": result.status,
        "stop_reason": result.stop_reason,
        "error": result.error,
        "final": last.as_columns() if last else None,
        "best": result.best.as_columns() if result.best else None,
        "picture": {"file": picture, **_finite(losses)},
        "yardstick": result.yardstick and _finite(result.yardstick),
        "scales": _finite({str(side): found for side, found in result.scales.items() if found}),
        "recoveries": [asdict(one) for one in result.recoveries],
        "resumed_after": resumed[-1].evaluation if resumed else None,
        "steps": result.steps,
        "evaluations": last.evaluation if last else 0,
        "cost": last.cost if last else 0.0,
        "seconds": result.seconds,
        "evaluations_per_second": last.cost / result.seconds if last and result.seconds else None,
        "seed": seed,
        "size": list(result.start.size),
        "device": result.start.device,
        "threads": torch.get_num_threads(),
        "styles": [
            {"weight": weight, "size": [style.shape[3], style.shape[2]]}
            for weight, style in zip(result.start.style_weights, result.start.styles, strict=True)
        ],
        "regions": [
            {"name": region.name, "area": region.mask.mean().item()}
            for region in result.start.regions
            if region.mask is not None
        ],
        "memory": {
            "mode": "full" if result.start.tile_size is None else "tiled",
            "tile_size": result.start.tile_size,
            **result.chosen,
        },
        "weights": {
            "source": result.start.weights,
            "detail": result.start.weights_detail,
            **result.start.network,
        },
    }


def _finite(value: Any) -> Any:
    """A number, or a mapping of them, with None in place of what JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value if math.isfinite(value) else None


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "hydra-core", "pillow", "numpy")
    found = {package: metadata.version(package) for package in packages}
    return {"nst": nst.__version__, "python": platform.python_version(), **found}
