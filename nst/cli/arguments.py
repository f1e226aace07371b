"""The command line's arguments, before Hydra reads them.

Hydra's grammar takes `2024_01_15` for a number and merges a mapping into the one that is there.
Neither is what somebody means who types it.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from nst.cli.schema import RunConf
from nst.errors import InputError

# Texts that `RunConf` does not know: those that may be lists too, of open groups, and Hydra's own.
_TEXTS = [
    "style",
    "regions.content",
    "regions.style",
    "init.path",
    "init.folder",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.job.name",
]
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
_CALLBACK = "hydra.callbacks.sweep"
_MERGED = ("layers.content", "layers.style")


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments with quotes around values that are text, whatever they look like.

    Overrides come first, then Hydra's flags: it does not understand overrides on both sides of one.

    Raises:
        InputError: an argument that Hydra would take for something else than it says.
    """
    parser = OverridesParser.create()
    texts = {*_text_keys(RunConf), *_TEXTS}
    overrides, flags = _sorted(arguments)
    result = []
    for argument in overrides:
        try:
            found = parser.parse_override(argument)
        except HydraException:  # it says so itself
            found = None
        key = found.key_or_group if found else None
        if key and (key == "hydra.callbacks" or f"{key}.".startswith(f"{_CALLBACK}.")):
            raise InputError(f"{key}: is nst's own, for checks before a sweep and its report")
        if key == "study" and found and found.is_sweep_override():
            raise InputError("study: one at a time, since each has a report of its own")
        if key in _MERGED:
            raise InputError(
                f"{key}=... would be merged into the layers that are there, not replace them: "
                f"{key}.relu1_1=2 changes one, {key}.relu1_1=0 leaves it out, and layers=mine with "
                f"a file layers/mine.yaml in the folder --config-dir=FOLDER replaces all"
            )
        result.append(_quoted(argument, found) if found and key in texts else argument)
    return [*result, *flags]


def _sorted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides, and flags with their values."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        last = flags[-1] if flags else ""
        valued = last in _WITH_VALUE or (last in ("--info", "-i") and argument in _INFO)
        (flags if valued or argument.startswith("-") else overrides).append(argument)
    return overrides, flags


def _quoted(argument: str, override: Override) -> str:
    """An argument whose values are texts, in quotes where Hydra's grammar knows another kind."""
    key, _, raw = argument.partition("=")
    if "(" in raw:
        return argument  # choice(...) and such, in which the user may quote
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    parts = [part.strip() for part in raw.split(",")] if isinstance(value, ChoiceSweep) else [raw]
    if len(parts) != len(values):
        return argument
    written = [
        f"'{part}'" if isinstance(each, bool | int | float) and str(each) != part else part
        for part, each in zip(parts, values, strict=True)
    ]
    return f"{key}={','.join(written)}"


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
