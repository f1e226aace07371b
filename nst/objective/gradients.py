"""Weights by gradients: each term is to pull at the starting image as hard as is asked for.

How large a term is says little of how hard it pulls, and both depend on the network, the layers and
the statistic. Here the weights are set once, such that the norm of each term's gradient with
respect to the image is a chosen share of the sum of these norms:

    weight_t = share_t / |d distance_t / d image|

At its own picture a term has no gradient, as the content term at the start from the content
picture: it is then measured at the other picture, where it is at its largest. So is one whose
gradient is less than a thousandth of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nst.network.vgg import VGG
from nst.objective.balanced import in_size_of
from nst.objective.objective import Objective
from nst.objective.terms import Region
from nst.objective.transfer import regions_of, transfer

_LEAST = 1e-3


def balanced_by_gradients(
    network: VGG,
    content: Tensor,
    style: Tensor | Sequence[Region],
    *,
    image: Tensor,
    content_weight: float = 1.0,
    style_weight: float = 1.0,
    tv_weight: float = 0.0,
    weights: Mapping[str, float] | None = None,
    **options: Any,
) -> Objective:
    """An objective whose terms have such weights, see the module; they are its `scales`.

    Args:
        network: see `nst.objective.transfer`, as all that is not named here.
        content: 1 x 3 x H x W.
        style: 1 x 3 x h x w, or the image's regions with their style pictures.
        image: where the gradients are measured, 1 x 3 x H x W.
        content_weight: the content term's share; the shares need not add up to 1.
        style_weight: the style term's share.
        tv_weight: the total variation's share.
        weights: as they were found before, by the terms' names; None measures.
        options: of `nst.objective.transfer`.
    """
    shares = {"content": content_weight, "style": style_weight, "tv": tv_weight}
    plain = transfer(
        network,
        content,
        style,
        content_weight=float(content_weight > 0),
        style_weight=float(style_weight > 0),
        tv_weight=float(tv_weight > 0),
        **options,
    )
    if weights is None:
        first = regions_of(style)[0].sources[0].picture
        others = {"content": in_size_of(content, first), "style": content, "tv": content}
        whole, weights = sum(shares.values()), {}
        for name, share in shares.items():
            if share:
                here, there = _norm(plain, name, image), _norm(plain, name, others[name])
                norm = here if here > _LEAST * there else there
                weights[name] = share / whole / (norm if norm > 0 else 1.0)
    aims = replace(
        plain.aims,
        terms=[replace(term, weight=weights.get(term.name, 0.0)) for term in plain.aims.terms],
        tv_weights=[weights.get("tv", 0.0)],
    )
    return plain.aiming(aims, weights)


def _norm(objective: Objective, name: str, image: Tensor) -> float:
    """The norm of a term's gradient at an image."""
    aims = objective.aims
    alone = replace(
        aims,
        measures=[one for one in aims.measures if one.term == name],
        tv_weights=aims.tv_weights if name == "tv" else [0.0],
    )
    leaf = image.clone().requires_grad_()
    with torch.enable_grad():
        (terms,) = objective.evaluate([leaf], alone)
        (gradient,) = torch.autograd.grad(terms.total, leaf)
    return float(gradient.norm())
