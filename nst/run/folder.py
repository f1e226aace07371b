"""The folder of a run or a report: which files in it are nst's own, and what was asked for there.

nst may be pointed at a folder that holds other things, the user's pictures among them. It keeps a
list of the files that it writes, and what is not in the list it neither overwrites nor moves:

| in `.nst/` | content |
|---|---|
| `files` | the list, one path below the folder per line, noted before the file is written; of \
pictures and reports also their SHA-256 once they are finished |
| `config.yaml`, `overrides.yaml`, `hydra.yaml` | what was asked for, as in Hydra's own `.hydra/`: \
there of the last command, here of the run that the other files are of |
| `outcome.json` | how the last command that was to run here ended |
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nst.errors import InputError
from nst.files import atomic_write, sha256

log = logging.getLogger(__name__)

OWN = ".nst"
_HYDRA = ".hydra"
_OWN_FILES = ("files", "config.yaml", "overrides.yaml", "hydra.yaml", "outcome.json")
_PREVIOUS = "previous"
_CALLBACK = b"SweepCallback"
# The names of `nst.files.atomic_file`'s temporary files, around that of the file.
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")
# What a report leaves in a sweep's folder.
REPORT = ("summary.csv", "comparison.png", "losses.png", "report.html")


class Folder:
    """A folder with nst's own list of what it wrote there.

    Args:
        path: of the folder, which exists.

    Raises:
        InputError: the list is unreadable, or in its place is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._list = path / OWN / "files"
        self._own = self._read()

    def claim(self, path: Path) -> Path:
        """Note a file below the folder as nst's own, before it is written, and return its path.

        Raises:
            InputError: there is a file already that nst did not write.
            OSError: the list cannot be written.
        """
        self.check(path)
        self.note(path)
        return path

    def note(self, path: Path) -> None:
        """Note a file as nst's own that it has just made, under a name that was free.

        Raises:
            OSError: the list cannot be written.
        """
        if not self.owns(path):
            self._list.parent.mkdir(exist_ok=True)
            with self._list.open("a", encoding="utf-8") as file:
                file.write(self._name(path) + "\n")
            self._own[self._name(path)] = ""

    def check(self, path: Path) -> None:
        """Check that a file is nst's own, or its place free.

        Raises:
            InputError: it is not.
        """
        if self.owns(path):
            return
        parent = path.parent
        strange = parent if os.path.lexists(parent) and not parent.is_dir() else path
        if os.path.lexists(strange):
            raise InputError(
                f"{strange}: was there before and is not nst's to replace; move it, or choose "
                f"another folder (hydra.run.dir=..., name=...)"
            )

    def seal(self, path: Path) -> None:
        """Note what is in an own file that is finished: another content is then not nst's."""
        self._own[self._name(path)] = sha256(path)
        self._write()

    def give_way(self, path: Path) -> None:
        """Move to `previous/<n>` what somebody has put in the place of a sealed file."""
        seal = self._own.get(self._name(path))
        if seal and path.is_file() and sha256(path) != seal:
            path.rename(self._next_previous() / path.name)
            log.warning("%s: was changed since; moved to %s/", path, _PREVIOUS)

    def forget(self, path: Path) -> None:
        """Take a file that nst has deleted off the list."""
        if self.owns(path):
            del self._own[self._name(path)]
            self._write()

    def owns(self, path: Path) -> bool:
        """Whether nst wrote this file."""
        return self._name(path) in self._own

    def remove_leftovers(self) -> None:
        """Delete what killed processes left of own files that were not finished."""
        for parent in {(self.path / name).parent for name in self._own}:
            for path in parent.glob(".*.tmp"):
                found = _LEFTOVER.fullmatch(path.name)
                if found and self.owns(parent / found[1]):
                    path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Move what nst wrote to `previous/<n>`, so that nothing is overwritten.

        What remains claimed is nothing: the list moves too.
        """
        old = [name for name in self._own if (self.path / name).exists()]
        if old:
            target = self._next_previous()
            kept = [f"{OWN}/{name}" for name in _OWN_FILES if (self.path / OWN / name).exists()]
            for name in [*old, *kept]:
                # TensorBoard shows a run for every file with `tfevents` in its name.
                moved = target / name.replace(".tfevents.", ".set-aside.")
                moved.parent.mkdir(exist_ok=True)
                (self.path / name).rename(moved)
            for emptied in {(self.path / name).parent for name in old} - {self.path}:
                if not any(emptied.iterdir()):
                    emptied.rmdir()
        self._list.unlink(missing_ok=True)
        self._own.clear()

    def remember(self, asked: Mapping[str, str]) -> None:
        """Keep what was asked for: text by the name of its file, see the module."""
        (self.path / OWN).mkdir(exist_ok=True)
        for name, text in asked.items():
            atomic_write(self.path / OWN / name, text.encode())

    def _next_previous(self) -> Path:
        """A new folder for what is set aside."""
        parent = self.path / _PREVIOUS
        if os.path.lexists(parent) and not parent.is_dir():
            raise InputError(f"{parent}: is in the way of the folder for earlier files; move it")
        parent.mkdir(exist_ok=True)
        taken = (p.name for p in parent.iterdir() if p.name.isascii() and p.name.isdecimal())
        target = parent / str(1 + max(map(int, taken), default=0))
        target.mkdir()
        return target

    def _write(self) -> None:
        lines = (f"{name}\t{seal}\n" if seal else f"{name}\n" for name, seal in self._own.items())
        atomic_write(self._list, "".join(lines).encode())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _read(self) -> dict[str, str]:
        try:
            lines = self._list.read_text("utf-8").splitlines()
            return {name: seal for name, _, seal in (line.partition("\t") for line in lines)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise InputError(f"{self._list}: cannot be read ({type(error).__name__})") from error


def check_hydra_files(folder: Path, names: Iterable[str]) -> None:
    """Check that what Hydra is about to write to a folder replaces no other program's files.

    Hydra writes before nst gets to see the folder, and asks nobody.

    Args:
        folder: of a run or a sweep; it need not exist.
        names: of the files, below the folder.

    Raises:
        InputError: it would.
    """
    there = [path for path in map(folder.joinpath, names) if os.path.lexists(path)]
    if not there or (folder / OWN).is_dir():
        return
    for path in (one for one in there if one.suffix == ".yaml"):
        with suppress(OSError):  # Hydra's record of a command names nst where it was nst's
            if _CALLBACK in path.read_bytes():
                return
    raise InputError(
        f"{there[0]}: is another program's; choose another folder (hydra.run.dir=..., name=...)"
    )


def record_of(folder: Path) -> Path:
    """Where a run's config, overrides and Hydra's settings are: in `.nst`, else in `.hydra`."""
    own = folder / OWN
    return own if (own / "overrides.yaml").exists() else folder / _HYDRA


def note_outcome(folder: Path, code: int) -> None:
    """Write the exit code that a job would have had alone."""
    (folder / OWN).mkdir(exist_ok=True)
    atomic_write(folder / OWN / "outcome.json", json.dumps({"code": code}).encode())


def outcome(folder: Path) -> int | None:
    """The exit code of the last job in a folder; None where none was noted."""
    try:
        found = json.loads((folder / OWN / "outcome.json").read_bytes())
        return int(found["code"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_passed_over(name: str) -> bool:
    """Whether runs are not looked for in a folder of this name."""
    return name.startswith(".") or name == _PREVIOUS


def run_folders(folder: Path) -> Iterator[Path]:
    """The runs in a folder at any depth, itself included, without those that were set aside."""
    seen = set()  # a link may lead in a circle
    for path, below, _ in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:
            below.clear()
            continue
        seen.add(real)
        if _HYDRA in below or (Path(path) / OWN / "overrides.yaml").exists():
            yield Path(path)
        below[:] = sorted(name for name in below if not is_passed_over(name))
