"""Coarse to fine: in which sizes a run optimises its image, one after the other.

A large picture's forms are larger than what the network's filters see at once. In a small copy they
are not, and an evaluation costs a fraction there; what was found is enlarged and gone on from.
Enlarged alone it would lack all fine detail, so by default it gets the content picture's
(`enlarged`): at 256 px that saved 15 of 90 evaluations of the full size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.objective import Terms


@dataclass(frozen=True)
class Scale:
    """One size of a schedule.

    Attributes:
        factor: of the full size, in (0, 1].
        evaluations: how many are made in this size; None is until the budget is used up.
        detail: whether an image that is enlarged to this size gets the content picture's fine
            detail (`enlarged`), or none (`resized`).
    """

    factor: float
    evaluations: int | None
    detail: bool = True


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
        content: makes the content picture in this size, 1 x 3 x H x W, for `enlarged`; None leaves
            its detail out.
        recorded: see `nst.run.evaluation.Evaluation`. The trainer then runs ahead, see
            `nst.run.trainer`.
    """

    objective: Callable[[], Callable[[Tensor], Terms]]
    shape: tuple[int, int]
    scale: float = 1.0
    evaluations: int | None = None
    cost: float = 1.0
    content: Callable[[], Tensor] | None = None
    recorded: bool = False

    def is_over(self, evaluations: int) -> bool:
        """Whether so many evaluations end this stage; after a bad last one it takes another."""
        return self.evaluations is not None and evaluations >= self.evaluations


def enlarged(image: Tensor, content: Tensor) -> Tensor:
    """An image as the next size begins with it.

    What the smaller size could not hold, the difference between the content picture and its own
    copy enlarged from that size, comes from the content picture, as the finest level of a
    Laplacian pyramid (Burt, Adelson, *The Laplacian Pyramid as a Compact Image Code*, 1983).

    Args:
        image: B x C x h x w.
        content: B x C x H x W.

    Returns:
        B x C x H x W.
    """
    return (
        resized(image, content.shape[2:])
        + content
        - resized(resized(content, image.shape[2:]), content.shape[2:])
    )


def resized(image: Tensor, shape: Sequence[int]) -> Tensor:
    """An image in another height and width, bicubic and without aliasing; itself in its own."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    return F.interpolate(image, tuple(shape), mode="bicubic", antialias=True)
