"""`resume=FOLDER`: the command line of an interrupted run, to be gone on with.

The overrides of every run are kept in its folder, see `nst.run.folder`. A command line with
`resume=FOLDER` is those overrides, then the ones beside it, in that folder. Whether the two still
describe the same run is for the checkpoint to say (see `nst.run.checkpoint.check_identity`).

Paths are meant from where the run was started, or from where that folder is now, if it was moved
with the run in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nst.cli.arguments import FILES, is_sweep
from nst.cli.grammar import read, unescaped, written
from nst.errors import InputError
from nst.run import checkpoint
from nst.run.folder import record_of


def expand(arguments: Sequence[str]) -> list[str]:
    """The command line with `resume=FOLDER` replaced by what it stands for, or as it is.

    Args:
        arguments: as `nst.cli.arguments.prepared` leaves them.

    Raises:
        InputError: no run was interrupted there, or it was a whole sweep.
    """
    given = [argument for argument in arguments if argument.startswith("resume=")]
    if not given or given[-1] == "resume=null":
        return list(arguments)
    folder = Path(str(read(given[-1].removeprefix("resume="))))
    if is_sweep(arguments):
        raise InputError("resume: a sweep is gone on with by the same command with the same name=")
    if (folder / "multirun.yaml").exists():
        raise InputError(
            f"resume={folder}: is a sweep, which is gone on with by the same command with "
            f"name={folder.name}"
        )
    asked = record_of(folder)
    kept = asked / "overrides.yaml"
    try:
        before = [str(override) for override in yaml.safe_load(kept.read_text("utf-8"))]
    except FileNotFoundError:
        raise InputError(f"resume={folder}: no run was started there ({kept} is missing)") from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"resume={folder}: cannot read {kept} ({type(error).__name__})") from error
    if not checkpoint.exists(folder / checkpoint.NAME):
        raise InputError(f"resume={folder}: that run ended before its first checkpoint")
    again = {_key(argument) for argument in arguments if not argument.startswith("-")}
    # A job of a study goes on alone, with what the study had for it.
    left_out = {*again, "resume"}
    earlier = [
        override
        for override in before
        if _key(override) not in left_out and _key(override).partition(".")[0] != "study"
    ]
    settings = _mapping(asked / "hydra.yaml").get("hydra", {}).get("runtime", {})
    places = _places(folder, settings)
    earlier += [
        f"{key}={written}"
        for key, written in _paths(_mapping(asked / "config.yaml"), places)
        if key not in again
    ]
    # Hydra's own record of the run stays as it is.
    at = written(str(folder))
    where = [f"resume={at}", f"hydra.run.dir={at}", "hydra.output_subdir=null"]
    replaced = {_key(override) for override in where}
    rest = [argument for argument in arguments if _key(argument) not in replaced]
    # Flags are the last of what is left.
    return [*earlier, *where, *rest, *_config_dir(settings, places, arguments)]


def _places(folder: Path, settings: Mapping[str, Any]) -> list[tuple[Path, Path]]:
    """Where the run was started, and where that is now: first if it was moved with the run in it.

    Empty where it is the current folder.
    """
    if not {"cwd", "output_dir"} <= settings.keys():
        return []
    then, here = Path(settings["cwd"]), folder.resolve()
    found = [then]
    try:
        below = Path(settings["output_dir"]).relative_to(then).parts
    except ValueError:
        below = ()
    if below and here.parts[-len(below) :] == below:
        found.insert(0, Path(*here.parts[: -len(below)]))
    return [(then, now) for now in found] if found[0] != Path.cwd() else []


def _moved(name: str, places: Sequence[tuple[Path, Path]]) -> Path | None:
    """A path of the run's, absolute or from where it was started, where it is now; None if lost."""
    for then, now in places:
        path = Path(name)
        if path.is_relative_to(then):
            path = path.relative_to(then)
        if (now / path).exists():
            return now / path
    return None


def _paths(
    config: Mapping[str, Any], places: Sequence[tuple[Path, Path]]
) -> Iterator[tuple[str, str]]:
    """The config's keys that name files or folders, and where these are, as an override says it."""
    for key in FILES:
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        listed = isinstance(value, list)
        given = value if listed else [value]
        names = [unescaped(name) if isinstance(name, str) else None for name in given]
        found = [name and _moved(name, places) for name in names]
        if any(found):
            pairs = zip(names, found, strict=True)
            values = [written(str(new or old)) if old else "null" for old, new in pairs]
            yield key, f"[{','.join(values)}]" if listed else values[0]


def _config_dir(
    settings: Mapping[str, Any], places: Sequence[tuple[Path, Path]], arguments: Sequence[str]
) -> list[str]:
    """The `--config-dir` that the run was started with, unless it is given again."""
    flags = ("--config-dir", "-cd")
    if any(argument.partition("=")[0] in flags for argument in arguments):
        return []
    try:
        sources = settings["config_sources"]
        found = [one["path"] for one in sources if one["provider"] == "command-line"]
    except (KeyError, TypeError):
        return []
    return [f"--config-dir={_moved(found[0], places) or found[0]}"] if found else []


def _mapping(path: Path) -> Mapping[str, Any]:
    """A YAML file of the run's; empty where it cannot be read."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
