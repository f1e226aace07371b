"""What the command line says to a user, in one line: about errors, and where to look next."""

import os
import re
import shlex
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

# Hydra's words for an unknown option, and the known ones below them, one per line.
_NO_OPTION = re.compile(r"Could not find '(\S+)/(\S+)'\s+Available options in .*:((?:\n\t.*)*)")


def one_line(error: Exception) -> str:
    """The gist of an error in one line: which key, what is wrong, what would be valid."""
    if isinstance(error, OverrideParseException):
        return f"cannot parse the override {shortened(str(error.override))} ({_advice(error)})"
    if absent := _NO_OPTION.search(str(error)):
        group, option, known = absent.groups()
        options = ", ".join(known.split())
        return f"{group}={option}: there is no such option; there are {options}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = f"{error}\n{cause}" if cause is not error else str(error)
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    valid = _valid_keys(cause)
    # Of no use to a user: Hydra's search path, OmegaConf's types; and, where the valid keys are
    # known, the advice to add a key of one's own.
    types = ("object_type=", "reference_type=", "full_key")
    noise: tuple[str, ...] = ("Config search path", "provider=", "Set hydra.searchpath", *types)
    if valid:
        noise = (*noise, "To append")
    found = " ".join(line for line in lines if line and not line.startswith(noise))
    return shortened(found, 600) + valid


def shortened(text: str, length: int = 200) -> str:
    """A text with its middle left out where it is longer than that."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"


def _advice(error: OverrideParseException) -> str:
    """What is the matter with an override that cannot be parsed."""
    value = str(error.override).partition("=")[2].strip()
    if re.search(r"^,|,\s*,|,$", value):
        return "a list of values to sweep has no empty ones"
    for left, right in ("()", "[]", "{}", "''", '""'):
        if value.count(left) != value.count(right) or (left == right and value.count(left) % 2):
            return f"{left} without {right}" if left != right else f"one {left} too many"
    return "a value with special characters needs quotes of its own: 'key=\"a=b, c\"'"


def _valid_keys(error: BaseException) -> str:
    """For an unknown key: the keys that its node has."""
    known = getattr(error, "object_type", None)
    unknown = isinstance(error, AttributeError | KeyError)
    if not unknown or not isinstance(known, type) or not is_dataclass(known):
        return ""
    names = sorted(item.name for item in fields(known) if not item.name.startswith("_"))
    near = get_close_matches(str(getattr(error, "key", "")), names, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{meant}; valid keys: {', '.join(names)}" if names else "; this option has no keys"


def missing_plugin(error: Exception) -> str | None:
    """For a launcher or sweeper that is not installed: what to install."""
    absent = re.search(r"Unknown plugin class.*hydra_plugins\.hydra_([a-z]+)_([a-z]+)", str(error))
    if not absent:
        return None
    extra, kind = absent.groups()
    return f"the {extra} {kind} is an extra: pip install -e '.[{extra}]'"


def ended_early(error: Exception) -> str:
    """Why a launcher or sweeper ended the sweep."""
    # submitit's sentences are two lines long, joblib's is one and an empty one.
    reason = " ".join(str(error).splitlines()[:2]).strip(" .") or type(error).__name__
    again = "the same command with the same name= runs what is missing"
    return f"the sweep ended early: {reason} ({again})"


def from_here(path: Path) -> str:
    """A path as one would type it where the command was typed."""
    try:
        return os.path.relpath(path)
    except ValueError:  # on another drive of Windows
        return str(path)


def where_to_look(folder: Path) -> str:
    """The command that shows the losses and images of a run's or a sweep's folder."""
    usual = Path("outputs")
    logdir = usual if folder.resolve().is_relative_to(usual.resolve()) else folder
    return f"Losses and images: tensorboard --logdir {shlex.quote(str(logdir))}"
