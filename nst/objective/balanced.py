"""A loss that means the same with every network, size and pair of pictures.

The plain loss adds up differences of activations. How large these are depends on the network, its
layers, the pictures and their size, so weights that balance them in one place do not in another.
Here every term is a share of what it is at the two input pictures,

    C = avg_l a_l C_l(image) / C_l(style picture)
    S = avg_l b_l S_l(image) / S_l(content picture)

with the terms C_l, S_l of `nst.objective` and averages by the layers' weights a_l, b_l:
the content picture has C = 0 and S = 1, the style picture C = 1 and S = 0. In a region of the image
S_l is that region's, and counts by its share of the image; of several style pictures C_l is the
average by their weights. Style layers count half
as much from each of the network's blocks to the next (`emphasis`): equal weights end with a percent
or two of every layer's distance, which in the deep layers is no more than another arrangement of
the strokes, and in the shallow ones colours that the style does not have.

A style weight would still lead to another S with every network, since some trade more content for
the same style than others. So the strength says where S is to end, and content gets all that this
leaves:

    total = content_weight * C + style_weight * (S / g - 1 - log(S / g)) + tv_weight * TV(image)

with the goal g of the strength (`goal`), and no style term where S is below it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.network.architecture import VGG_19
from nst.network.vgg import VGG
from nst.objective.objective import Objective
from nst.objective.terms import Region
from nst.objective.transfer import regions_of, transfer

# Strength to goal, chosen by looking. 0.002 is about the least that fifty evaluations reach with
# every network that was tried, 0.0003 less than any reached.
GOALS = {0.0: 1.0, 0.2: 0.08, 0.5: 0.004, 0.8: 0.002, 1.0: 0.0003}
# A term is never measured against less than this share of what features of zeros have, nor against
# less than float32 can divide by.
_FLOOR, _TINY = 1e-3, 1e-30


def goal(strength: float) -> float:
    """The share of the style distance that a strength leaves: `GOALS`, and between them geometric.

    Args:
        strength: in [0, 1].
    """
    return float(np.exp(np.interp(strength, list(GOALS), np.log(list(GOALS.values())))))


def emphasis(key: str) -> float:
    """What a measure counts in its average besides its weight, see the module.

    Args:
        key: of the measure, such as `content/relu4_2`.
    """
    term, tap, *_ = key.split("/")
    return 0.5 ** (VGG_19.level(tap) + 1) if term == "style" else 1.0


@torch.no_grad()
def scales(
    objective: Objective, content: Tensor, style: Tensor | Sequence[Region]
) -> dict[str, float]:
    """What an objective's distances are shares of, by the measures' keys.

    Where both pictures agree in a layer, there is nothing to take a share of: a scale is no less
    than a thousandth of what features of zeros would have.

    Args:
        objective: of `nst.objective.transfer`.
        content: 1 x 3 x H x W, whose style distances they are.
        style: the pictures whose content distances they are, in the content picture's size.
    """
    at_content, magnitudes = objective(content).layers, objective.magnitudes(content)
    at_style = dict.fromkeys(at_content, 0.0)
    for picture, weight in _pictures(regions_of(style)):
        for key, distance in objective(in_size_of(content, picture)).layers.items():
            at_style[key] += weight * distance.item()
    found = {
        key: at_style[key] if key.startswith("content/") else distance.item()
        for key, distance in at_content.items()
    }
    return {key: max(own, _FLOOR * magnitudes[key].item()) for key, own in found.items()}


def _pictures(regions: Sequence[Region]) -> Iterator[tuple[Tensor, float]]:
    """Each picture of the regions once, and what it counts: by its region's area and its weight."""
    areas = [1.0 if one.mask is None else one.mask.mean().item() for one in regions]
    found: dict[int, tuple[Tensor, float]] = {}
    for region, area in zip(regions, areas, strict=True):
        weights = sum(source.weight for source in region.sources)
        for source in region.sources:
            _, before = found.get(id(source.picture), (source.picture, 0.0))
            share = area / sum(areas) * source.weight / weights
            found[id(source.picture)] = source.picture, before + share
    yield from found.values()


def in_size_of(content: Tensor, style: Tensor) -> Tensor:
    """The style picture, 1 x 3 x h x w, in the content picture's size, 1 x 3 x H x W."""
    if style.shape == content.shape:
        return style
    return F.interpolate(style, content.shape[2:], mode="bilinear", antialias=True)


def balanced(
    network: VGG,
    content: Tensor,
    style: Tensor | Sequence[Region],
    *,
    strength: float,
    style_weight: float = 1.0,
    known: Mapping[str, float] | None = None,
    **options: Any,
) -> Objective:
    """An objective of relative terms, see the module.

    A layer of which even features of zeros are not apart has no part in the average.

    Args:
        network: see `nst.objective.transfer`, as all that is not named here.
        content: 1 x 3 x H x W.
        style: 1 x 3 x h x w, or the image's regions with their style pictures.
        strength: see `goal`.
        style_weight: factor of the style term.
        known: the scales of another such objective; None measures them.
        options: of `nst.objective.transfer`.
    """
    plain = transfer(network, content, style, style_weight=style_weight, **options)
    found = scales(plain, content, style) if known is None else known
    weights, goals = _relative_weights(plain, found), {"style": goal(strength)}
    aims = replace(
        plain.aims,
        terms=[replace(term, goal=goals.get(term.name)) for term in plain.aims.terms],
        measures=[replace(one, weight=weights[one.key]) for one in plain.aims.measures],
    )
    return plain.aiming(aims, found)


def _relative_weights(objective: Objective, scales: Mapping[str, float]) -> dict[str, float]:
    """The measures' weights, for distances that are not divided by their scales."""
    counts = {
        one.key: float(one.weight) * emphasis(one.key) if scales[one.key] > _TINY else 0.0
        for one in objective.aims.measures
    }
    whole: dict[str, float] = {}
    for one in objective.aims.measures:
        whole[one.term] = whole.get(one.term, 0.0) + counts[one.key]
    return {
        one.key: counts[one.key] / whole[one.term] / scales[one.key] if counts[one.key] else 0.0
        for one in objective.aims.measures
    }
