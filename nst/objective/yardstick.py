"""What a finished picture is worth, by one objective that all runs share."""

from statistics import fmean

import torch
from torch import Tensor

from nst.network.architecture import VGG_19
from nst.network.vgg import VGG19, Pooling
from nst.network.weights import Weights
from nst.objective.balanced import emphasis, in_size_of, scales
from nst.objective.objective import fitted
from nst.objective.terms import Terms
from nst.objective.transfer import transfer

GATYS_CONTENT = {"relu4_2": 1.0}
GATYS_STYLE = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}


@torch.no_grad()
def yardstick(
    weights: Weights,
    pooling: Pooling,
    content: Tensor,
    style: Tensor,
    image: Tensor,
    tile_size: int | None = None,
) -> dict[str, float] | None:
    """Unweighted terms of an image over the layers of Gatys et al., and their balance.

    Args:
        weights: of the network.
        pooling: of the network.
        content: 1 x 3 x H x W.
        style: 1 x 3 x H' x W'.
        image: 1 x 3 x H x W, the one to be measured.
        tile_size: see `nst.objective.Objective`; it changes the rounding alone.

    Returns:
        `content` and `style`; `content_share` and `style_share`, see `shares`, and their sum,
        `balance`. None where a picture is too small or the weights too short for those layers.
    """
    taps = [*GATYS_CONTENT, *GATYS_STYLE]
    deep_enough = all(tap.replace("relu", "conv") + ".weight" in weights.tensors for tap in taps)
    sides = (*content.shape[2:], *style.shape[2:])
    if not deep_enough or min(sides) < VGG_19.minimum_side(taps):
        return None
    objective = transfer(
        fitted(VGG19(weights.tensors, taps, pooling), content.device),
        content,
        style,
        content_layers=GATYS_CONTENT,
        style_layers=GATYS_STYLE,
        style_weight=1.0,
        tile_size=tile_size,
    )
    terms = objective(image)
    ends = objective(content), objective(in_size_of(content, style))
    share = shares(terms, *ends)
    return {
        "content": terms.content.item(),
        "style": terms.style.item(),
        "content_share": share["content"],
        "style_share": share["style"],
        "balance": balance(terms, *ends),
    }


def balance(image: Terms, content: Terms, style: Terms) -> float:
    """How far an image is from both pictures at once: the sum of its `shares`."""
    return sum(shares(image, content, style).values())


def shares(image: Terms, content: Terms, style: Terms) -> dict[str, float]:
    """How far an image is from either picture; the terms' weights have no part in it.

    `content`: the image's content terms as shares of the style picture's, averaged over the layers;
    `style`: its style terms as shares of the content picture's, averaged as by
    `nst.objective.balanced`. One is 0 and the other 1 for either picture itself; an image with the
    content of the one and the style of the other would have 0 and 0.

    Args:
        image: the image's terms.
        content: those of the content picture under the same objective.
        style: those of the style picture in the content picture's size.
    """
    found: dict[str, dict[str, float]] = {"content": {}, "style": {}}
    for name, scale in scales(content, style).items():
        if scale > 0:  # otherwise the pictures are the same there
            found[name.partition("/")[0]][name] = float(image.layers[name] / scale)
    return {
        kind: fmean(terms.values(), map(emphasis, terms)) if terms else 0.0
        for kind, terms in found.items()
    }
