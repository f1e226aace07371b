"""The command line's arguments, before Hydra reads them.

Hydra's grammar takes `2024_01_15` for a number, refuses `IMG (1).jpg`, and merges a mapping into
the one that is there. None of it is what somebody means who types it. The values of keys that are
texts are therefore written anew, in quotes where Hydra would else take them for something else, or
not at all (see `nst.cli.grammar`):

- A value that is the name of a file or folder is that, whatever characters it has: first as it was
  typed, then with a home folder for `~` or `~user`. Only `null` is never a file (`./null` is).
- Any other value is as many as the commas make of it, or a list in brackets. The same holds for
  each of these.
- What is left is Hydra's, where its grammar allows it: quotes, `choice(...)`, interpolations.
  Numbers and truth values among them are texts as they were typed. Where it does not, the value is
  a text.

A folder or a pattern of file names as `content` or `style` is a sweep over its pictures. It becomes
their names with commas between, so sweepers, launchers and jobs see plain overrides. (Hydra's
`choice(...)` would take the quotes off.)

All that comes after this sees only what was written here: the jobs of a sweep get it,
`.hydra/overrides.yaml` keeps it, and `resume=` takes it from there.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra._internal.utils import get_args_parser

from nst.cli.grammar import parsed, written
from nst.cli.schema import RunConf
from nst.errors import InputError
from nst.pictures import images

# Keys that name files or folders.
FILES = (
    "content",
    "style",
    "regions.content",
    "regions.style",
    "model.weights",
    "init.path",
    "init.folder",
)
# Of these, the ones that a folder of pictures may be swept by.
_PICTURES = ("content", "style")
_PATHS = (*FILES, "resume", "hydra.run.dir", "hydra.sweep.dir")
# Other texts that `RunConf` does not know.
_HYDRAS = ("hydra.sweep.subdir", "hydra.job.name")
# Hydra's flags that are followed by a value, and those that may be, with the values.
_WITH_VALUE = (
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--experimental-rerun",
)
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
MULTIRUN = frozenset({"--multirun", "-m"})
_CALLBACK = "hydra.callbacks.sweep"
_MERGED = ("layers.content", "layers.style")
# One of several values between commas: in quotes, a list (with brackets in its names), or neither.
_PART = re.compile(
    r"""\s*('(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | \[(?:[^][]|\[[^][]*\])*\] | [^,]*?)\s*(,|\Z)""",
    re.DOTALL | re.VERBOSE,
)


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments with texts written so that Hydra reads them as they were meant.

    Overrides come first, then Hydra's flags: it does not understand overrides on both sides of one.

    Raises:
        InputError: an argument that Hydra would take for something else than it says, or a folder
            or pattern of pictures that cannot be swept over.
    """
    texts = {*_text_keys(RunConf), *_PATHS, *_HYDRAS}
    overrides, flags = _sorted(arguments)
    _, unknown = get_args_parser().parse_known_args(flags)
    if unknown:
        raise InputError(f"{unknown[0]}: there is no such flag (--help shows those that there are)")
    multirun = is_sweep(arguments)
    result = []
    for argument in overrides:
        named, equals, value = argument.partition("=")
        if not equals and not argument.startswith("~"):
            raise InputError(f"{argument}: must be KEY=VALUE, such as content={argument}")
        key = named.lstrip("+~").partition("@")[0]
        if key == "hydra.callbacks" or f"{key}.".startswith(f"{_CALLBACK}."):
            raise InputError(f"{key}: is nst's own, for checks before a sweep and its report")
        if key == "study" and "," in value:
            raise InputError("study: one at a time, since each has a report of its own")
        if key in _MERGED:
            raise InputError(
                f"{key}=... would be merged into the layers that are there, not replace them: "
                f"{key}.relu1_1=2 changes one, {key}.relu1_1=0 leaves it out, and layers=mine with "
                f"a file layers/mine.yaml in the folder --config-dir=FOLDER replaces all"
            )
        plain = equals and key in texts
        result.append(f"{named}={_value(key, value, multirun)}" if plain else argument)
    return [*result, *flags]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for a sweep: by the flag, or by a study."""
    studies = [one for one in arguments if one.startswith("study=") and one != "study=null"]
    return not MULTIRUN.isdisjoint(arguments) or bool(studies)


def _sorted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides, and flags with their values."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        last = flags[-1] if flags else ""
        valued = last in _WITH_VALUE or (last in ("--info", "-i") and argument in _INFO)
        (flags if valued or argument.startswith("-") else overrides).append(argument)
    return overrides, flags


def _value(key: str, typed: str, multirun: bool) -> str:
    """A text's value, or several of a sweep, as Hydra writes them."""
    if key.startswith("hydra.") and "${" in typed:
        # Hydra puts the name of a folder that it makes into its config, where `${` counts again.
        return os.path.expanduser(typed)
    if key in _PATHS and (path := _existing(typed)):
        parts = [path]
    elif re.match(r"\w+\s*\(", typed) and parsed(typed):
        return typed  # choice(...) and such, in which the user may quote
    else:
        parts = list(_parts(typed))
    if not all(parts):
        return typed  # an empty value, or one between two commas: Hydra says so
    if len(parts) > 1 and key in FILES and not multirun:
        lists = "" if key in ("content", "model.weights") else "; [a.jpg,b.jpg] is a list"
        raise InputError(
            f"{key}={typed}: no such file (with --multirun a comma stands between values{lists})"
        )
    values: list[str] = []
    for part in parts:
        pictures = _pictures(key, part, multirun) if key in _PICTURES else []
        values += [written(picture) for picture in pictures] or [_part(key, part)]
    return ",".join(dict.fromkeys(values))


def _parts(typed: str) -> Iterator[str]:
    """The values between commas, without the spaces around them."""
    end, more = 0, True
    while more:
        found = _PART.match(typed, end)
        assert found  # noqa: S101 - its last kind of part matches any text
        yield found[1]
        end, more = found.end(), bool(found[2])


def _existing(name: str) -> str | None:
    """The name of a file or folder that is there, its home folder in place of `~`; None if not."""
    names = (name, os.path.expanduser(name))
    return next((one for one in names if os.path.lexists(one) and one.lower() != "null"), None)


def _part(key: str, part: str) -> str:
    """One value as Hydra writes it."""
    if key in _PATHS:
        if path := _existing(part):
            return written(path)
        if part[0] == "[" and part[-1] == "]":
            inside = [_part(key, one) if one else one for one in _parts(part[1:-1])]
            return f"[{','.join(inside)}]"
        part = os.path.expanduser(part)
    found = parsed(part)
    if found is None:
        return written(part)
    value = found.value()
    other = isinstance(value, bool | int | float) and str(value) != part
    return written(part) if other else part


def _pictures(key: str, part: str, multirun: bool) -> list[str]:
    """The pictures that a folder holds or a pattern matches; none of what is neither.

    Raises:
        InputError: there is no picture, or no sweep to make a job of each.
    """
    folder = _existing(part)
    if folder:
        kind, pattern = "a folder", os.path.join(glob.escape(folder), "*")
        if not os.path.isdir(folder):
            return []
    else:
        kind, pattern = "a pattern", os.path.expanduser(part)
        quoted_or_list = part[0] + part[-1] in ("''", '""', "[]")
        if quoted_or_list or "${" in part or not re.search(r"[*?]", part):
            return []
    if not multirun:
        raise InputError(f"{key}={part}: is {kind}; --multirun makes a job of each picture in it")
    known = images.suffixes()
    names = sorted(glob.glob(pattern, recursive=True))
    found = [one for one in names if Path(one).suffix.lower() in known and os.path.isfile(one)]
    if not found:
        verb, formats = "holds" if folder else "matches", ", ".join(images.FORMATS)
        raise InputError(f"{key}={part}: {verb} no picture ({formats} can be read)")
    return found


def _text_keys(kind: Any) -> list[str]:
    """The keys of a config class whose values are texts, those of nested classes included."""
    hints = get_type_hints(kind)
    keys = []
    for name in (field.name for field in fields(kind)):
        hint: Any = hints[name]
        if hint is str or set(get_args(hint)) == {str, NoneType}:
            keys.append(name)
        elif is_dataclass(hint):
            keys += [f"{name}.{below}" for below in _text_keys(hint)]
    return keys
