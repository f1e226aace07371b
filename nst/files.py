"""Files that appear whole or not at all, in folders that one process at a time works in."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nst.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears at `path` when the `with` block ends, or not at all.

    A reader of `path` sees the old file or the new one, never a part: the bytes go to a temporary
    file in the same folder, are flushed to the disk, and take the final name by `os.replace`; a
    failure on the way removes the temporary file and leaves what was at `path`.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    # A name of our own rather than tempfile's: its files are private (mode 0600), results are not.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def atomic_write(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` whole or not at all, see `atomic_file`.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    with atomic_file(path) as file:
        file.write(data)


class FolderHeld(InputError):
    """Another process is at work in the folder, which is its own until then."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes that hold the same folder out until the end of the `with` block.

    The system lets go when the process ends, however it ends, and no file is left. Where folders
    cannot be locked (some network file systems, Windows) this does nothing.

    Raises:
        FolderHeld: another process holds the folder.
        OSError: the folder cannot be opened.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderHeld(f"{folder}: another process is at work in this folder") from error
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
