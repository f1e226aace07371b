"""Plain records of the loop: `Budget`, `Row`, `Position`, `Recovery`, `Outcome`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from torch import Tensor

from nst.errors import InputError
from nst.objective.terms import Named

Status = Literal["ok", "failed", "interrupted"]


@dataclass(frozen=True)
class Budget:
    """The run stops at the first of these that is reached; None is no limit.

    Attributes:
        steps: optimizer steps.
        evaluations: forward and backward passes, those in a smaller size by the share of the full
            size's pixels, see `nst.optim.schedules`.
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

    def is_used_up(self, cost: float) -> bool:
        """Whether so many full-size evaluations are all that there are."""
        # Shares of a number of pixels need not add up to a whole number to the last digit.
        return self.evaluations is not None and cost >= self.evaluations - 1e-6

    def spent(self, cost: float, seconds: float, best: "Row | None") -> str | None:
        """Name of a limit that is reached, `steps` left out; None where none is.

        Args:
            cost: full-size evaluations made.
            seconds: of optimisation.
            best: the row with the lowest total of the full size, if there is one.
        """
        if self.target_loss is not None and best and best.total <= self.target_loss:
            return "target_loss"
        if self.is_used_up(cost):
            return "evaluations"
        if self.seconds is not None and seconds >= self.seconds:
            return "seconds"
        return None


@dataclass(frozen=True)
class Row(Named[float]):
    """One evaluation.

    Attributes:
        step: the step it belongs to, from 1.
        evaluation: its number, from 1.
        seconds: of optimisation up to its end.
        terms: the weighted terms by name.
        total: their sum.
        layers: unweighted distances by `<term>/<tap>`, or `<term>/<tap>/<region>`.
        scale: size of the image by the run's; losses compare within one scale alone.
        cost: evaluations up to this one, each by its share of the full size's pixels.
    """

    step: int
    evaluation: int
    seconds: float
    terms: dict[str, float]
    total: float
    layers: dict[str, float]
    scale: float
    cost: float

    def as_columns(self) -> dict[str, Any]:
        """As plain values; each term is also a column of its own, for what reads tables."""
        return {**self.terms, **asdict(self)}


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        stage: index of the schedule's scale.
        step: optimizer steps begun.
        evaluation: evaluations made.
        cost: the same in full-size evaluations.
        stage_began: evaluations made before the stage.
        step_began: evaluations made before the last step.
        best: the row with the lowest total of the stage.
    """

    stage: int = 0
    step: int = 0
    evaluation: int = 0
    cost: float = 0.0
    stage_began: int = 0
    step_began: int = 0
    best: Row | None = None


@dataclass(frozen=True)
class Recovery:
    """A return to the best image, after the numbers went bad.

    Attributes:
        step: the step that was given up.
        evaluation: the evaluation that went bad.
        reason: what was wrong with it.
        lr: the learning rate from then on, until the stage ends.
    """

    step: int
    evaluation: int
    reason: str
    lr: float


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        status: `ok`: the budget or convergence ended it; `failed`; `interrupted`.
        stop_reason: `steps`, `evaluations`, `seconds`, `target_loss`, `converged`, `non_finite`,
            `blow_up`, or whatever the request to stop said.
        error: one line where the run failed.
        steps: optimizer steps, the last of which may have been cut short.
        rows: one per evaluation, those before a resumption too.
        recoveries: in order.
        best: the row with the lowest total of the stage in which the run ended; None if that has
            no finite one.
        seconds: of optimisation.
        image: the image that `best` measured (the starting image if there is none); of an
            optimizer that keeps its last image, such as `nst.averaged`, that one instead, unless
            the run failed.
        last_image: the image at the end, which the last row need not have measured.
        chosen: what the optimizer chose by itself, see `nst.optim.optimizers`.
    """

    status: Status
    stop_reason: str
    error: str | None
    steps: int
    rows: list[Row]
    recoveries: Sequence[Recovery]
    best: Row | None
    seconds: float
    image: Tensor
    last_image: Tensor
    chosen: Mapping[str, object]
