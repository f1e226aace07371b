"""Coarse to fine: in which sizes a run optimises its image, one after the other.

A large picture's forms are larger than what the network's filters see at once. In a small copy they
are not, and an evaluation costs a fraction there; what was found is enlarged and gone on from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from nst.errors import InputError
from nst.objective import Terms


@dataclass(frozen=True)
class Scale:
    """One size of a schedule.

    Attributes:
        factor: of the full size, in (0, 1].
        evaluations: how many are made in this size; None is until the budget is used up.
    """

    factor: float
    evaluations: int | None


Schedule = Sequence[Scale]
SINGLE: Schedule = (Scale(1.0, None),)


def check(schedule: Schedule) -> None:
    """Check that a schedule grows up to the full size.

    Raises:
        InputError: it does not; the message says why.
    """
    factors = [scale.factor for scale in schedule]
    if not factors or factors[-1] != 1 or not factors[0] > 0:
        raise InputError(f"schedule.scales must be above 0 and end with 1, not {factors}")
    if any(later <= earlier for earlier, later in pairwise(factors)):
        raise InputError(f"schedule.scales must grow, not {factors}")
    *coarse, finest = (scale.evaluations for scale in schedule)
    if finest is not None or any(count is None or count < 1 for count in coarse):
        given = [*coarse, finest]
        raise InputError(
            "schedule.evaluations must be a number for each scale, but null for the last, "
            f"where the budget counts, not {given}"
        )


@dataclass(frozen=True)
class Stage:
    """A scale of a schedule as the trainer needs it.

    Attributes:
        objective: makes the objective in this size; called when the stage begins.
        shape: height and width in px.
        scale: see `Scale.factor`.
        evaluations: see `Scale`.
        cost: of one evaluation here, in evaluations of the full size: the ratio of the areas.
    """

    objective: Callable[[], Callable[[Tensor], Terms]]
    shape: tuple[int, int]
    scale: float = 1.0
    evaluations: int | None = None
    cost: float = 1.0
