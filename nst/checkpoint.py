"""Atomic save and verified load of a run's state.

A checkpoint is a `torch.save` file of two entries: the payload, itself a `torch.save` file as
bytes, and the payload's SHA-256. Reading uses `weights_only=True` throughout, so nothing in a
checkpoint can run code.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from nst.errors import InputError
from nst.files import atomic_write


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or not a checkpoint; the message names the file."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state (tensors, numbers, strings, lists and dicts of them) whole or not at all.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    payload = io.BytesIO()
    torch.save(state, payload)
    digest = hashlib.sha256(payload.getbuffer()).hexdigest()
    outer = io.BytesIO()
    data = torch.frombuffer(payload.getbuffer(), dtype=torch.uint8)
    torch.save({"payload": data, "sha256": digest}, outer)
    atomic_write(path, outer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read back what `save` wrote, tensors on the CPU.

    Raises:
        CheckpointError: no such file, not a checkpoint, or its SHA-256 does not fit.
    """
    try:
        outer = torch.load(path, map_location="cpu", weights_only=True)
        payload = outer["payload"].numpy().tobytes()
        if hashlib.sha256(payload).hexdigest() != outer["sha256"]:
            raise CheckpointError(f"{path}: damaged checkpoint (its SHA-256 does not fit)")
        state: dict[str, Any] = torch.load(
            io.BytesIO(payload), map_location="cpu", weights_only=True
        )
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint") from error
    return state
