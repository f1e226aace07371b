"""Shared fixtures: small pictures made from formulas, small networks, and the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst.weights import Weights, random_weights

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


@pytest.fixture(scope="session")
def weights() -> Weights:
    return random_weights(0)


@pytest.fixture
def content_path(tmp_path: Path) -> Path:
    path = tmp_path / "content.png"
    xor_picture().save(path)
    return path


@pytest.fixture
def style_path(tmp_path: Path) -> Path:
    path = tmp_path / "style.png"
    checker_picture().save(path)
    return path


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def nst_command(tmp_path: Path) -> Command:
    """Run `python -m nst` in an empty folder, as a user would, with warnings as errors."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "nst", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


# Arguments that make a run last a second.
TINY = ("size=32", "budget.evaluations=3", "model.weights=random")


@pytest.fixture(autouse=True)
def _fixed_threads() -> None:
    torch.set_num_threads(2)
