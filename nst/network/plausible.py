"""Whether weights are fed what they were trained with, as far as that can be told from outside."""

import logging
from math import exp, log

import torch
from torch import Tensor

from nst.network.vgg import Trunk
from nst.network.weights import CAFFE_SHA256

_log = logging.getLogger(__name__)

# Typical activations. Networks trained as torchvision's, or brought to a mean of 1, have some
# tenths; those of the VGG paper, as trained, about a hundred. The wrong input is about 58 times too
# large or too small.
_USUAL = (0.03, 8.0)
_AS_TRAINED_IN_CAFFE = (25.0, 5000.0)


def warn_of_wrong_input(trunk: Trunk, picture: Tensor) -> None:
    """Say so where activations are off by orders of magnitude, as with the wrong `model.input`.

    Args:
        trunk: a network.
        picture: a photograph, 1 x 3 x H x W, ImageNet-normalised.
    """
    weights = trunk.weights
    if weights.convention == "rgb255" or weights.source != "file":
        return
    if weights.convention == "caffe" and weights.sha256.startswith(CAFFE_SHA256):
        return
    found, convention = typical_activation(trunk, picture), weights.convention
    usual = [_USUAL] if convention == "torchvision" else [_USUAL, _AS_TRAINED_IN_CAFFE]
    if not any(least <= found <= most for least, most in usual):
        _log.warning(
            "%s: typical activations are %.2g with model.input=%s, where some tenths are usual: "
            "was this network trained with model.input=%s?",
            weights.detail,
            found,
            convention,
            "caffe" if convention == "torchvision" else "torchvision",
        )


@torch.no_grad()
def typical_activation(trunk: Trunk, picture: Tensor) -> float:
    """The geometric mean of the ReLUs' mean activations, as far as the fourth block.

    Args:
        trunk: a network.
        picture: 1 x 3 x H x W, ImageNet-normalised.
    """
    architecture = trunk.weights.architecture
    relus = [
        architecture.relu_behind(name)
        for name, *_ in architecture.convolutions
        if f"{name}.weight" in trunk.weights.tensors and name < "conv5"
    ]
    means = [feature.mean().item() for feature in trunk.network(relus)(picture).values()]
    return exp(sum(log(max(mean, 1e-30)) for mean in means) / len(means))
