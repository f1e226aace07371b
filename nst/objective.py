"""The objective: an image in, named weighted loss terms out.

    total = content_weight * sum_l a_l MSE(F_l, F_l(content))
          + style_weight   * sum_l b_l MSE(G_l, G_l(style))
          + tv_weight      * TV(image)

with the features F_l of the tapped layers, their Gram matrices G_l and the layers' weights a_l, b_l
(Gatys et al., arXiv 1508.06576, equations 1 to 7 up to constant factors).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from nst import functional
from nst.vgg import VGG19

Precision = Literal["fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class Terms:
    """One evaluation's loss terms, all scalars.

    Attributes:
        content: the weighted content term.
        style: the weighted style term.
        tv: the weighted total variation.
        total: their sum, what is minimised.
        layers: unweighted terms by `content/<tap>` and `style/<tap>`.
    """

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor
    layers: dict[str, Tensor]


class Objective:
    """Holds the targets, computed once from the content and style images.

    Args:
        network: has (at least) the taps of both layer maps.
        content: content image, 1 x 3 x H x W, ImageNet-normalised, on the network's device.
        style: style image, 1 x 3 x h x w, likewise; the sizes may differ.
        content_layers: tap to weight a_l.
        style_layers: tap to weight b_l.
        content_weight: factor of the content term.
        style_weight: factor of the style term.
        tv_weight: factor of the total variation, in normalised units.
        gram: normalisation of the Gram matrices, see `functional.gram`.
        precision: of the network alone: `fp32`; `tf32`, where CUDA's matrix units round inputs to
            10 bits; `bf16`, with weights and activations of 8 bits. Losses, Gram matrices and image
            stay float32.
        joint: one pass of the image through the network serves both terms. False gives each term a
            pass of its own, in the contiguous layout, as plain implementations do: the same losses
            up to rounding in twice the time, but rounded as theirs are, which float32 L-BFGS
            magnifies until after ten evaluations the rows differ by per cents.

    A term whose weight is 0 is not computed and counts as 0.
    """

    def __init__(
        self,
        network: VGG19,
        content: Tensor,
        style: Tensor,
        *,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        content_weight: float = 1.0,
        style_weight: float = 1e6,
        tv_weight: float = 0.0,
        gram: functional.GramNormalization = "chw",
        precision: Precision = "fp32",
        joint: bool = True,
    ) -> None:
        self.network = network
        self.content_layers = dict(content_layers) if content_weight else {}
        self.style_layers = dict(style_layers) if style_weight else {}
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.gram = gram
        self.joint = joint
        # channels_last made an evaluation 1.1 times (256 px) to 1.5 times (512 px) faster on CPUs.
        fast = joint and content.device.type == "cpu"
        self._layout = torch.channels_last if fast else torch.contiguous_format
        self._dtype = torch.bfloat16 if precision == "bf16" else content.dtype
        network.to(self._dtype).to(memory_format=self._layout)
        with torch.no_grad():
            features = self._features(content)
            self._content = {tap: features[tap] for tap in self.content_layers}
            features = self._features(style)
            self._grams = {tap: functional.gram(features[tap], gram) for tap in self.style_layers}

    def __call__(self, image: Tensor) -> Terms:
        """Evaluate the terms for an image, 1 x 3 x H x W, ImageNet-normalised; differentiable."""
        features = self._features(image)
        textures = features if self.joint else self._features(image)
        zero = image.new_zeros(())
        layers: dict[str, Tensor] = {}
        content, style, tv = zero, zero, zero
        for tap, weight in self.content_layers.items():
            loss = functional.content_loss(features[tap], self._content[tap])
            layers[f"content/{tap}"] = loss
            content = content + weight * loss
        for tap, weight in self.style_layers.items():
            loss = functional.style_loss(textures[tap], self._grams[tap], self.gram)
            layers[f"style/{tap}"] = loss
            style = style + weight * loss
        if self.tv_weight:
            tv = self.tv_weight * functional.total_variation(image)
        content, style = self.content_weight * content, self.style_weight * style
        return Terms(content, style, tv, content + style + tv, layers)

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        # The optimised image itself stays contiguous: torch's L-BFGS views its gradient as a
        # vector, which a channels_last gradient does not allow.
        given = image.to(self._dtype, memory_format=self._layout)
        features: dict[str, Tensor] = self.network(given)
        return {tap: feature.to(image.dtype) for tap, feature in features.items()}


def balance(image: Terms, content: Terms, style: Terms) -> float:
    """How far an image is from both pictures at once; the terms' weights have no part in it.

    The image's content terms as shares of the style picture's, averaged over the layers, plus its
    style terms as shares of the content picture's. Either picture itself gets 1; an image with the
    content of the one and the style of the other would get 0.

    Args:
        image: the image's terms.
        content: those of the content picture under the same objective.
        style: those of the style picture in the content picture's size.
    """
    shares: dict[str, list[float]] = {}
    for name, term in image.layers.items():
        kind = name.partition("/")[0]
        scale = (style if kind == "content" else content).layers[name]
        if scale > 0:  # otherwise the pictures are the same there
            shares.setdefault(kind, []).append(float(term / scale))
    return sum(map(fmean, shares.values()))
