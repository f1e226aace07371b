"""The optimisation loop: evaluate, check, record, save, stop.

One *step* is one optimizer step; one *evaluation* is one forward and backward pass of the
objective. Everything is counted in evaluations, because an L-BFGS step takes up to 20 of them and
an Adam step one. A run ends in one of two places:

- inside an evaluation, when `evaluations`, `seconds`, `target_loss`, bad numbers or a request to
  stop ends it: the image is then exactly the one that the last row measured;
- after a step, when `steps` is used up or the optimizer no longer moves the image.

Where there are several stages (see `nst.optim.schedules`), each but the last ends after its
evaluations or where the optimizer no longer moves the image, and the next one begins with its best
image, enlarged, and an optimizer that knows nothing yet. An optimizer may have it otherwise (see
`nst.optim.optimizers`): one that averages leaves its last image, here and at the end, and Adam may
carry its moments over.

On a GPU the host runs ahead: it reads the numbers of an evaluation when it has launched the next
one of the same step, so neither waits for the other. What the numbers end, they then end one
evaluation late: the optimizer has moved the image on, and that evaluation is forgotten. Those that
end a run or a stage by their number, and the last one of a step, are read at once.

An optimizer's state is whole only between its steps. So a checkpoint is always the state between
two steps: one that is written on the way out of the middle of a step is the state before that step,
and a resumed run does the step again, to the same bits.

The trainer writes its checkpoint and no other file: whatever wants to see the run is a `Sink`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nst.optim.parametrizations import Parametrization, pixel
from nst.optim.readback import Readback
from nst.optim.schedules import Stage
from nst.run import checkpoint
from nst.run.guard import Fault, Guard
from nst.run.records import Budget, Outcome, Row, Status
from nst.run.results import Sink
from nst.run.state import State

log = logging.getLogger(__name__)


class _Stop(Exception):
    """Ends the run from within an optimizer's step."""

    def __init__(self, reason: str, status: Status = "ok", error: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.error = reason, status, error


class _StageDone(Exception):
    """Leaves an optimizer's step for the next stage."""


class _Bad(Exception):
    """Breaks an optimizer's step off because its numbers are bad."""

    def __init__(self, fault: Fault, row: Row) -> None:
        super().__init__(fault.what)
        self.fault, self.row = fault, row


@dataclass(frozen=True)
class _Launched:
    """An evaluation that has no row yet."""

    numbers: Readback
    terms: tuple[str, ...]
    layers: tuple[str, ...]
    image: Tensor


@dataclass
class Trainer:
    """Optimises one image.

    Attributes:
        stages: the sizes in which the image is optimised.
        start: the image to start from, 1 x 3 x H x W in the first stage's size; it is left as it
            is, and not kept.
        make_optimizer: makes the optimizer of the list of variables.
        budget: when to stop.
        parametrization: what of the image the optimizer turns, see `nst.optim.parametrizations`.
        guard: what to do about bad numbers.
        sinks: who gets the rows and images.
        image_every: evaluations between images for the sinks, beside the first, and the last where
            an evaluation ends the run; None is none at all.
        checkpoint_path: where the state is saved; None is nowhere.
        checkpoint_every: evaluations after which the next completed step saves the state.
        checkpoint_seconds: seconds of optimisation likewise.
        identity: what a checkpoint must have been made with to be gone on from, by name.
        stop_requested: asked once per evaluation, before the sinks get its row; a reason ends the
            run as `interrupted`.
        state: all that changes.
    """

    stages: Sequence[Stage]
    start: InitVar[Tensor]
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
    state: State = field(init=False)
    _saved_at: tuple[int, float] = field(default=(0, 0.0), init=False)
    _launched: _Launched | None = field(default=None, init=False)
    _before: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self, start: Tensor) -> None:
        self.state = State(self.stages, start, self.parametrization, self.make_optimizer)

    def run(self) -> Outcome:
        """Optimise until the budget is used up.

        Exceptions of the objective, the optimizer and the sinks pass through.
        """
        self.state.clock.start()
        try:
            while True:
                self._step()
        except _Stop as stop:
            self.state.clock.stop()
            return self._finish(stop)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint: the next step is the one that would have followed.

        Where the budget was used up already, `run` then ends at once with what the checkpoint has.

        Raises:
            nst.run.checkpoint.CheckpointError: it is missing, damaged, was made with something else
                than this run's `identity`, or is of a run that came further than this one's budget
                or was finished with a smaller one.
        """
        saved = checkpoint.load(path)
        checkpoint.check_identity(path, saved.get("identity"), self.identity)
        try:
            self.state.restore(saved)
        except KeyError as missing:
            raise checkpoint.CheckpointError(
                f"{path}: of another version of nst (it lacks {missing})"
            ) from None
        at = self.state.at
        self._saved_at = at.evaluation, self.state.clock.seconds
        # An earlier version's says nothing of what came after the state.
        known = {"steps": at.step, "evaluations": round(at.cost)}
        for name, done in saved.get("reached", known).items():
            limit = getattr(self.budget, name)
            if limit is not None and done > limit:
                raise checkpoint.CheckpointError(
                    f"{path}: after {done} {name}, which is past budget.{name}={limit}"
                )
        spent = at.step == self.budget.steps or self._spent()
        if saved["optimizer"] is None and not spent:
            raise checkpoint.CheckpointError(checkpoint.FINISHED.format(path))

    def _step(self) -> None:
        state = self.state
        self._remember()
        if state.at.step == self.budget.steps:
            raise _Stop("steps")
        if state.rows and (reason := self._spent()):  # what is saved is to be measured once
            raise _Stop(reason)
        if self._save_is_due():
            with state.clock.paused():
                self._save(self._before)
        state.begin_step()
        fingerprint = state.fingerprint()
        try:
            state.optimizer.step(self._evaluate)  # type: ignore[arg-type]
            self._end_step()
        except _Bad as bad:
            self._recover(bad)
        except _StageDone:
            self._next_stage()
        else:
            if state.fingerprint() == fingerprint:
                if state.in_last_stage:
                    raise _Stop("converged")
                self._next_stage()

    def _end_step(self) -> None:
        """Read the step's last row, unless that is done."""
        try:
            self._read()
        except _Stop:
            # The step is whole, and its optimizer may have moved the image only now.
            self._remember()
            raise

    def _remember(self) -> None:
        """Keep the state between two steps, in case that it is to be saved."""
        if self.checkpoint_path is not None:
            self._before = self.state.between_steps()

    def _next_stage(self) -> None:
        with self.state.clock.paused():
            self.state.next_stage()

    def _evaluate(self) -> Tensor:
        """The closure: launches one evaluation, and reads those that are due."""
        state = self.state
        ahead = state.stage.recorded
        found = state.evaluation()
        self._read()
        # The next evaluation is launched before the image is looked at.
        image = found.image.clone() if ahead else found.image
        self._launched = _Launched(Readback(found.numbers), found.terms, found.layers, image)
        if not ahead or self._is_last():
            self._read()
        return found.total

    def _is_last(self) -> bool:
        """Whether the evaluation that was launched ends the stage or the run by its number."""
        at, stage = self.state.at, self.state.stage
        in_stage = at.evaluation + 1 - at.stage_began
        return stage.is_over(in_stage) or self.budget.is_used_up(at.cost + stage.cost)

    def _read(self) -> None:
        """Make the row of the evaluation that was launched last, unless it has one."""
        launched, self._launched = self._launched, None
        if launched is None:
            return
        state = self.state
        numbers = launched.numbers.wait().tolist()
        count = len(launched.terms)
        terms = dict(zip(launched.terms, numbers[:count], strict=True))
        total, gradient, *distances = numbers[count:]
        layers = dict(zip(launched.layers, distances, strict=True))
        state.count_evaluation()
        row = Row(
            step=state.at.step,
            evaluation=state.at.evaluation,
            seconds=state.clock.seconds,
            terms=terms,
            total=total,
            layers=layers,
            scale=state.stage.scale,
            cost=state.at.cost,
        )
        # A row costs no time where the device is at work meanwhile; an image does.
        with nullcontext() if state.stage.recorded else state.clock.paused():
            self._record(row, gradient, launched.image)

    def _record(self, row: Row, gradient: float, image: Tensor) -> None:
        state = self.state
        fault = self.guard.check(row, gradient, state.at.best)
        if fault and fault.kind == "non_finite":
            raise _Bad(fault, row)  # no row: JSON and TensorBoard know no NaN
        state.add(row, image)
        # Asked before anybody sees the row: from then on there is something to be saved.
        stop = self._wants_to_stop()
        for sink in self.sinks:
            sink.on_evaluation(row)
        if self._wants_image(row.evaluation) or (stop and self.image_every):
            with state.clock.paused():
                for sink in self.sinks:
                    sink.on_image(row.evaluation, image)
        if stop:
            raise _Stop(*stop)
        if fault:
            raise _Bad(fault, row)
        if state.stage.is_over(row.evaluation - state.at.stage_began):
            raise _StageDone

    def _recover(self, bad: _Bad) -> None:
        state, best = self.state, self.state.at.best
        where = f"at evaluation {bad.row.evaluation} (step {bad.row.step})"
        if best is None:
            raise _Stop(bad.fault.kind, "failed", f"{bad.fault.what} {where}")
        if self.guard.policy == "stop":
            error = f"{bad.fault.what} {where}: a smaller learning rate or guard=recover may help"
            raise _Stop(bad.fault.kind, "failed", error)
        if len(state.recoveries) >= self.guard.attempts:
            error = f"{bad.fault.what} {where}, after {self.guard.attempts} recoveries"
            raise _Stop(bad.fault.kind, "failed", error)
        lr = state.back_to_best(0.5, bad.row, bad.fault.what)
        back = f"back to the best image, of evaluation {best.evaluation}, with lr {lr:.4g}"
        log.warning("%s %s: %s", bad.fault.what, where, back)

    def _spent(self) -> str | None:
        """Which part of the budget is used up; `steps`, which end between steps alone, left out."""
        state = self.state
        # Losses of smaller sizes are others.
        best = state.at.best if state.in_last_stage else None
        return self.budget.spent(state.at.cost, state.clock.seconds, best)

    def _wants_image(self, evaluation: int) -> bool:
        every = self.image_every
        return every is not None and (evaluation == 1 or evaluation % every == 0)

    def _wants_to_stop(self) -> tuple[str, Status] | None:
        if reason := self.stop_requested():
            return reason, "interrupted"
        if reason := self._spent():
            return reason, "ok"
        return None

    def _finish(self, stop: _Stop) -> Outcome:
        state = self.state
        if stop.status == "ok":
            # L-BFGS's history is up to 200 images large, and nothing follows.
            self._save({**state.progress(), "optimizer": None})
        elif stop.status == "interrupted":
            self._save(self._before)
        # A run that went wrong did so in its last images.
        image = state.best_image if stop.status == "failed" else state.kept_image()
        return Outcome(
            status=stop.status,
            stop_reason=stop.reason,
            error=stop.error,
            steps=state.at.step,
            rows=state.rows,
            recoveries=state.recoveries,
            best=state.at.best,
            seconds=state.clock.seconds,
            image=state.full_size(image),
            last_image=state.full_size(state.current()),
            chosen=getattr(state.optimizer, "chosen", {}),
        )

    def _save_is_due(self) -> bool:
        evaluation, seconds = self._saved_at
        every, period = self.checkpoint_every, self.checkpoint_seconds
        return (every is not None and self.state.at.evaluation - evaluation >= every) or (
            period is not None and self.state.clock.seconds - seconds >= period
        )

    def _save(self, before: dict[str, Any]) -> None:
        """Save the state before the step; `before` is what `State.between_steps` said of it."""
        if self.checkpoint_path is not None:
            payload, at = self.state.payload(before), self.state.at
            # Beyond the state that is saved, where a step was broken off: the run's picture may be
            # of that step, and no resumption is to leave a worse one.
            reached = {"steps": at.step, "evaluations": round(at.cost)}
            identity = dict(self.identity)
            checkpoint.save(
                {**payload, "reached": reached, "identity": identity}, self.checkpoint_path
            )
            self._saved_at = payload["position"]["evaluation"], payload["seconds"]
