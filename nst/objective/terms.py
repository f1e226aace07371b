"""Terms: weighted distances of an image's features from those of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from nst.objective.statistics import Statistic
from nst.pictures.regions import Border

Value = TypeVar("Value")
# A number, or one for each image of a batch.
Number = float | Tensor


@dataclass(frozen=True)
class Source:
    """A picture, or a part of one, that an image is compared with.

    Attributes:
        picture: 1 x 3 x H x W, ImageNet-normalised.
        mask: which of its pixels count, 1 x 1 x H x W in [0, 1]; None is all of them.
        weight: above 0, its part of the blend where there are several.
    """

    picture: Tensor
    mask: Tensor | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Region:
    """A part of the image, and what it is to be like.

    Attributes:
        sources: at least one; the target is the sum of what is gathered from each, weighted.
        name: of the region; empty where it is the whole image.
        mask: which of the image's pixels count, 1 x 1 x H x W in [0, 1]; None is all of them.
        border: see `nst.objective.masks.at_layer`, for the masks of the image and of the sources.
    """

    sources: Sequence[Source]
    name: str = ""
    mask: Tensor | None = None
    border: Border = "simple"


def whole(picture: Tensor) -> tuple[Region]:
    """The whole image as one region that is to be like the whole of one picture."""
    return (Region((Source(picture),)),)


@dataclass(frozen=True)
class Term:
    """A statistic of some layers that is to come near to that of pictures.

        weight * sum_l layers[l] * sum_r share_rl * distance_rl

    over the regions r, each by its share of the layer's positions.

    Attributes:
        name: such as `style`.
        statistic: what is compared.
        regions: what it is compared with where.
        layers: tap to weight.
        weight: of the term; one of weight 0 is not computed and counts as 0.
        goal: what the sum is to come down to: `above_goal` of it is what counts. None is as far
            down as it goes.
    """

    name: str
    statistic: Statistic
    regions: Sequence[Region]
    layers: Mapping[str, Number]
    weight: Number = 1.0
    goal: Number | None = None


@dataclass(frozen=True)
class Measure:
    """One of the distances that a term is the sum of: of a layer, in a region.

    Attributes:
        key: `<term>/<tap>`, or `<term>/<tap>/<region>` where the region has a name.
        term: name of the term.
        tap: the layer.
        statistic: the term's.
        share: the region's share of the layer's positions.
        weight: what the distance counts in the term's sum: the layer's weight times the share.
    """

    key: str
    term: str
    tap: str
    statistic: Statistic
    share: float
    weight: Number


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
        layers: unweighted distances by `<term>/<tap>`, or `<term>/<tap>/<region>`.
    """

    terms: dict[str, Tensor]
    total: Tensor
    layers: dict[str, Tensor]


def weighed(
    terms: Sequence[Term], measures: Sequence[Measure], distances: Mapping[str, Tensor], tv: Tensor
) -> dict[str, Tensor]:
    """The weighted terms by name.

    Args:
        terms: what the distances are weighed for.
        measures: of the terms.
        distances: by the measures' keys, of any one shape.
        tv: the weighted total variation, of that shape.
    """
    values: dict[str, Tensor] = {}
    for term in terms:
        distance = torch.zeros_like(tv)
        for measure in measures:
            if measure.term == term.name:
                distance = distance + measure.weight * distances[measure.key]
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
