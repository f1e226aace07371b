"""Shared fixtures: pictures, weights, and the command line."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from forking import TIMEOUT, Commands
from nst.network.weights import Weights, random_weights
from support import Command, checker_picture, xor_picture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of whole commands are slow, with those that say so themselves."""
    for item in items:
        if "nst_command" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end."""
    gc.freeze()


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


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands | None]:
    """What runs commands without their start; None where processes cannot be forked safely."""
    if sys.platform != "linux":
        yield None
        return
    made = Commands()
    yield made
    made.close()


@pytest.fixture
def nst_command(tmp_path: Path, commands: Commands | None) -> Command:
    """Run `python -m nst` in an empty folder, as a user would, with warnings as errors."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {**os.environ, **environment}
        if commands:
            return commands.run(list(arguments), tmp_path, variables)
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "nst", *arguments],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    return run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Pictures are small, and several files run at a time.
    torch.set_num_threads(1)
