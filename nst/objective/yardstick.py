"""What a finished picture is worth, by one objective that all runs share."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from nst.network.vgg import Trunk
from nst.objective.balanced import emphasis, scales
from nst.objective.objective import Objective, fitted
from nst.objective.statistics import MSE, Gram, Statistic
from nst.objective.statistics.base import described
from nst.objective.terms import Region, Terms
from nst.objective.transfer import regions_of, transfer

GATYS_CONTENT = {"relu4_2": 1.0}
GATYS_STYLE = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}
TAPS = (*GATYS_CONTENT, *GATYS_STYLE)
# Its statistics and their layers, by the term.
TERMS: dict[str, tuple[Statistic, Mapping[str, float]]] = {
    "content": (MSE(), GATYS_CONTENT),
    "style": (Gram(), GATYS_STYLE),
}


@torch.no_grad()
def yardstick(
    trunk: Trunk,
    content: Tensor,
    style: Tensor | Sequence[Region],
    image: Tensor,
    tile_size: int | None = None,
    measured: tuple[Objective, Terms] | None = None,
) -> dict[str, float] | None:
    """Unweighted terms of an image over the layers of Gatys et al., and their balance.

    Args:
        trunk: the network.
        content: 1 x 3 x H x W.
        style: 1 x 3 x H' x W', or the image's regions with their style pictures.
        image: 1 x 3 x H x W, the one to be measured.
        tile_size: see `nst.objective.Objective`; it changes the rounding alone.
        measured: an objective in float32 of the same pictures, and the terms that it finds of the
            image. Where its distances are those that are wanted, none is computed again; where its
            network is deep enough, no other is made.

    Returns:
        `content` and `style`; `content_share` and `style_share`, see `shares`, and their sum,
        `balance`. None where a picture is too small or the weights too short for those layers.
    """
    weights = trunk.weights
    deep_enough = all(tap.replace("relu", "conv") + ".weight" in weights.tensors for tap in TAPS)
    pictures = [source.picture for one in regions_of(style) for source in one.sources]
    sides = [side for picture in (content, *pictures) for side in picture.shape[2:]]
    if not deep_enough or min(sides) < weights.architecture.minimum_side(TAPS):
        return None
    if measured and _is_yardstick(measured[0]):
        objective, terms = measured
    else:
        network = measured[0].network if measured else None
        if network is None or not network.taps.issuperset(TAPS):
            network = fitted(trunk.network(TAPS), content.device)
        objective = transfer(
            network,
            content,
            style,
            content_layers=GATYS_CONTENT,
            style_layers=GATYS_STYLE,
            tile_size=tile_size,
        )
        terms = objective(image)
    measures, found = objective.aims.measures, objective.scales
    if any(one.key not in found for one in measures):
        found = scales(objective, content, style)
    share = shares(objective, terms, found)
    sums = {
        term: sum(one.share * terms.layers[one.key].item() for one in measures if one.term == term)
        for term in ("content", "style")
    }
    return {
        **sums,
        "content_share": share["content"],
        "style_share": share["style"],
        "balance": sum(share.values()),
    }


def _is_yardstick(objective: Objective) -> bool:
    """Whether an objective's distances are those of the yardstick."""
    wanted = {(term, tap, described(own)) for term, (own, taps) in TERMS.items() for tap in taps}
    measures = objective.aims.measures
    return {(one.term, one.tap, described(one.statistic)) for one in measures} == wanted


def shares(objective: Objective, image: Terms, scales: Mapping[str, float]) -> dict[str, float]:
    """How far an image is from either picture; the terms' weights have no part in it.

    `content`: the image's content distances as shares of the style picture's, averaged over the
    layers; `style`: its style distances as shares of the content picture's, averaged as by
    `nst.objective.balanced`. One is 0 and the other 1 for either picture itself; an image with the
    content of the one and the style of the other would have 0 and 0.

    Args:
        objective: of `nst.objective.transfer`.
        image: the terms that it finds of the image.
        scales: see `nst.objective.balanced.scales`.
    """
    values: dict[str, list[float]] = {"content": [], "style": []}
    counts: dict[str, list[float]] = {"content": [], "style": []}
    for one in objective.aims.measures:
        if scales[one.key] > 0:  # otherwise even features of zeros are not apart there
            values[one.term].append(image.layers[one.key].item() / scales[one.key])
            counts[one.term].append(one.share * emphasis(one.key))
    return {term: fmean(values[term], counts[term]) if values[term] else 0.0 for term in values}
