"""The command line: one run, or the jobs of a sweep, with their exit codes.

0: done; 1: a run failed; 2: bad input or config, one line on stderr; 130: Ctrl-C; 143: SIGTERM;
129: SIGHUP; 138: SIGUSR1, by which Slurm announces the end of a job's time.
"""

import errno
import hashlib
import json
import logging
import os
import platform
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, Self

import hydra
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import nst
from nst.cli import build, resume, schema, study
from nst.cli.arguments import prepared
from nst.cli.grammar import read
from nst.cli.help import help_text
from nst.cli.job import BAD_INPUT, FAILED, Job
from nst.cli.signals import EXIT_CODES, signals
from nst.cli.streams import outlive_readers
from nst.cli.wording import ended_early, missing_plugin, one_line, shortened, where_to_look
from nst.errors import InputError
from nst.pictures import images
from nst.run.devices import device_name, resolve_device
from nst.run.folder import (
    REPORT,
    Folder,
    check_hydra_files,
    is_passed_over,
    outcome,
    run_folders,
)

log = logging.getLogger(__name__)

# Hydra takes launchers from the namespace package `hydra_plugins` alone.
sys.path.append(str(Path(__file__).resolve().parent / "plugins"))

# That of the config, and Hydra's own: both know all jobs beforehand.
_SWEEPERS = (
    "hydra_plugins.nst_sweeper.StudySweeper",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
# Carries the overrides that all jobs of a sweep share into the processes of the jobs.
_CONSTANTS = "NST_SWEEP_CONSTANTS"
_SLUG_LENGTH = 120  # bytes
# Jobs of a sweep whose configs are checked before it starts.
_CHECKED = 100
# So many take long enough to say so.
_MANY = 20


def config_dir() -> Path:
    """The folder of the config groups: inside an installed package, beside it in a checkout."""
    package = Path(nst.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def slug(overrides: Sequence[str]) -> str:
    """Folder name of a sweep's job: its swept overrides, sorted, such as `init-random_size-64`.

    Characters that are awkward in file names become `-`, and of a path the name without suffix is
    left; whatever loses information on the way gets a short hash, so that two jobs never meet.
    """
    constants = set(json.loads(os.environ.get(_CONSTANTS, "[]")))
    parts = []
    for override in sorted(set(overrides) - constants):
        key, _, value = override.lstrip("+~").partition("=")
        meant = read(value)
        texts = map(str, meant if isinstance(meant, list) else [meant])
        stems = [_clean(Path(text).stem if "/" in text else text) for text in texts]
        part = f"{_clean(key)}-{'-'.join(stems)}"
        if part != f"{key}-{value}":
            part += f"-{_digest(override)}"
        parts.append(part)
    name = "_".join(parts) or "run"
    short = os.fsencode(name)[:_SLUG_LENGTH].decode(errors="ignore")
    return name if short == name else f"{short}-{_digest(name)}"


def _clean(text: str) -> str:
    """A text of letters (with their marks), digits and `._+-`, in whatever script."""
    composed = unicodedata.normalize("NFC", text)
    kept = [
        one if one in "._+" or unicodedata.category(one)[0] in "LMN" else "-" for one in composed
    ]
    return re.sub("-+", "-", "".join(kept)).strip("-.")


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:6]


def _as_given(overrides: ListConfig) -> list[str]:
    """Overrides as they are in Hydra's config, with the backslashes before `${`."""
    found = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(found, list)  # noqa: S101 - as the overrides are
    return found


def _slug(overrides: ListConfig) -> str:
    return slug(_as_given(overrides))


def _sample(name: str) -> str:
    return str(images.SAMPLES / name)


def _mode(study: str | None) -> str | None:
    """Hydra's mode where a study was chosen; None leaves it to the command line."""
    return None if study is None else "MULTIRUN"


def _name(time: str, *, _root_: DictConfig) -> str:
    """The usual name of a sweep's folder: the time, of a study with its name before."""
    study = OmegaConf.select(_root_, "hydra.runtime.choices.study")
    return time if study is None else f"{_clean(study)}_{time}"


def _by_optimizer(values: DictConfig, *, _root_: DictConfig) -> Any:
    """The value for the chosen optimizer, named by the last part of its `_target_`."""
    name = str(_root_.optimizer._target_).rpartition(".")[2]
    if name not in values:
        raise ValueError(f"has values for {', '.join(map(str, values))}, not for {name}")
    return values[name]


class _Uncopied(dict[str, Any]):
    """Hydra's store of configs, for as long as nobody adds to it."""

    def __deepcopy__(self, _: object) -> Self:
        """Itself: Hydra copies the whole store to list one group, and `--help` lists hundreds."""
        return self


def _help() -> str:
    """For Hydra's template, where a dollar sign has a meaning."""
    store = ConfigStore.instance()
    store.repo = _Uncopied(store.repo)
    loader = GlobalHydra.instance().config_loader()
    return help_text(config_dir(), loader).replace("$", "$$")


class BelowError(logging.Filter):
    """Keeps errors off stdout: they have a handler of their own on stderr."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything below ERROR through."""
        return record.levelno < logging.ERROR


class SweepCallback(Callback):
    """Checks configs and folders before a run or a sweep starts, and notes where the sweep goes."""

    folder: Path | None = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a bad config or folder before a single run."""
        with _refusing():
            if config.study is not None:
                raise InputError("study: is a sweep, not one run (hydra.mode=RUN)")
            _check_job_folder(Path(config.hydra.run.dir), config)
            build.check(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a bad config or folder, and note the sweep's folder and what is not swept."""
        folder = SweepCallback.folder = Path(config.hydra.sweep.dir)
        with _refusing():
            parser = OverridesParser.create(GlobalHydra.instance().config_loader())
            parsed = parser.parse_overrides(_as_given(config.hydra.overrides.task))
            combined = study.overrides(config.study, parsed, parser)
            last = {override.get_key_element(): override for override in combined}  # as Hydra does
            constants = [
                f"{key}={override.get_value_element_as_str()}"
                for key, override in last.items()
                if not override.is_sweep_override()
            ]
            os.environ[_CONSTANTS] = json.dumps(constants)
            check_hydra_files(folder, ["multirun.yaml"])
            if folder.is_dir():
                own = Folder(folder)
                for name in REPORT:
                    own.check(folder / name)
            check_jobs(config, parsed)


@contextmanager
def _refusing() -> Iterator[None]:
    """End the program with one line, since of a callback's exceptions Hydra makes warnings."""
    try:
        yield
    except (InputError, OSError) as error:  # an OSError such as of too long a name
        print(f"nst: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except (HydraException, OmegaConfBaseException):
        pass  # the sweeper's or the job's own to report


def _check_job_folder(folder: Path, config: DictConfig) -> None:
    record = config.hydra.output_subdir
    names = [f"{config.hydra.job.name}.log"]
    if record is not None:
        names = [f"{record}/{name}.yaml" for name in ("hydra", "config", "overrides")] + names
    check_hydra_files(folder, names)


def check_jobs(config: DictConfig, overrides: list[Override]) -> None:
    """Check the configs of a sweep's jobs, as far as they are known before it starts.

    Raises:
        InputError: see `nst.cli.build.check`; or several jobs would share a folder, or one have
            that of another program.
    """
    sweeper = config.hydra.sweeper
    study.COMPOSED.clear()
    if config.study is not None and sweeper._target_ != _SWEEPERS[0]:
        raise InputError("study: has a sweep of its own, which another hydra/sweeper cannot do")
    if sweeper._target_ not in _SWEEPERS:
        return  # a search, which proposes its values later
    loader = GlobalHydra.instance().config_loader()
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    try:
        parser = OverridesParser.create(loader)
        jobs = study.jobs(config.study, [*parser.parse_overrides(params), *overrides], parser)
        if len(jobs) >= _MANY:
            print(f"Checking {min(len(jobs), _CHECKED)} of {len(jobs)} jobs ...", flush=True)
        # The grid of a thousand jobs has few mistakes that its first hundred do not show.
        composed = [loader.load_sweep_config(config, job) for job in jobs[:_CHECKED]]
    except (HydraException, OmegaConfBaseException):
        return  # as Hydra says in a moment
    study.COMPOSED.update(map(tuple, jobs[:_CHECKED]))
    asked: dict[Path, list[str]] = {}
    for number, job in enumerate(composed):
        with open_dict(job):
            job.hydra.job.num, job.hydra.job.id = number, str(number)
        with suppress(OmegaConfBaseException):  # of which the job itself says more
            below = Path(job.hydra.sweep.subdir)
            if below.is_absolute() or not below.parts or any(map(is_passed_over, below.parts)):
                raise InputError(
                    f"hydra.sweep.subdir={below}: must be a folder of its own for each job, below "
                    f"the sweep's, and not be called previous or begin with a dot"
                )
            folder = Path(job.hydra.sweep.dir, below)
            if asked.setdefault(folder, jobs[number]) != jobs[number]:
                raise InputError(
                    f"hydra.sweep.subdir={job.hydra.sweep.subdir}: jobs of the sweep would share "
                    f"this folder; '${{hydra.job.num}}' in it tells them apart"
                )
            _check_job_folder(folder, job)
            build.check(job)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")
def _task(config: DictConfig) -> float:
    """One run; returns its metric for a search to minimise, infinity where it failed."""
    job = Job.current(config)
    with signals() as stop_requested:
        metric = job.run(stop_requested)
        # It came too late for this job, which is whole, but the sweep is to end. What Slurm
        # announces is of the job alone.
        if not job.alone and (stopped := stop_requested()) and stopped != "SIGUSR1":
            sys.exit(EXIT_CODES[stopped])
        return metric


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's writing thread hands its disk errors on to the run, which reports them."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def _finish_sweep(folder: Path) -> int:
    """Write the report of a sweep's folder, print its outcome, return the exit code."""
    # Matplotlib takes a second that a single run need not wait for.
    from nst.report import write_report
    from nst.report.__main__ import outcome_table

    made = write_report(folder)
    print(outcome_table(made))
    print(f"Report: {folder / 'report.html'}")
    print(where_to_look(folder))
    unmade = [run for run in made.runs if run.status == "ok" and outcome(run.folder)]
    for run in unmade:
        print(f"{run.name}: failed; what is there is an earlier run's")
    return 0 if all(run.status == "ok" for run in made.runs) and not unmade else FAILED


def register() -> None:
    """Make the schemas and the resolvers of `conf/` known to Hydra."""
    schema.register()
    OmegaConf.register_new_resolver("nst.slug", _slug, replace=True)
    OmegaConf.register_new_resolver("nst.sample", _sample, replace=True)
    OmegaConf.register_new_resolver("nst.mode", _mode, replace=True)
    OmegaConf.register_new_resolver("nst.name", _name, replace=True)
    OmegaConf.register_new_resolver("nst.by_optimizer", _by_optimizer, replace=True)
    OmegaConf.register_new_resolver("nst.help", _help, replace=True)


# On import rather than in main(): a process of a launcher imports this module to find the task, and
# then evaluates the name of the job's folder.
register()


def _prefer_presets() -> None:
    """Let the presets in `conf/hydra/` have the names of the plugins' own configs.

    Hydra takes a file over a plugin's config of the same name, but then merges the two with a
    deprecation warning, or refuses to. So a plugin's config moves to the group `plugin` below its
    own, from where the preset inherits it.
    """
    Plugins.instance()  # loads the plugins, which thereby store their configs
    store = ConfigStore.instance()
    for preset in (config_dir() / "hydra").glob("*/*.yaml"):
        group = preset.parent.name
        found = store.repo["hydra"].get(group, {}).pop(preset.name, None)
        if found:
            store.store(preset.stem, found.node, f"hydra/{group}/plugin", provider=found.provider)


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    SweepCallback.folder = None
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Otherwise Hydra prints several lines of its own and exits with 1 whatever the cause.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    outlive_readers()
    _prefer_presets()
    threading.excepthook = _thread_failed
    for name in ("matplotlib", "PIL"):  # whose thousand lines hydra.verbose=true does not mean
        logging.getLogger(name).setLevel(logging.INFO)
    code: int | str | None = 0
    if "--version" in sys.argv:
        versions = f"Hydra {hydra.__version__}, torch {torch.__version__}"
        print(f"nst {nst.__version__} ({versions}, Python {platform.python_version()})")
        print(f"device=auto takes {device_name(resolve_device('auto'))}")
        sys.exit(code)
    try:
        sys.argv[1:] = resume.expand(prepared(sys.argv[1:]))
        _task()
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        print("nst: interrupted", file=sys.stderr)
        code = EXIT_CODES["SIGINT"]
    except InputError as error:
        print(f"nst: {error}", file=sys.stderr)
        code = BAD_INPUT
    except (HydraException, OmegaConfBaseException) as error:
        if show_traceback:
            raise
        print(f"nst: {one_line(error)}", file=sys.stderr)
        code = BAD_INPUT
    except OSError as error:  # of Hydra, which makes the folder before the run begins
        print(f"nst: {shortened(str(error))}", file=sys.stderr)
        code = BAD_INPUT if error.errno == errno.ENAMETOOLONG else FAILED
    except Exception as error:
        if show_traceback:
            raise
        absent = missing_plugin(error)
        begun = SweepCallback.folder is not None
        said = absent or (ended_early(error) if begun else one_line(error))
        print(f"nst: {said}", file=sys.stderr)
        code = FAILED if begun and not absent else BAD_INPUT
    folder = SweepCallback.folder
    if folder is not None and code != BAD_INPUT:
        made = FAILED
        try:
            if any(run_folders(folder)):
                made = _finish_sweep(folder)
            elif code == 0:
                print(f"nst: {folder}: the sweep left no run", file=sys.stderr)
        except (InputError, OSError) as error:
            print(f"nst: {error}", file=sys.stderr)
        if code in EXIT_CODES.values():
            print(f"The same command with name={folder.name} goes on with the sweep")
        code = code or made  # what ended the sweep early tells more
    sys.exit(code)
