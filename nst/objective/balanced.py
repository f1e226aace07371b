"""A loss that means the same with every network, size and pair of pictures.

The plain loss adds up differences of activations. How large these are hangs on the network, its
layers, the pictures and their size, so weights that balance them in one place do not in another.
Here every term is a share of what it is at the two input pictures,

    C = avg_l a_l C_l(image) / C_l(style picture)
    S = avg_l b_l S_l(image) / S_l(content picture)

with the terms C_l, S_l of `nst.objective` and averages by the layers' weights a_l, b_l:
the content picture has C = 0 and S = 1, the style picture C = 1 and S = 0. Style layers count half
as much from each of the network's blocks to the next (`emphasis`): equal weights end with a percent
or two of every layer's distance, which in the deep layers is no more than another arrangement of
the strokes, and in the shallow ones colours that the style does not have.

A style weight would still lead to another S with every network, since some trade more content for
the same style than others. So the strength says where S is to end, and content gets all that this
leaves:

    total = content_weight * C + style_weight * (S / g - 1 - log(S / g)) + tv_weight * TV(image)

with the goal g of the strength (`goal`), and no style term where S is below it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.network.architecture import VGG_19
from nst.network.vgg import VGG19
from nst.objective.objective import Objective
from nst.objective.terms import Term, Terms
from nst.objective.transfer import transfer

# Strength to goal, chosen by looking. 0.002 is about the least that fifty evaluations reach with
# every network that was tried, 0.0003 less than any reached.
GOALS = {0.0: 1.0, 0.2: 0.08, 0.5: 0.004, 0.8: 0.002, 1.0: 0.0003}
# A term is never measured against less than this share of its target's mean square, nor against
# less than float32 can divide by.
_FLOOR, _TINY = 1e-3, 1e-30


def goal(strength: float) -> float:
    """The share of the style distance that a strength leaves: `GOALS`, and between them geometric.

    Args:
        strength: in [0, 1].
    """
    return float(np.exp(np.interp(strength, list(GOALS), np.log(list(GOALS.values())))))


def emphasis(name: str) -> float:
    """What a term counts in its average besides its layer's weight, see the module.

    Args:
        name: as in `nst.objective.Terms.layers`, `content/relu4_2`.
    """
    term, _, tap = name.partition("/")
    return 0.5 ** (VGG_19.level(tap) + 1) if term == "style" else 1.0


def scales(content: Terms, style: Terms) -> dict[str, Tensor]:
    """What the layers' terms of a pair of pictures are shares of, by name.

    Args:
        content: the terms of the content picture, whose style terms they are.
        style: those of the style picture in the content picture's size, whose content terms.
    """
    return {
        name: (style if name.startswith("content/") else content).layers[name]
        for name in content.layers
    }


def in_size_of(content: Tensor, style: Tensor) -> Tensor:
    """The style picture, 1 x 3 x h x w, in the content picture's size, 1 x 3 x H x W."""
    if style.shape == content.shape:
        return style
    return F.interpolate(style, content.shape[2:], mode="bilinear", antialias=True)


def balanced(
    network: VGG19,
    content: Tensor,
    style: Tensor,
    *,
    strength: float,
    style_weight: float = 1.0,
    **options: Any,
) -> Objective:
    """An objective of relative terms, see the module.

    Where both pictures agree in a layer, there is nothing to take a share of: a term is measured
    against no less than a thousandth of its target's mean square, and has no part in the average
    where that is zero.

    Args:
        network: see `nst.objective.transfer`, as all that is not named here.
        content: 1 x 3 x H x W.
        style: 1 x 3 x h x w.
        strength: see `goal`.
        style_weight: factor of the style term.
        options: of `nst.objective.transfer`.
    """
    plain = transfer(network, content, style, style_weight=style_weight, **options)
    with torch.no_grad():
        measured = scales(plain(content), plain(in_size_of(content, style)))
    found = {}
    for name, scale in measured.items():
        term, _, tap = name.partition("/")
        found[name] = max(scale.item(), _FLOOR * _mean_square(plain.targets[term][tap]))
    goals = {"style": goal(strength)}
    terms = [
        replace(term, layers=_relative_weights(term, found), goal=goals.get(term.name))
        for term in plain.terms
    ]
    return plain.reweighted(terms, found)


def _relative_weights(term: Term, scales: Mapping[str, float]) -> dict[str, float]:
    """The layers' weights, for distances that are not divided by their scales."""
    own = {tap: scales[f"{term.name}/{tap}"] for tap in term.layers}
    weights = {
        tap: float(weight) * emphasis(f"{term.name}/{tap}") if own[tap] > _TINY else 0.0
        for tap, weight in term.layers.items()
    }
    whole = sum(weights.values())
    return {tap: weight / whole / own[tap] if weight else 0.0 for tap, weight in weights.items()}


def _mean_square(tensor: Tensor) -> float:
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    return float(torch.linalg.vector_norm(tensor, dtype=dtype)) ** 2 / tensor.numel()
