"""The objective of style transfer: the content of one picture, the style of others."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nst.network.vgg import VGG
from nst.objective.objective import Objective
from nst.objective.statistics import MSE, Gram, Statistic
from nst.objective.terms import Region, Term, whole


def transfer(
    network: VGG,
    content: Tensor,
    style: Tensor | Sequence[Region],
    *,
    content_layers: Mapping[str, float],
    style_layers: Mapping[str, float],
    content_weight: float = 1.0,
    style_weight: float = 1e6,
    content_loss: Statistic = MSE(),  # noqa: B008 - it has no state
    style_loss: Statistic = Gram(),  # noqa: B008
    **options: Any,
) -> Objective:
    """The terms `content` and `style`, and with `tv_weight` the total variation.

    Args:
        network: see `nst.objective.Objective`, as all that is not named here.
        content: content image, 1 x 3 x H x W, ImageNet-normalised, on the network's device.
        style: style image, 1 x 3 x h x w, likewise; the sizes may differ. Or the regions of the
            image, each with its style images.
        content_layers: tap to weight within the content term.
        style_layers: tap to weight within the style term.
        content_weight: factor of the content term.
        style_weight: factor of the style term.
        content_loss: the content term's statistic.
        style_loss: the style term's statistic.
        options: of `nst.objective.Objective`.
    """
    terms = [
        Term("content", content_loss, whole(content), content_layers, content_weight),
        Term("style", style_loss, regions_of(style), style_layers, style_weight),
    ]
    return Objective(network, terms, **options)


def regions_of(style: Tensor | Sequence[Region]) -> Sequence[Region]:
    """A style image as the regions that it stands for; regions as they are."""
    return whole(style) if isinstance(style, Tensor) else style
