"""Atomic save and verified load of a run's state.

A checkpoint is a `torch.save` file with the SHA-256 of its bytes behind its end, where zip readers
do not mind it. It is written as it is made, since a second copy of a large picture's state in
memory may be one too many. Reading uses `weights_only=True`, so nothing in a checkpoint can run
code. The checkpoint before the last is kept beside it (`checkpoint.previous.pt`) and read where the
last is damaged.
"""

import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nst.errors import InputError
from nst.files import atomic_file

log = logging.getLogger(__name__)

# Name of the file in a run's folder.
NAME = "checkpoint.pt"
FINISHED = (
    "{}: that run was finished, there is nothing to go on with "
    "(init=result starts a new run from its picture)"
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
    with atomic_file(path) as file:
        hashed = _Hashed(file)
        torch.save(_without_surroundings(state), hashed)  # type: ignore[arg-type]
        file.write(hashed.sha256.digest())
        # Killed from here on, the run goes on from the previous one, which is then the last.
        if path.exists():
            path.replace(previous(path))


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


class _Hashed:
    """A file that hashes what is written to it, all that `torch.save` asks of one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _without_surroundings(state: Any) -> Any:
    """A state whose tensors are whole: `torch.save` writes all of the memory that a view is in.

    No copies, for L-BFGS's history may be half of the memory that there is; on a GPU, copies for
    the CPU.
    """
    if isinstance(state, Tensor):
        whole = state.untyped_storage().nbytes() <= state.nbytes
        return state if whole else _alone(state.detach().cpu().contiguous())
    if isinstance(state, dict):
        return {key: _without_surroundings(value) for key, value in state.items()}
    return [_without_surroundings(value) for value in state] if isinstance(state, list) else state


def _alone(tensor: Tensor) -> Tensor:
    """The same memory as a tensor that knows nothing of what is around it."""
    data = tensor.reshape(-1).view(torch.uint8).numpy()  # NumPy does not know bfloat16
    return torch.from_numpy(data).view(tensor.dtype).view(tensor.shape)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END) - hashlib.sha256().digest_size
            if _sha256(file, length) != file.read():
                raise CheckpointError(f"{path}: damaged checkpoint (its SHA-256 does not fit)")
        # Read as it is needed, since what it holds may be half of the memory that there is. Windows
        # would not let a file be replaced that is in use so.
        mapped = sys.platform != "win32"
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint") from error
    return state


def _sha256(file: BinaryIO, length: int) -> bytes:
    """The SHA-256 of the first `length` bytes; reading goes on after them."""
    digest = hashlib.sha256()
    file.seek(0)
    while length > 0 and (block := file.read(min(length, 1 << 20))):
        digest.update(block)
        length -= len(block)
    return digest.digest()
