"""`resume=FOLDER`: the command line of an interrupted run, to be gone on with.

Hydra keeps the overrides of every run in its folder. A command line with `resume=FOLDER` is those
overrides, then the ones beside it, in that folder. Whether the two still describe the same run is
for the checkpoint to say (see `nst.checkpoint.check_identity`).
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from nst import checkpoint
from nst.errors import InputError


def expand(arguments: Sequence[str]) -> list[str]:
    """The command line with `resume=FOLDER` replaced by what it stands for, or as it is.

    Raises:
        InputError: no run was interrupted there, or it was a whole sweep.
    """
    given = [argument for argument in arguments if argument.startswith("resume=")]
    if not given or given[-1] == "resume=null":
        return list(arguments)
    folder = Path(given[-1].removeprefix("resume=").strip("\"'"))
    if {"-m", "--multirun"} & set(arguments):
        raise InputError("resume: a sweep is gone on with by the same command with the same name=")
    if (folder / "multirun.yaml").exists():
        raise InputError(
            f"resume={folder}: is a sweep, which is gone on with by the same command with "
            f"name={folder.name}"
        )
    kept = folder / ".hydra" / "overrides.yaml"
    try:
        before = [str(override) for override in yaml.safe_load(kept.read_text("utf-8"))]
    except FileNotFoundError:
        raise InputError(f"resume={folder}: no run was started there ({kept} is missing)") from None
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"resume={folder}: cannot read {kept} ({type(error).__name__})") from error
    if not checkpoint.exists(folder / checkpoint.NAME):
        raise InputError(f"resume={folder}: that run ended before its first checkpoint")
    again = {_key(argument) for argument in arguments if not argument.startswith("-")}
    earlier = [override for override in before if _key(override) not in {*again, "resume"}]
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    # Hydra's own record of the run stays as it is.
    where = [f"resume='{quoted}'", f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null"]
    # Hydra wants all overrides on one side of its flags.
    place = list(arguments).index(given[-1])
    tail = [argument for argument in arguments[place:] if argument not in given]
    head = [argument for argument in arguments[:place] if argument not in given]
    return [*_config_dir(folder, arguments), *head, *earlier, *where, *tail]


def _config_dir(folder: Path, arguments: Sequence[str]) -> list[str]:
    """The `--config-dir` that the run was started with, unless it is given again."""
    flags = ("--config-dir", "-cd")
    if any(argument.partition("=")[0] in flags for argument in arguments):
        return []
    try:
        kept = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text("utf-8"))
        sources = kept["hydra"]["runtime"]["config_sources"]
        found = [one["path"] for one in sources if one["provider"] == "command-line"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return []
    return [f"--config-dir={found[0]}"] if found else []


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
