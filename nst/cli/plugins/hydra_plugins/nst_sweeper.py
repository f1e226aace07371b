"""Where Hydra looks for sweepers: modules of this namespace package alone.

Every program that uses Hydra imports what is here, so nst itself is imported only when it is used.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override


class StudySweeper(BasicSweeper):
    """Hydra's own sweeper, with the jobs of a study where there is one, see `nst.cli.study`."""

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Called by Hydra: the overrides of each job, in batches.

        Raises:
            nst.errors.InputError: see `nst.cli.study.jobs`.
        """
        from nst.cli import study

        assert self.config is not None and self.hydra_context is not None  # noqa: S101, PT018
        parser = OverridesParser.create(self.hydra_context.config_loader)
        jobs = study.jobs(self.config.study, overrides, parser)
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Called by Hydra: compose the configs of the jobs that nst has not composed already."""
        from nst.cli import study

        super().validate_batch_is_legal([job for job in batch if tuple(job) not in study.COMPOSED])
