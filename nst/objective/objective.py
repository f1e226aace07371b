"""The objective: an image in, named weighted loss terms out.

    total = content_weight * sum_l a_l MSE(F_l, F_l(content))
          + style_weight   * sum_l b_l MSE(G_l, G_l(style))
          + tv_weight      * TV(image)

with the features F_l of the tapped layers, their Gram matrices G_l and the layers' weights a_l, b_l
(Gatys et al., arXiv 1508.06576, equations 1 to 7 up to constant factors).

The terms hang on the features by sums over positions alone: F F^T and the squared content
differences. Once they are known, so is dL/dF_l at every position by the formula above, and the way
back through the network adds it to what comes down at each tap: half of the matrix products that
differentiating the sums step by step would take. A picture too large for memory goes through the
network tile by tile (`nst.objective.tiling`), once for the sums and once more for the gradient; up
to rounding this is the whole picture's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.network.vgg import VGG19
from nst.objective import functional, products, tiling
from nst.objective.tiling import Tile, Window

Precision = Literal["fp32", "tf32", "bf16"]
# Rows of a tile's feature map at a time where what is computed of them is as large as they are.
_BAND = 64


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


@dataclass(frozen=True)
class _Pass:
    """A tile on its way through the network.

    Attributes:
        tile: which.
        pixels: it with its halo, as the network gets it.
        features: tap and activation, from shallow to deep.
    """

    tile: Tile
    pixels: Tensor
    features: Iterable[tuple[str, Tensor]]


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
        style_goal: what the style layers' weighted sum is to come down to; the style term is then
            `style_weight * functional.above_goal(sum, style_goal)`. None is as far as it goes.
        gram: normalisation of the Gram matrices, see `functional.gram`.
        precision: of the network alone: `fp32`; `tf32`, where CUDA's matrix units round inputs to
            10 bits; `bf16`, with weights and activations of 8 bits. Losses, Gram matrices and image
            stay float32.
        joint: one pass of the image through the network serves both terms. False gives each term a
            pass of its own, in the contiguous layout, as plain implementations do: the same losses
            up to rounding in twice the time, but rounded as theirs are, which float32 L-BFGS
            magnifies until after ten evaluations the rows differ by per cents.
        tile_size: longest side in px of the tiles of a larger picture, without what they need
            around them; rounded down to a multiple of 16, or less where fewer than four poolings
            are in use. None takes every picture as a whole.

    Only `Terms.total` is differentiable, and once: its gradient is ready when the terms are, so
    under `torch.no_grad()` they take a third of the time. Without `joint` all terms are, by
    autograd.

    Raises:
        nst.errors.InputError: tiles without `joint`.

    A term whose weight is 0 is not computed and counts as 0.

    Attributes:
        content_target: the content picture's features by tap, in the network's precision.
        style_target: the style picture's Gram matrices by tap.
        scales: what the layers' terms are shares of, by name; empty where they count as they are.
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
        style_goal: float | None = None,
        gram: functional.GramNormalization = "chw",
        precision: Precision = "fp32",
        joint: bool = True,
        tile_size: int | None = None,
    ) -> None:
        if tile_size is not None and not joint:
            raise InputError("tiles need loss.joint=true: separate passes are for whole pictures")
        self.network = network
        self.content_layers = dict(content_layers) if content_weight else {}
        self.style_layers = dict(style_layers) if style_weight else {}
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.style_goal = style_goal
        self.scales: dict[str, float] = {}
        self.gram = gram
        self.joint = joint
        # channels_last made an evaluation 1.1 times (256 px) to 1.5 times (512 px) faster on CPUs.
        fast = joint and content.device.type == "cpu"
        self._layout = torch.channels_last if fast else torch.contiguous_format
        self._dtype = torch.bfloat16 if precision == "bf16" else content.dtype
        network.to(self._dtype).to(memory_format=self._layout)
        self._tile_size = tile_size
        with torch.no_grad():
            self.content_target = self._content_target(content)
            self.style_target = self._style_target(style)

    def __call__(self, image: Tensor) -> Terms:
        """Evaluate the terms for an image, 1 x 3 x H x W, ImageNet-normalised; differentiable."""
        return self._jointly(image) if self.joint else self._apart(image)

    def _apart(self, image: Tensor) -> Terms:
        """A pass for each term, differentiated by autograd alone."""
        features, textures = self.features(image), self.features(image)
        layers: dict[str, Tensor] = {}
        for tap in self.content_layers:
            layers[f"content/{tap}"] = functional.content_loss(
                features[tap], self.content_target[tap]
            )
        for tap in self.style_layers:
            loss = functional.style_loss(textures[tap], self.style_target[tap], self.gram)
            layers[f"style/{tap}"] = loss
        tv = functional.total_variation(image) if self.tv_weight else image.new_zeros(())
        return self._weighted(layers, self._style_distance(layers, tv), tv)

    def _jointly(self, image: Tensor) -> Terms:
        """Sums over the tiles, then what follows from them: the terms and their gradient."""
        pixels = image.detach()
        wanted = torch.is_grad_enabled() and image.requires_grad
        first = second = self._passes(pixels, self._taps, differentiable=wanted)
        if len(self.tiles(image)) > 1:
            first = self._passes(pixels, self._taps)
        elif wanted:  # one forward pass is enough for both
            first = second = [replace(one, features=list(one.features)) for one in first]
        with torch.no_grad():
            squares, grams = self._sums(pixels, first, self.content_layers, self.style_layers)
            layers = {f"content/{tap}": squares[tap] for tap in self.content_layers}
            for tap in self.style_layers:
                layers[f"style/{tap}"] = F.mse_loss(grams[tap], self.style_target[tap])
            variation = pixels.new_zeros(())
            if self.tv_weight:
                variation = functional.variation_in_bands(pixels)
            distance = self._style_distance(layers, variation)
            terms = self._weighted(layers, distance, variation)
            style_slope = self._style_slope(distance)
        if not wanted:
            return terms
        gradient = self._gradient(pixels, second, grams, style_slope)
        total = tiling.Differentiated.apply(image, terms.total, [gradient])
        return replace(terms, total=total)

    def _weighted(self, layers: dict[str, Tensor], style: Tensor, variation: Tensor) -> Terms:
        content = variation.new_zeros(())
        for tap, weight in self.content_layers.items():
            content = content + weight * layers[f"content/{tap}"]
        if self.style_goal is not None:
            style = functional.above_goal(style, self.style_goal)
        content, style = self.content_weight * content, self.style_weight * style
        tv = self.tv_weight * variation
        return Terms(content, style, tv, content + style + tv, layers)

    def _style_distance(self, layers: dict[str, Tensor], like: Tensor) -> Tensor:
        """The style layers' weighted sum."""
        distance = like.new_zeros(())
        for tap, weight in self.style_layers.items():
            distance = distance + weight * layers[f"style/{tap}"]
        return distance

    def _style_slope(self, distance: Tensor) -> Tensor | float:
        """The derivative of the style term with respect to the layers' weighted sum."""
        if self.style_goal is None:
            return self.style_weight
        return self.style_weight * functional.above_goal_slope(distance, self.style_goal)

    def _given(self, image: Tensor) -> Tensor:
        # The optimised image itself stays contiguous: torch's L-BFGS views its gradient as a
        # vector, which a channels_last gradient does not allow.
        return image.to(self._dtype, memory_format=self._layout)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """The network's features of B images, B x 3 x H x W, by tap; differentiable."""
        features: dict[str, Tensor] = self.network(self._given(image))
        return {tap: feature.to(image.dtype) for tap, feature in features.items()}

    def _content_target(self, image: Tensor) -> dict[str, Tensor]:
        """The content picture's features, in the network's precision, which holds them exactly."""
        target: dict[str, Tensor] = {}
        passes = self._passes(image, self.content_layers)
        for tap, window, core in self._cores(image, passes):
            if tap not in target:
                target[tap] = torch.empty(
                    tiling.feature_shape(image.shape, tap),
                    dtype=self._dtype,
                    device=image.device,
                    memory_format=self._layout,
                )
            target[tap][..., *window] = core
        return target

    def _style_target(self, image: Tensor) -> dict[str, Tensor]:
        passes = self._passes(image, self.style_layers)
        return self._sums(image, passes, (), self.style_layers)[1]

    @property
    def _taps(self) -> list[str]:
        return list({**self.content_layers, **self.style_layers})

    def tiles(self, image: Tensor) -> list[Tile]:
        """The tiles of an image, 1 x 3 x H x W; only one where it is taken as a whole."""
        if not self._taps:
            return []
        return tiling.tiles(image.shape[2], image.shape[3], self._tile_size, self._taps)

    def _passes(
        self, image: Tensor, taps: Collection[str], *, differentiable: bool = False
    ) -> Iterable[_Pass]:
        """The image's tiles, one after the other, as they go through the network."""
        for tile in self.tiles(image):
            pixels = self._given(image[..., *tile.whole(0)]).requires_grad_(differentiable)
            yield _Pass(tile, pixels, tiling.features(self.network, pixels, tile, taps))

    def _cores(
        self, image: Tensor, passes: Iterable[_Pass]
    ) -> Iterator[tuple[str, Window, Tensor]]:
        """Each tap's features of each core: the tap, where in the whole map they are, and they."""
        for one in passes:
            for tap, feature in one.features:
                depth = tiling.level(tap)
                core = feature[..., *one.tile.inner(depth)]
                yield tap, one.tile.core(depth), core.to(image.dtype, memory_format=self._layout)

    def _sums(
        self,
        image: Tensor,
        passes: Iterable[_Pass],
        content: Collection[str],
        style: Collection[str],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Mean squared content differences and Gram matrices, by tap."""
        squares: dict[str, Tensor] = {}
        grams: dict[str, Tensor] = {}
        for tap, window, core in self._cores(image, passes):
            shape = tiling.feature_shape(image.shape, tap)
            if tap in content:
                target = self.content_target[tap][..., *window].to(core.dtype)
                share = F.mse_loss(core, target, reduction="sum") / prod(shape)
                squares[tap] = squares[tap] + share if tap in squares else share
            if tap in style:
                share = functional.gram(core, self.gram, shape)
                grams[tap] = grams[tap] + share if tap in grams else share
        return squares, grams

    def _gradient(
        self,
        image: Tensor,
        passes: Iterable[_Pass],
        grams: dict[str, Tensor],
        style_slope: Tensor | float,
    ) -> Tensor:
        """The total's gradient with respect to the image."""
        gradient = torch.zeros_like(image)
        # The factors of F - F(content) and of F in dL/dF.
        content, style = {}, {}
        for tap, weight in self.content_layers.items():
            shape = tiling.feature_shape(image.shape, tap)
            content[tap] = 2 * self.content_weight * weight / prod(shape)
        for tap, weight in self.style_layers.items():
            shape = tiling.feature_shape(image.shape, tap)
            difference = grams[tap] - self.style_target[tap]
            scale = 4 * style_slope * weight / difference.numel()
            factor = difference * (scale / functional.gram_count(shape, self.gram))
            style[tap] = factor.to(self._dtype)
        for one in passes:
            gradient[..., *one.tile.whole(0)] += self._tile_gradient(one, content, style)
        if self.tv_weight:
            functional.variation_in_bands(image, gradient, self.tv_weight)
        return gradient

    def _tile_gradient(
        self, one: _Pass, content: Mapping[str, float], style: Mapping[str, Tensor]
    ) -> Tensor:
        tile = one.tile

        def attach(tap: str, feature: Tensor) -> None:
            depth = tiling.level(tap)
            held = feature.detach()  # `feature` itself would hold the hook that holds it

            def add(gradient: Tensor) -> Tensor:
                window = tile.inner(depth)
                # In place: the layer above made it for this layer alone, and it may be large.
                parts = torch.split(gradient[..., *window], _BAND, 2)
                cores = torch.split(held[..., *window], _BAND, 2)
                targets: Iterable[Tensor | None] = repeat(None, len(cores))
                if tap in content:
                    targets = torch.split(
                        self.content_target[tap][..., *tile.core(depth)], _BAND, 2
                    )
                for part, core, target in zip(parts, cores, targets, strict=True):
                    if tap in style:
                        part += products.over_channels(style[tap], core)
                    if target is not None:
                        part.add_(core - target, alpha=content[tap])
                return gradient

            feature.register_hook(add)  # type: ignore[no-untyped-call]

        for tap, feature in one.features:
            attach(tap, feature)
        # Each tap's hook adds dL/dF when the gradient of what is above has come down to it.
        (gradient,) = torch.autograd.grad(feature, one.pixels, torch.zeros_like(feature))
        return gradient
