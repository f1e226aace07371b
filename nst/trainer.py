"""The optimisation loop: evaluate, check, record, stop.

One *step* is one optimizer step; one *evaluation* is one forward and backward pass of the
objective. Everything is counted in evaluations, because an L-BFGS step takes up to 20 of them and
an Adam step one. A run ends in one of two places:

- inside an evaluation, when `evaluations`, `seconds`, `target_loss`, a non-finite loss or a request
  to stop ends it: the image is then exactly the one that the last row measured;
- after a step, when `steps` is used up or the optimizer no longer moves the image.

The trainer knows neither Hydra nor files: whatever wants to see the run is a `Sink`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from nst import checkpoint
from nst.errors import InputError
from nst.objective import Terms

Status = Literal["ok", "failed", "interrupted"]


@dataclass(frozen=True)
class Budget:
    """The run stops at the first of these that is reached; None is no limit.

    Attributes:
        steps: optimizer steps.
        evaluations: forward and backward passes.
        seconds: of optimisation, without logging and loading.
        target_loss: total loss at or below which the run is done.
    """

    steps: int | None = None
    evaluations: int | None = None
    seconds: float | None = None
    target_loss: float | None = None

    def __post_init__(self) -> None:
        limits = {item.name: getattr(self, item.name) for item in fields(self)}
        if all(limit is None for limit in limits.values()):
            raise InputError(f"the budget needs at least one of {', '.join(limits)}")
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise InputError(f"budget.{name} must be greater than 0, not {limit}")


@dataclass(frozen=True)
class Row:
    """One evaluation.

    Attributes:
        step: the step it belongs to, from 1.
        evaluation: its number, from 1.
        seconds: of optimisation up to its end.
        content: the weighted content term.
        style: the weighted style term.
        tv: the weighted total variation.
        total: their sum.
        layers: unweighted terms by `content/<tap>` and `style/<tap>`.
    """

    step: int
    evaluation: int
    seconds: float
    content: float
    style: float
    tv: float
    total: float
    layers: dict[str, float]


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        status: `ok`: the budget or convergence ended it; `failed`; `interrupted`.
        stop_reason: `steps`, `evaluations`, `seconds`, `target_loss`, `converged`, `non_finite`,
            or whatever the request to stop said.
        error: one line where the run failed.
        steps: optimizer steps, the last of which may have been cut short.
        rows: one per evaluation.
        best: the row with the lowest total; None if there was no finite one.
        seconds: of optimisation.
        image: the image that `best` measured (the starting image if there is none).
        last_image: the image at the end, which the last row need not have measured.
    """

    status: Status
    stop_reason: str
    error: str | None
    steps: int
    rows: list[Row]
    best: Row | None
    seconds: float
    image: Tensor
    last_image: Tensor


class Sink(Protocol):
    """Something that wants to see the run as it goes."""

    def on_evaluation(self, row: Row) -> None:
        """Called after every evaluation with finite losses."""

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Called with the image (1 x 3 x H x W) that an evaluation measured."""


class _Stop(Exception):
    """Ends the run from within an optimizer's step."""

    def __init__(self, reason: str, status: Status = "ok", error: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.error = reason, status, error


@dataclass
class Trainer:
    """Optimises one image.

    Attributes:
        objective: image to terms.
        image: where to start, 1 x 3 x H x W; a copy is optimised.
        make_optimizer: makes the optimizer of the list of variables.
        budget: when to stop.
        sinks: who gets the rows and images.
        image_every: evaluations between images for the sinks, beside the first and the last; None
            is none at all.
        checkpoint_path: where the state is saved; None is nowhere.
        checkpoint_every: evaluations after which the next completed step saves the state.
        stop_requested: asked once per evaluation; a reason ends the run as `interrupted`.
    """

    objective: Callable[[Tensor], Terms]
    image: Tensor
    make_optimizer: Callable[[list[Tensor]], Optimizer]
    budget: Budget
    sinks: Sequence[Sink] = ()
    image_every: int | None = None
    checkpoint_path: Path | None = None
    checkpoint_every: int = 100
    stop_requested: Callable[[], str | None] = lambda: None
    _rows: list[Row] = field(default_factory=list, init=False)
    _best: Row | None = field(default=None, init=False)
    _step: int = field(default=0, init=False)
    _evaluation: int = field(default=0, init=False)
    _seconds: float = field(default=0.0, init=False)
    _saved_at: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.image = self.image.detach().clone(memory_format=torch.contiguous_format)
        self._best_image = self.image.clone()
        self.image.requires_grad_(True)
        self.optimizer = self.make_optimizer([self.image])

    def run(self) -> Outcome:
        """Optimise until the budget is used up.

        Exceptions of the objective, the optimizer and the sinks pass through.
        """
        self._resumed_at = time.perf_counter()
        try:
            while True:
                self._step += 1
                before = self.image.detach().clone()
                self.optimizer.step(self._evaluate)  # type: ignore[arg-type]
                if torch.equal(before, self.image):
                    raise _Stop("converged")
                if self._step == self.budget.steps:
                    raise _Stop("steps")
                if self._evaluation - self._saved_at >= self.checkpoint_every:
                    self._pause(self._save)
        except _Stop as stop:
            self._seconds += time.perf_counter() - self._resumed_at
            return self._finish(stop)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint: the next step is the one that would have followed.

        Raises:
            nst.checkpoint.CheckpointError: it is missing, damaged, of another size, or of a run
                that was finished and so kept no optimizer state.
        """
        state = checkpoint.load(path)
        if state["image"].shape != self.image.shape:
            raise checkpoint.CheckpointError(
                f"{path}: holds an image of {tuple(state['image'].shape)}, "
                f"this run's is {tuple(self.image.shape)}"
            )
        if state["optimizer"] is None:
            raise checkpoint.CheckpointError(f"{path}: the run was finished")
        with torch.no_grad():
            self.image.copy_(state["image"])
            self._best_image.copy_(state["best_image"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._step, self._evaluation = state["step"], state["evaluation"]
        self._seconds, self._saved_at = state["seconds"], state["evaluation"]
        self._best = Row(**state["best"])

    def _evaluate(self) -> Tensor:
        """The closure: one forward, one backward, one transfer of the losses to the host."""
        self.optimizer.zero_grad()
        terms = self.objective(self.image)
        terms.total.backward()  # type: ignore[no-untyped-call]
        self._evaluation += 1
        scalars = (terms.content, terms.style, terms.tv, terms.total, *terms.layers.values())
        content, style, tv, total, *layers = torch.stack([s.detach() for s in scalars]).tolist()
        seconds = self._seconds + time.perf_counter() - self._resumed_at
        row = Row(
            step=self._step,
            evaluation=self._evaluation,
            seconds=seconds,
            content=content,
            style=style,
            tv=tv,
            total=total,
            layers=dict(zip(terms.layers, layers, strict=True)),
        )
        self._pause(lambda: self._record(row))
        return terms.total

    def _record(self, row: Row) -> None:
        if not math.isfinite(row.total):
            values = {"content": row.content, "style": row.style, "tv": row.tv}
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            raise _Stop(
                "non_finite",
                "failed",
                f"the loss is not finite at evaluation {row.evaluation} (step {row.step}, "
                f"{', '.join(bad) or 'total'}): a smaller learning rate may help",
            )
        self._rows.append(row)
        if self._best is None or row.total < self._best.total:
            self._best = row
            self._best_image.copy_(self.image.detach())
        for sink in self.sinks:
            sink.on_evaluation(row)
        stop = self._stop_after(row)
        if self._wants_image(row.evaluation) or (stop and self.image_every):
            for sink in self.sinks:
                sink.on_image(row.evaluation, self.image.detach())
        if stop:
            raise stop

    def _wants_image(self, evaluation: int) -> bool:
        every = self.image_every
        return every is not None and (evaluation == 1 or evaluation % every == 0)

    def _stop_after(self, row: Row) -> _Stop | None:
        budget = self.budget
        if reason := self.stop_requested():
            return _Stop(reason, "interrupted")
        if budget.target_loss is not None and row.total <= budget.target_loss:
            return _Stop("target_loss")
        if budget.evaluations is not None and row.evaluation >= budget.evaluations:
            return _Stop("evaluations")
        if budget.seconds is not None and row.seconds >= budget.seconds:
            return _Stop("seconds")
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
            self._save(finished=True)
        return Outcome(
            status=stop.status,
            stop_reason=stop.reason,
            error=stop.error,
            steps=self._step,
            rows=self._rows,
            best=self._best,
            seconds=self._seconds,
            image=self._best_image,
            last_image=self.image.detach(),
        )

    def _save(self, *, finished: bool = False) -> None:
        """Save the state after a completed step, or the last images of a finished run.

        An optimizer's state is whole only between steps, so a run that stops within one keeps the
        checkpoint before; L-BFGS's history is up to 200 images large, so a finished run drops it.
        """
        if self.checkpoint_path is None or self._best is None:
            return
        state: dict[str, Any] = {
            "image": self.image.detach(),
            "best_image": self._best_image,
            "best": asdict(self._best),
            "optimizer": None if finished else self.optimizer.state_dict(),
            "step": self._step,
            "evaluation": self._evaluation,
            "seconds": self._seconds,
        }
        checkpoint.save(state, self.checkpoint_path)
        self._saved_at = self._evaluation
