"""Shared fixtures: pictures, weights, and the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nst.network.weights import Weights, random_weights
from support import Command, checker_picture, xor_picture


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


@pytest.fixture(autouse=True)
def _fixed_threads() -> None:
    torch.set_num_threads(2)
