"""Hydra's launcher `batch`: a sweep's jobs side by side, their images in one batch.

Every job goes through Hydra's own `run_job`, in a thread, and gets from it its folder, its log, its
saved config and its callbacks as with Hydra's launcher. What Hydra has once in a process (the
current config, the handlers of the log) is a job's own during its turns, see `nst.run.rendezvous`.
"""

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from nst.cli.job import Job
from nst.cli.signals import signals
from nst.errors import InputError
from nst.run.devices import deterministic, tf32
from nst.run.rendezvous import Member, Rendezvous

log = logging.getLogger(__name__)


class SideBySide:
    """Runs up to `jobs` jobs at a time, each in a thread, as members of one rendezvous.

    Args:
        jobs: at a time; where one ends, the next begins.
        hydra_context: as Hydra gives it to launchers.
        task_function: likewise.
        config: of the sweep.

    Raises:
        nst.errors.InputError: fewer than one job at a time, or jobs that want an environment of
            their own.
    """

    def __init__(
        self,
        jobs: int,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        if not isinstance(jobs, int) or jobs < 1:
            raise InputError(f"hydra.launcher.jobs={jobs}: must be a number of at least 1")
        if config.hydra.job.env_set:
            raise InputError(
                "hydra/launcher=batch runs all jobs in one process, which has one environment: "
                "without hydra.job.env_set"
            )
        self._jobs = jobs
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return what became of them, in their order.

        Args:
            job_overrides: of each job.
            initial_job_idx: number of the first.

        Raises:
            SystemExit: the jobs were interrupted.
        """
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        log.info("Launching %d jobs, up to %d as one batch", len(job_overrides), self._jobs)
        jobs: list[tuple[int, DictConfig]] = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            loader = self._context.config_loader
            config = loader.load_sweep_config(self._config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            jobs.append((number, config))
        returns: dict[int, JobReturn] = {}
        jobs.sort(key=lambda job: (_settings(job[1]), job[0]))
        with _as_it_was(), signals() as stop_requested:
            for settings, agreeing in groupby(jobs, key=lambda job: _settings(job[1])):
                repeatable, rounded = settings
                with deterministic(repeatable), tf32(rounded):
                    returns |= self._side_by_side(list(agreeing), stop_requested)
        return [returns[number] for number in sorted(returns)]

    def _side_by_side(
        self, jobs: list[tuple[int, DictConfig]], stop_requested: Callable[[], str | None]
    ) -> dict[int, JobReturn]:
        """Run jobs that agree on torch's settings."""
        count = min(self._jobs, len(jobs))
        rendezvous = Rendezvous(count, _as_it_was)
        returns: dict[int, JobReturn] = {}
        errors: list[BaseException] = []

        def work() -> None:
            with rendezvous.membership():
                while jobs and not errors:
                    number, config = jobs.pop(0)
                    member = Member(rendezvous, number)
                    try:
                        returns[number] = self._run(config, stop_requested, member)
                    except BaseException as error:  # of Hydra, or the end by a signal
                        errors.append(error)

        # As daemons they do not outlive the program after a third Ctrl-C.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            rendezvous.break_off()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
            raise
        if errors:
            raise errors[0]
        return returns

    def _run(
        self, config: DictConfig, stop_requested: Callable[[], str | None], member: Member
    ) -> JobReturn:
        @functools.wraps(self._task)
        def task(own: DictConfig) -> float:
            return Job.current(own).run(stop_requested, member)

        try:
            return run_job(
                hydra_context=self._context,
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        finally:
            for handler in logging.getLogger().handlers:
                handler.close()


def _settings(config: DictConfig) -> tuple[bool, bool]:
    """Whether a job sets torch, for the whole process, to `deterministic` and to `tf32`."""
    try:
        return bool(config.deterministic), config.precision.network.value == "tf32"
    except OmegaConfBaseException:
        return False, False  # its own run says what is wrong


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Bring back, after the `with` block, the handlers of the log and Hydra's current config.

    A file that another job's configuration of the log has closed is opened again by the next
    message, which is appended.
    """
    root, hydra = logging.getLogger(), HydraConfig.instance()
    handlers, config = list(root.handlers), hydra.cfg
    try:
        yield
    finally:
        root.handlers[:] = handlers
        hydra.cfg = config
