"""The optimisation loop: evaluate, check, record, save, stop.

One *step* is one optimizer step; one *evaluation* is one forward and backward pass of the
objective. Everything is counted in evaluations, because an L-BFGS step takes up to 20 of them and
an Adam step one. A run ends in one of two places:

- inside an evaluation, when `evaluations`, `seconds`, `target_loss`, bad numbers or a request to
  stop ends it: the image is then exactly the one that the last row measured;
- after a step, when `steps` is used up or the optimizer no longer moves the image.

An optimizer's state is whole only between its steps. So a checkpoint is always the state between
two steps: one that is written on the way out of the middle of a step is the state before that step,
and a resumed run does the step again, to the same bits.

The trainer knows neither Hydra nor files: whatever wants to see the run is a `Sink`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nst import checkpoint
from nst.guard import Fault, Guard
from nst.objective import Terms
from nst.parametrizations import Parametrization, pixel
from nst.records import Budget, Outcome, Recovery, Row, Sink, Status

log = logging.getLogger(__name__)


class _Stop(Exception):
    """Ends the run from within an optimizer's step."""

    def __init__(self, reason: str, status: Status = "ok", error: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.error = reason, status, error


class _Bad(Exception):
    """Breaks an optimizer's step off because its numbers are bad."""

    def __init__(self, fault: Fault, row: Row) -> None:
        super().__init__(fault.what)
        self.fault, self.row = fault, row


@dataclass
class Trainer:
    """Optimises one image.

    Attributes:
        objective: image to terms.
        start: the image to start from, 1 x 3 x H x W; it is left as it is.
        make_optimizer: makes the optimizer of the list of variables.
        budget: when to stop.
        parametrization: what of the image the optimizer turns, see `nst.parametrizations`.
        guard: what to do about bad numbers.
        sinks: who gets the rows and images.
        image_every: evaluations between images for the sinks, beside the first and the last; None
            is none at all.
        checkpoint_path: where the state is saved; None is nowhere.
        checkpoint_every: evaluations after which the next completed step saves the state.
        checkpoint_seconds: seconds of optimisation likewise.
        identity: what a checkpoint must have been made with to be gone on from, by name.
        stop_requested: asked once per evaluation; a reason ends the run as `interrupted`.
    """

    objective: Callable[[Tensor], Terms]
    start: Tensor
    make_optimizer: Callable[[list[Tensor]], Optimizer]
    budget: Budget
    parametrization: Parametrization = pixel
    guard: Guard = field(default_factory=Guard)
    sinks: Sequence[Sink] = ()
    image_every: int | None = None
    checkpoint_path: Path | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    stop_requested: Callable[[], str | None] = lambda: None
    rows: list[Row] = field(default_factory=list, init=False)
    _recoveries: list[Recovery] = field(default_factory=list, init=False)
    _best: Row | None = field(default=None, init=False)
    _step: int = field(default=0, init=False)
    _evaluation: int = field(default=0, init=False)
    _seconds: float = field(default=0.0, init=False)
    _saved_at: tuple[int, float] = field(default=(0, 0.0), init=False)

    def __post_init__(self) -> None:
        self.image = self.parametrization(self.start)
        self._best_image = self._current()
        self.optimizer = self.make_optimizer(self.image.variables)

    def run(self) -> Outcome:
        """Optimise until the budget is used up.

        Exceptions of the objective, the optimizer and the sinks pass through.
        """
        self._resumed_at = time.perf_counter()
        try:
            while True:
                self._before = self._state()
                if self._step == self.budget.steps:
                    raise _Stop("steps")
                if reason := self._spent():
                    raise _Stop(reason)
                if self._save_is_due():
                    self._pause(lambda: self._save(self._before))
                self._step += 1
                try:
                    self.optimizer.step(self._evaluate)  # type: ignore[arg-type]
                except _Bad as bad:
                    self._recover(bad)
                    continue
                if all(map(torch.equal, self._before["variables"], self.image.variables)):
                    raise _Stop("converged")
        except _Stop as stop:
            self._seconds += time.perf_counter() - self._resumed_at
            return self._finish(stop)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint: the next step is the one that would have followed.

        Where the budget was used up already, `run` then ends at once with what the checkpoint has.

        Raises:
            nst.checkpoint.CheckpointError: it is missing, damaged, was made with something else
                than this run's `identity`, is past this run's budget, or is of a run that was
                finished with a smaller one.
        """
        state = checkpoint.load(path)
        checkpoint.check_identity(path, state.get("identity"), self.identity)
        with torch.no_grad():
            for variable, value in zip(self.image.variables, state["variables"], strict=True):
                variable.copy_(value)
        self._best_image = state["best_image"].to(self.start.device)
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self._step, self._evaluation = state["step"], state["evaluation"]
        self._seconds, self._saved_at = state["seconds"], (state["evaluation"], state["seconds"])
        self._best = Row(**state["best"]) if state["best"] else None
        self.rows = [Row(**row) for row in state["rows"]]
        self._recoveries = [Recovery(**one) for one in state["recoveries"]]
        for name, done in (("steps", self._step), ("evaluations", self._evaluation)):
            limit = getattr(self.budget, name)
            if limit is not None and done > limit:
                raise checkpoint.CheckpointError(
                    f"{path}: after {done} {name}, which is past budget.{name}={limit}"
                )
        spent = self._step == self.budget.steps or self._spent()
        if state["optimizer"] is None and not spent:
            raise checkpoint.CheckpointError(checkpoint.FINISHED.format(path))

    def _evaluate(self) -> Tensor:
        """The closure: one forward, one backward, one transfer of the losses to the host."""
        self.optimizer.zero_grad()
        image = self.image()
        terms = self.objective(image)
        terms.total.backward()  # type: ignore[no-untyped-call]
        self._evaluation += 1
        gradients = [v.grad for v in self.image.variables if v.grad is not None]
        steepest = torch.stack([gradient.abs().max() for gradient in gradients]).max()
        scalars = (terms.content, terms.style, terms.tv, terms.total, steepest)
        transferred = torch.stack([s.detach() for s in (*scalars, *terms.layers.values())])
        content, style, tv, total, gradient, *layers = transferred.tolist()
        row = Row(
            step=self._step,
            evaluation=self._evaluation,
            seconds=self._seconds + time.perf_counter() - self._resumed_at,
            content=content,
            style=style,
            tv=tv,
            total=total,
            layers=dict(zip(terms.layers, layers, strict=True)),
        )
        self._pause(lambda: self._record(row, gradient, image.detach()))
        return terms.total

    def _record(self, row: Row, gradient: float, image: Tensor) -> None:
        fault = self.guard.check(row, gradient, self._best)
        if fault and fault.kind == "non_finite":
            raise _Bad(fault, row)  # no row: JSON and TensorBoard know no NaN
        self.rows.append(row)
        if self._best is None or row.total < self._best.total:
            self._best = row
            # A new tensor: the state before this step keeps the one that was best then.
            self._best_image = image.clone()
        for sink in self.sinks:
            sink.on_evaluation(row)
        stop = self._wants_to_stop()
        if self._wants_image(row.evaluation) or (stop and self.image_every):
            for sink in self.sinks:
                sink.on_image(row.evaluation, image)
        if stop:
            raise stop
        if fault:
            raise _Bad(fault, row)

    def _recover(self, bad: _Bad) -> None:
        where = f"at evaluation {bad.row.evaluation} (step {bad.row.step})"
        if self.guard.policy == "stop" or self._best is None:
            error = f"{bad.fault.what} {where}: a smaller learning rate or guard=recover may help"
            raise _Stop(bad.fault.kind, "failed", error)
        if len(self._recoveries) >= self.guard.attempts:
            error = f"{bad.fault.what} {where}, after {self.guard.attempts} recoveries"
            raise _Stop(bad.fault.kind, "failed", error)
        rates = [group["lr"] / 2 for group in self.optimizer.param_groups]
        self.image.assign(self._best_image)
        self.optimizer = self.make_optimizer(self.image.variables)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._recoveries.append(
            Recovery(bad.row.step, bad.row.evaluation, bad.fault.what, rates[0])
        )
        log.warning(
            "%s %s: back to the best image, of evaluation %d, with lr %.4g",
            bad.fault.what,
            where,
            self._best.evaluation,
            rates[0],
        )

    def _spent(self) -> str | None:
        """Which part of the budget is used up; `steps`, which end between steps alone, left out."""
        budget, best = self.budget, self._best
        if budget.target_loss is not None and best and best.total <= budget.target_loss:
            return "target_loss"
        if budget.evaluations is not None and self._evaluation >= budget.evaluations:
            return "evaluations"
        if budget.seconds is not None and self._seconds >= budget.seconds:
            return "seconds"
        return None

    def _wants_image(self, evaluation: int) -> bool:
        every = self.image_every
        return every is not None and (evaluation == 1 or evaluation % every == 0)

    def _wants_to_stop(self) -> _Stop | None:
        if reason := self.stop_requested():
            return _Stop(reason, "interrupted")
        if reason := self._spent():
            return _Stop(reason)
        return None

    def _pause(self, action: Callable[[], None]) -> None:
        """Run an action with the clock stopped."""
        self._seconds += time.perf_counter() - self._resumed_at
        try:
            action()
        finally:
            self._resumed_at = time.perf_counter()

    def _finish(self, stop: _Stop) -> Outcome:
        if stop.status == "ok":
            # L-BFGS's history is up to 200 images large, and nothing follows.
            self._save({**self._state(), "optimizer": None})
        elif stop.status == "interrupted":
            self._save(self._before)
        return Outcome(
            status=stop.status,
            stop_reason=stop.reason,
            error=stop.error,
            steps=self._step,
            rows=self.rows,
            recoveries=self._recoveries,
            best=self._best,
            seconds=self._seconds,
            image=self._best_image,
            last_image=self._current(),
        )

    def _save_is_due(self) -> bool:
        evaluation, seconds = self._saved_at
        every, period = self.checkpoint_every, self.checkpoint_seconds
        elapsed = self._seconds + time.perf_counter() - self._resumed_at - seconds
        return (every is not None and self._evaluation - evaluation >= every) or (
            period is not None and elapsed >= period
        )

    @torch.no_grad()
    def _current(self) -> Tensor:
        return self.image().detach().clone()

    def _state(self) -> dict[str, Any]:
        """The state between two steps, safe from the step that follows."""
        return {
            "variables": [variable.detach().clone() for variable in self.image.variables],
            "best_image": self._best_image,
            "best": asdict(self._best) if self._best else None,
            "optimizer": checkpoint.snapshot(self.optimizer.state_dict()),
            "rng": torch.get_rng_state(),
            "step": self._step,
            "evaluation": self._evaluation,
            "seconds": self._seconds,
            "recoveries": [asdict(one) for one in self._recoveries],
        }

    def _save(self, state: dict[str, Any]) -> None:
        if self.checkpoint_path is None:
            return
        rows = [asdict(row) for row in self.rows if row.evaluation <= state["evaluation"]]
        state = {**state, "rows": rows, "identity": dict(self.identity)}
        checkpoint.save(state, self.checkpoint_path)
        self._saved_at = state["evaluation"], state["seconds"]
