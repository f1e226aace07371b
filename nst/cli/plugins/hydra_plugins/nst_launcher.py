"""Where Hydra looks for launchers: modules of this namespace package alone.

Every program that uses Hydra imports what is here, so nst itself is imported only when it is used.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class BatchLauncher(Launcher):
    """`hydra/launcher=batch`, see `nst.cli.launcher.SideBySide`.

    Args:
        jobs: at a time.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before `launch`.

        Raises:
            nst.errors.InputError: see `nst.cli.launcher.SideBySide`.
        """
        from nst.cli.launcher import SideBySide

        self._sweep = SideBySide(self._jobs, hydra_context, task_function, config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Called by Hydra: run the jobs and return what became of them, in their order."""
        return self._sweep.launch(job_overrides, initial_job_idx)
