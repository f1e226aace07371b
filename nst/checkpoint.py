"""Atomic save and verified load of a run's state.

A checkpoint is a `torch.save` file of two entries: the payload, itself a `torch.save` file as
bytes, and the payload's SHA-256. Reading uses `weights_only=True` throughout, so nothing in a
checkpoint can run code. The checkpoint before the last is kept beside it (`checkpoint.previous.pt`)
and read where the last is damaged.
"""

import hashlib
import io
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst.errors import InputError
from nst.files import atomic_write

log = logging.getLogger(__name__)

# Of a run in its folder.
NAME = "checkpoint.pt"
FINISHED = (
    "{}: that run was finished, there is nothing to go on with "
    "(init=image starts a new run from its picture)"
)


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or not a checkpoint; the message names the file."""


def snapshot(state: Any) -> Any:
    """A copy of an optimizer's state (its `state_dict`) that its next step does not change.

    Tensors are updated in place, so they are copied. Lists of tensors, which can be large, are
    not: optimizers (L-BFGS's history) add to and take from these lists, but leave what is in them.
    """
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    return list(state) if isinstance(state, list) else state


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state (tensors, numbers, strings, lists and dicts of them) whole or not at all.

    What was at `path` takes the place of the checkpoint before it.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    payload = io.BytesIO()
    torch.save(state, payload)
    digest = hashlib.sha256(payload.getbuffer()).hexdigest()
    outer = io.BytesIO()
    data = torch.frombuffer(payload.getbuffer(), dtype=torch.uint8)
    torch.save({"payload": data, "sha256": digest}, outer)
    # Killed between the two, the run goes on from the previous one, which is then the last.
    if path.exists():
        path.replace(previous(path))
    atomic_write(path, outer.getbuffer())


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def exists(path: Path) -> bool:
    """Whether there is a checkpoint at `path`, or the one before it."""
    return path.exists() or previous(path).exists()


def load(path: Path) -> dict[str, Any]:
    """Read back what `save` wrote last and whole, tensors on the CPU.

    Raises:
        CheckpointError: neither the last checkpoint nor the one before can be read.
    """
    try:
        return _load(path)
    except CheckpointError as error:
        before = previous(path)
        if not before.exists():
            raise
        log.warning("%s: going on from %s, the checkpoint before", error, before.name)
        state = _load(before)
        before.replace(path)  # or the next save would put the damaged one in its place
        return state


def check_identity(
    path: Path, made_with: Mapping[str, str] | None, wanted: Mapping[str, str]
) -> None:
    """Check that a checkpoint was made with the same of everything that matters.

    Raises:
        CheckpointError: it was not; the message names what differs.
    """
    if made_with is None:
        raise CheckpointError(f"{path}: of another version of nst")
    differing = [
        f"{key} ({made_with.get(key, 'nothing')} there, {wanted.get(key, 'nothing')} here)"
        for key in sorted({*made_with, *wanted})
        if made_with.get(key) != wanted.get(key)
    ]
    if differing:
        raise CheckpointError(f"{path}: made with another {', '.join(differing)}")


def _load(path: Path) -> dict[str, Any]:
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
