"""One job of the command line: a run with its messages, its record and its exit code."""

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nst.cli import build, record
from nst.cli.signals import EXIT_CODES
from nst.cli.wording import from_here, one_line, where_to_look
from nst.errors import InputError
from nst.files import FolderHeld
from nst.objective.balanced import goal
from nst.run.folder import note_outcome
from nst.run.memory import OutOfMemory
from nst.run.results import Result, excess, loss_of_saving
from nst.run.strategy import Strategy

log = logging.getLogger(__name__)

FAILED, BAD_INPUT = 1, 2
_ENDINGS = {
    "converged": "Converged",
    "target_loss": "Target loss reached",
    "SIGINT": "Interrupted",
    "SIGTERM": "Terminated",
    "SIGHUP": "Hung up",
    "SIGUSR1": "Time is up",
}


@dataclass(frozen=True)
class Job:
    """A run that the command line has asked for.

    Attributes:
        config: the composed config.
        folder: the run's.
        choices: the chosen option of each config group.
        overrides: of the command line, the job's own of a sweep.
        asked: what Hydra keeps in `.hydra`, see `nst.run.folder`.
        alone: whether it is all that was asked for, rather than a part of a sweep.
    """

    config: DictConfig
    folder: Path
    choices: Mapping[str, str]
    overrides: Sequence[str]
    asked: Mapping[str, str]
    alone: bool

    @classmethod
    def current(cls, config: DictConfig) -> "Job":
        """The job that Hydra is running."""
        context = HydraConfig.get()
        chosen = context.runtime.choices.items()
        return cls(
            config,
            Path(context.runtime.output_dir),
            {k: v for k, v in chosen if v and not k.startswith("hydra")},
            list(context.overrides.task),
            {
                "config.yaml": OmegaConf.to_yaml(config),
                "overrides.yaml": OmegaConf.to_yaml(context.overrides.task),
                "hydra.yaml": OmegaConf.to_yaml({"hydra": context}),
            },
            context.mode == RunMode.RUN,
        )

    def run(
        self, stop_requested: Callable[[], str | None], strategy: Strategy | None = None
    ) -> float:
        """Run it, and say in the log and in the folder how it ended.

        Args:
            stop_requested: see `nst.run.trainer.Trainer`.
            strategy: see `nst.run.specs.Compute`.

        Returns:
            The metric for a search to minimise, infinity where the run failed.

        Raises:
            SystemExit: the run was interrupted; or it failed and was all that was asked for.
        """
        config, folder = self.config, self.folder
        continues = not self.alone or config.resume is not None
        if continues and not config.force and record.is_done(folder, config):
            log.info("%s: already done, left as it is (force=true runs it again)", folder)
            return self._metric()
        try:
            result = build.run(
                config,
                folder,
                self.choices,
                stop_requested,
                strategy,
                asked=self.asked,
                overrides=self.overrides,
            )
        except FolderHeld as error:
            _say(str(error))  # the record there is the other process's to write
            return self._no_metric(BAD_INPUT)
        except (InputError, OmegaConfBaseException) as error:
            return self._failed(one_line(error), BAD_INPUT)
        except (OSError, OutOfMemory) as error:
            return self._failed(str(error), FAILED)
        except SystemExit as stop:  # of somebody's plug-in: nst's own come later
            return self._failed(f"something in the run called sys.exit({stop.code})", FAILED)
        except KeyboardInterrupt:
            if stopped := stop_requested():
                self._note(EXIT_CODES[stopped])
            raise
        except Exception as error:
            log.exception("nst: unexpected error")
            return self._failed(f"{type(error).__name__}: {error}", FAILED)
        if result.status == "failed":
            _say(str(result.error))
            return self._no_metric(FAILED)
        losses = result.picture_losses
        log.info(
            "%s after %s and %.1f s; the picture: total %.4g, content %.4g, style %.4g",
            _ENDINGS.get(result.stop_reason, "Budget used up"),
            _spent(result),
            result.seconds,
            losses.total,
            losses.content,
            losses.style,
        )
        if result.yardstick:
            log.info(
                "Left of the distance to the content: %.3g %%, to the style: %.3g %%%s",
                100 * result.yardstick["content_share"],
                100 * result.yardstick["style_share"],
                _aim(config),
            )
        best = result.best  # of a smaller size where the run ended in one
        if best and best.scale == 1 and (factor := excess(losses.total, best.total)):
            log.warning(
                "The picture's total is %.3g times that of the image that was optimised: %s",
                factor,
                loss_of_saving(config, losses.clipped),
            )
        log.info("Picture: %s", from_here(build.picture(folder, config)))
        if film := record.read(folder).get("timelapse"):
            log.info("Timelapse: %s", from_here(folder / film))
        if result.status == "interrupted":
            if self.alone:
                again = shlex.quote(f"resume={from_here(folder)}")
                log.info("python -m nst %s goes on with it", again)
            self._note(EXIT_CODES[result.stop_reason])
            sys.exit(EXIT_CODES[result.stop_reason])
        if self.alone:
            log.info(where_to_look(folder))
        return self._metric()

    def _failed(self, reason: str, code: int) -> float:
        _say(reason)
        if self.config.resume is None:  # else the record of the interrupted run stands
            record.write_failure(self.folder, self.config, reason, self.asked)
        return self._no_metric(code)

    def _note(self, code: int) -> None:
        """For the program that waits for the jobs of a sweep, perhaps on another machine."""
        if self.alone:
            return
        with suppress(OSError):
            note_outcome(self.folder, code)

    def _no_metric(self, code: int) -> float:
        """A single run ends the program; in a sweep the other jobs go on."""
        self._note(code)
        if self.alone:
            sys.exit(code)
        return float("inf")

    def _metric(self) -> float:
        self._note(0)
        left = record.read(self.folder)
        if self.config.metric.value == "total":
            found = left["picture"]["total"]
        else:  # of which too small a picture has none
            found = (left["yardstick"] or {}).get("balance")
        return float("inf") if found is None else float(found)


def _say(reason: str) -> None:
    """Log an error, or print it where the config has silenced the log."""
    if log.disabled:
        print(f"nst: {reason}", file=sys.stderr)
    else:
        log.error("nst: %s", reason)


def _spent(result: Result) -> str:
    """Evaluations, and of a pyramid what they were worth."""
    if not result.losses:
        return "0 evaluations"
    last = result.losses[-1]
    worth = "" if last.cost == last.evaluation else f", worth {last.cost:.0f} of the full size,"
    return f"{last.evaluation} evaluations{worth}"


def _aim(config: DictConfig) -> str:
    """What a strength is to leave of the distance to the style."""
    strength = config.loss.get("strength")
    return (
        "" if strength is None else f" (strength {strength:g} aims at {100 * goal(strength):.2g} %)"
    )
