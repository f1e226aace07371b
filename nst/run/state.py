"""All of a run that changes: the image, its optimizer, how far it has come, its rows."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nst.free_memory import give_back
from nst.optim import parametrizations, schedules
from nst.optim.parametrizations import Image, Parametrization
from nst.optim.schedules import Stage
from nst.run.checkpoint import snapshot
from nst.run.clock import Clock
from nst.run.evaluation import Evaluation
from nst.run.records import Position, Recovery, Row


class State:
    """The state of a run.

    Args:
        stages: the sizes in which the image is optimised.
        start: the image to start from, 1 x 3 x H x W in the first stage's size.
        parametrization: image to variables and back.
        make_optimizer: makes the optimizer of the list of variables.

    Attributes:
        at: how far the run has come.
        clock: seconds of optimisation.
        rows: one per evaluation.
        recoveries: in order.
        image: the stage's image as a function of its variables.
        evaluation: of it, by the stage's objective.
        optimizer: of these.
        best_image: the image that the stage's best row measured; its first one if there is none.
        keeps_last: of the optimizer, see `nst.optim.optimizers`.
    """

    image: Image
    evaluation: Evaluation
    optimizer: Optimizer
    best_image: Tensor
    keeps_last: bool

    def __init__(
        self,
        stages: Sequence[Stage],
        start: Tensor,
        parametrization: Parametrization,
        make_optimizer: Callable[[list[Tensor]], Optimizer],
    ) -> None:
        self._stages = stages
        self._parametrization = parametrization
        self._make_optimizer = make_optimizer
        self.at = Position()
        self.clock = Clock()
        self.rows: list[Row] = []
        self.recoveries: list[Recovery] = []
        self._enter(start)

    @property
    def stage(self) -> Stage:
        """The stage that the run is in."""
        return self._stages[self.at.stage]

    @property
    def in_last_stage(self) -> bool:
        """Whether this is the full size."""
        return self.stage is self._stages[-1]

    def begin_step(self) -> None:
        """Count an optimizer step."""
        self.at.step, self.at.step_began = self.at.step + 1, self.at.evaluation

    def count_evaluation(self) -> None:
        """Count an evaluation in the stage's size."""
        self.at.evaluation += 1
        self.at.cost += self.stage.cost

    def add(self, row: Row, image: Tensor) -> None:
        """Add an evaluation's row, and keep its image where it is the stage's best."""
        self.rows.append(row)
        if self.at.best is None or row.total < self.at.best.total:
            self.at.best = row
            # A new tensor: the state before this step keeps the one that was best then.
            self.best_image = image.clone()

    def kept_image(self) -> Tensor:
        """The image that the run leaves, if this is its end: the best one, or the last.

        The last one is what the variables stand for now, between two steps. Only where it is not
        finite, which no row may have told yet, it gives way to the best.
        """
        if self.keeps_last and (last := self.current()).isfinite().all():
            return last
        return self.best_image

    def next_stage(self) -> None:
        """Go on in the next size, with the image of this one and a new optimizer."""
        at, image, previous = self.at, self.kept_image(), self.optimizer
        self.at = replace(at, stage=at.stage + 1, stage_began=at.evaluation, best=None)
        if self.stage.content:
            start = schedules.enlarged(image, self.stage.content())
        else:
            start = schedules.resized(image, self.stage.shape)
        self._enter(start)
        if (take_over := getattr(self.optimizer, "take_over", None)) is not None:
            take_over(previous)
        del previous  # whose history may be most of the memory
        give_back(image.device)

    @torch.no_grad()
    def full_size(self, image: Tensor) -> Tensor:
        """An image of a stage in the last stage's size, within the range that it is kept in."""
        if self.in_last_stage:
            return image
        # Enlarging overshoots at edges.
        return self._parametrization(schedules.resized(image, self._stages[-1].shape))().detach()

    def back_to_best(self, rate: float, bad: Row, reason: str) -> float:
        """Go back to the best image with a new optimizer, and note that.

        Args:
            rate: what its learning rate is multiplied with.
            bad: the evaluation that made it necessary.
            reason: what was wrong with that.

        Returns:
            The learning rate.
        """
        previous = self.optimizer
        rates = [group["lr"] * rate for group in previous.param_groups]
        self.image.assign(self.best_image)
        self.optimizer = self._make_optimizer(self.image.variables)
        if (begin_again := getattr(self.optimizer, "begin_again", None)) is not None:
            begin_again(previous)
        del previous
        give_back(self.best_image.device)
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self.recoveries.append(Recovery(bad.step, bad.evaluation, reason, float(rates[0])))
        return float(rates[0])

    @torch.no_grad()
    def current(self) -> Tensor:
        """A copy of the image as it is."""
        return self.image().detach().clone()

    def fingerprint(self) -> list[int]:
        """Of the variables: the sum of their bits, cheaper than a copy to compare with."""
        integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}
        return [
            int(variable.detach().view(integers[variable.element_size()]).sum())
            for variable in self.image.variables
        ]

    def progress(self) -> dict[str, Any]:
        """The small part of the state, as it is now."""
        return {
            "position": asdict(self.at),
            "rng": torch.get_rng_state(),
            "seconds": self.clock.seconds,
            "recoveries": [asdict(one) for one in self.recoveries],
        }

    def between_steps(self) -> dict[str, Any]:
        """What a checkpoint needs to know of the moment before a step.

        The tensors are there only if they may change before the step can be broken off.
        """
        return {**self.progress(), **(self._safe_tensors() if self._moves_within_steps() else {})}

    def payload(self, before: dict[str, Any]) -> dict[str, Any]:
        """The state before a step, whole.

        Args:
            before: what `between_steps` returned before the step that has just begun or been
                broken off; or `progress`, where no step follows.
        """
        state = {**self._tensors(), **before}
        done = state["position"]["evaluation"]
        return {**state, "rows": [asdict(row) for row in self.rows if row.evaluation <= done]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `payload` returned."""
        best = state["position"]["best"]
        self.at = Position(**{**state["position"], "best": Row(**best) if best else None})
        # Copies, for what was loaded may still be on the disk, in a file that will be replaced.
        best_image = state["best_image"].to(self.best_image.device, copy=True)
        if self.at.stage:
            self._enter(best_image)
        self.best_image = best_image
        with torch.no_grad():
            for variable, value in zip(self.image.variables, state["variables"], strict=True):
                variable.copy_(value)
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(snapshot(state["optimizer"]))
        torch.set_rng_state(state["rng"])
        self.clock.before = state["seconds"]
        self.rows = [Row(**row) for row in state["rows"]]
        self.recoveries = [Recovery(**one) for one in state["recoveries"]]

    def _enter(self, image: Tensor) -> None:
        objective = self.stage.objective()
        self.image = parametrizations.made(self._parametrization, image)
        self.evaluation = Evaluation(self.image, objective, recorded=self.stage.recorded)
        self.optimizer = self._make_optimizer(self.image.variables)
        self.keeps_last = getattr(self.optimizer, "keeps_last", False)
        self.best_image = self.current()

    def _moves_within_steps(self) -> bool:
        """Whether the optimizer moves the image before a step's last evaluation.

        With one evaluation per step, such as Adam's, nothing has moved where a step can be broken
        off, and no copy is needed. The last step tells; before the first one it is known of Adam,
        whose moments are as large as the copies would be.
        """
        if self.at.step == 0:
            return not isinstance(self.optimizer, torch.optim.Adam)
        return self.at.evaluation - self.at.step_began != 1

    def _tensors(self) -> dict[str, Any]:
        """The large part of the state, as it is until the next evaluation."""
        return {
            "variables": [variable.detach() for variable in self.image.variables],
            "best_image": self.best_image,
            "optimizer": self.optimizer.state_dict(),
        }

    def _safe_tensors(self) -> dict[str, Any]:
        """The tensors, safe from the step that follows."""
        tensors = self._tensors()
        return {
            "variables": [variable.clone() for variable in tensors["variables"]],
            "best_image": tensors["best_image"],
            "optimizer": snapshot(tensors["optimizer"]),
        }
