"""Small pictures made from formulas, and names that several test files use."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

import nst
from nst.cli import app
from nst.objective import Terms
from nst.optim.schedules import Stage
from nst.pictures.images import Picture
from nst.run.evaluation import Evaluated

REPOSITORY = Path(__file__).resolve().parent.parent


def xor_picture() -> Image.Image:
    """120 x 96: pixel (x, y) is (2x, 2y, 2(x xor y)) mod 256."""
    y, x = np.mgrid[:96, :120]
    return Image.fromarray((np.stack([2 * x, 2 * y, 2 * (x ^ y)], -1) % 256).astype(np.uint8))


def checker_picture(width: int = 100, height: int = 100) -> Image.Image:
    """(x y, 3 (7x + 3y), 255 ((x//8 + y//8) mod 2)) mod 256."""
    y, x = np.mgrid[:height, :width]
    checks = 255 * ((x // 8 + y // 8) % 2)
    return Image.fromarray(
        (np.stack([x * y, 3 * (7 * x + 3 * y), checks], -1) % 256).astype(np.uint8)
    )


def one_size(
    objective: Callable[[torch.Tensor], Terms], start: torch.Tensor, recorded: bool = False
) -> list[Stage]:
    """The stages of a run that keeps its starting image's size."""
    return [Stage(lambda: objective, (start.shape[2], start.shape[3]), recorded=recorded)]


def same_memory(
    run: Callable[[], Evaluated], device: torch.device
) -> tuple[Callable[[], Evaluated], Tensor]:
    """Like `nst.run.evaluation.record`: results of every call in the tensors of the first."""
    found = run()
    numbers = found.numbers.clone()

    def replay() -> Evaluated:
        again = run()
        for old, new in zip(found.gradients, again.gradients, strict=True):
            old.copy_(new)
        for name in ("total", "image", "numbers"):
            getattr(found, name).copy_(getattr(again, name))
        return found

    return replay, numbers


posix = pytest.mark.skipif(os.name != "posix", reason="signals, processes or paths of POSIX")

Command = Callable[..., "subprocess.CompletedProcess[str]"]

# Arguments that make a run last a second.
TINY = ("size=32", "budget.evaluations=3", "model.weights=embedded")


def check_slopes(moved: Callable[[Tensor], Tensor], values: Tensor) -> None:
    """Check a gradient against differences in some directions.

    Args:
        moved: a scalar of values that a step was added to, in float64.
        values: that it is differentiated by, as they are without a step.
    """
    (found,) = torch.autograd.grad(moved(torch.zeros_like(values)), values)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(values.shape, generator=generator).double()
        ahead, behind = (moved(sign * 1e-6 * direction).item() for sign in (1, -1))
        slope = (ahead - behind) / 2e-6
        assert slope == pytest.approx((found * direction).sum().item(), rel=1e-6, abs=1e-6)


def stylize(content: Picture, style: Picture, **options: Any) -> nst.Result:
    """`nst.stylize` with all options side by side, each sorted into the group that it is of.

    On the CPU, whose bits are the same every time, also where there is a GPU.
    """
    options = {"device": "cpu", **options}
    groups = {"loss": nst.Loss, "network": nst.Network, "compute": nst.Compute, "keep": nst.Keep}
    for group, kind in groups.items():
        own = {item.name: item.name for item in fields(kind)}
        if group == "network":  # the run has a seed of its own
            own["weights_seed"] = own.pop("seed")
        given = {own[name]: options.pop(name) for name in own if name in options}
        options[group] = kind(**given)
    return nst.stylize(content, style, **options)


def composed(*overrides: str) -> DictConfig:
    """The config of a command line."""
    with initialize_config_dir(str(app.config_dir()), version_base="1.3"):
        return compose("config", list(overrides))
