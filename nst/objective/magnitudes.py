"""What the weights of a loss are meant for: the size of the distances in another network.

Weights that balance content and style in one network do not in another, where activations have
other magnitudes: a content distance grows with their square, one of Gram matrices with their fourth
power. Here distances are brought to what they are in the network that the weights were chosen with.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from nst.errors import InputError
from nst.network.vgg import Trunk
from nst.objective.statistics.base import Positions
from nst.objective.statistics.gram import Gram
from nst.pictures import images

Meant = Literal["caffe"]

# Distances of the packaged pictures, the content of the photograph and the Gram matrices (over
# C*H*W) of the painting, from an image of the mean colour, in Caffe's VGG-19. They are estimates:
# for two other pictures INSTALL.md of neural-style-pt prints them (7251405, lines 253 to 260), and
# a network that was trained on photographs has so much smaller or larger ones of these here.
_CAFFE = {
    "content/relu4_2": 4.8e5,
    "style/relu1_1": 1.9e3,
    "style/relu2_1": 8.2e4,
    "style/relu3_1": 4.1e4,
    "style/relu4_1": 1.5e6,
    "style/relu5_1": 58.0,
}
_SIDE = 256


def factors(trunk: Trunk, keys: Sequence[str]) -> dict[str, float]:
    """What a network's distances are to be multiplied with, to be like those of Caffe's VGG-19.

    Args:
        trunk: the network. Weights with Caffe's input are taken to be Caffe's: factors of 1.
        keys: `content/<tap>` and `style/<tap>`.

    Raises:
        InputError: of a tap nobody knows what its distances are.
    """
    if trunk.weights.convention == "caffe":
        return dict.fromkeys(keys, 1.0)
    if unknown := [key for key in keys if key not in _CAFFE]:
        known = ", ".join(_CAFFE)
        raise InputError(f"loss.meant_for=caffe: {unknown[0]} is not among {known}")
    taps = tuple(sorted({key.split("/")[1] for key in keys}))
    own = distances(trunk, taps)
    # A network that sees nothing of the pictures has no part in the loss anyway.
    return {key: _CAFFE[key] / own[key] if own[key] else 1.0 for key in keys}


@torch.no_grad()
def distances(trunk: Trunk, taps: tuple[str, ...]) -> dict[str, float]:
    """The packaged pictures' distances from an image of the mean colour, of content and of style.

    Args:
        trunk: the network.
        taps: names.
    """
    network, found = trunk.network(taps), {}
    for term in "content", "style":
        picture = _sample(f"{term}.jpg")
        own, blank = network(picture), network(torch.zeros_like(picture))
        for tap in taps:
            pair = own[tap], blank[tap]
            here, there = pair if term == "content" else map(_gram, pair)
            found[f"{term}/{tap}"] = (here - there).square().mean().item()
    return found


def _gram(features: Tensor) -> Tensor:
    _, channels, height, width = features.shape
    return Gram().gather(features, Positions((1, channels, height, width)))


@cache
def _sample(name: str) -> Tensor:
    return images.to_tensor(images.load(images.SAMPLES / name), _SIDE)
