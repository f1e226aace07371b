"""Terms: weighted distances of an image's features from those of a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from nst.objective.statistics import Statistic

Value = TypeVar("Value")
# A number, or one for each image of a batch.
Number = float | Tensor


@dataclass(frozen=True)
class Term:
    """A statistic of some layers that is to come near to a picture's.

        weight * sum_l layers[l] * distance_l

    Attributes:
        name: such as `style`.
        statistic: what is compared.
        picture: what it is compared with, 1 x 3 x H x W, ImageNet-normalised.
        layers: tap to weight.
        weight: of the term; one of weight 0 is not computed and counts as 0.
        goal: what the layers' weighted sum is to come down to: `above_goal` of it is what counts.
            None is as far down as it goes.
    """

    name: str
    statistic: Statistic
    picture: Tensor
    layers: Mapping[str, Number]
    weight: Number = 1.0
    goal: Number | None = None


class Named(Generic[Value]):
    """Whatever has terms by name, with the usual ones as attributes.

    Attributes:
        terms: the weighted terms by name.
    """

    terms: dict[str, Value]

    @property
    def content(self) -> Value:
        """The weighted content term."""
        return self.terms["content"]

    @property
    def style(self) -> Value:
        """The weighted style term."""
        return self.terms["style"]

    @property
    def tv(self) -> Value:
        """The weighted total variation."""
        return self.terms["tv"]


@dataclass(frozen=True)
class Terms(Named[Tensor]):
    """What an evaluation found, each a scalar.

    Attributes:
        terms: weighted, by name; `tv`, the total variation, is the last.
        total: their sum, what is minimised.
        layers: unweighted distances by `<term>/<tap>`.
    """

    terms: dict[str, Tensor]
    total: Tensor
    layers: dict[str, Tensor]


def weighed(terms: Sequence[Term], layers: Mapping[str, Tensor], tv: Tensor) -> dict[str, Tensor]:
    """The weighted terms by name.

    Args:
        terms: whose layers are weighed.
        layers: distances by `<term>/<tap>`, of any one shape.
        tv: the weighted total variation, of that shape.
    """
    values: dict[str, Tensor] = {}
    for term in terms:
        distance = torch.zeros_like(tv)
        for tap, weight in term.layers.items():
            distance = distance + weight * layers[f"{term.name}/{tap}"]
        if term.goal is not None:
            distance = above_goal(distance, term.goal)
        values[term.name] = term.weight * distance
    return {**values, "tv": tv}


def above_goal(distance: Tensor, goal: Tensor | float) -> Tensor:
    """How far distances are above a goal: d / g - 1 - log(d / g), and 0 where d <= g.

    The Itakura-Saito divergence of d from g (Itakura, Saito, *Analysis synthesis telephony based on
    the maximum likelihood method*, 1968), of its two branches the upper one. Far above the goal it
    grows as d / g does; the nearer d comes, the less it pulls: its slope is 1/g - 1/d.

    Args:
        distance: of any shape, not negative.
        goal: above 0, of a shape that goes with it.
    """
    ratio = (distance / goal).clamp(min=1)
    return ratio - 1 - torch.log(ratio)
