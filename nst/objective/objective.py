"""The objective: an image in, named weighted terms and their gradient out.

    total = sum_t weight_t * sum_l a_tl distance_t(gathered_tl, target_tl) + tv_weight * TV(image)

with what each term's statistic (`nst.objective.statistics`) gathers from the features of its
layers l. With Gram matrices for the style and mean squared differences for the content
(`nst.objective.transfer`) these are equations 1 to 7 of Gatys et al., arXiv 1508.06576, up to
constant factors.

The terms hang on the features by sums over positions alone. Once these are known, so is dL/dF_l at
every position, and the way back through the network adds it to what comes down at each tap: half of
the matrix products that differentiating the sums step by step would take. A picture too large for
memory goes through the network tile by tile (`nst.objective.tiling`), once for the sums and once
more for the gradient; up to rounding this is the whole picture's. Several images go through as one
batch in the same way (`nst.objective.batch`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nst.errors import InputError
from nst.network.vgg import VGG19
from nst.objective import tiling
from nst.objective.statistics import Comparison, Moments, Positions, Pullback
from nst.objective.terms import Term, Terms, weighed
from nst.objective.tiling import Tile, Window
from nst.objective.variation import total_variation, variation_in_bands

Precision = Literal["fp32", "tf32", "bf16"]
# By term and tap: what its statistic gathered, of a target or of images.
Gathered = Mapping[str, Mapping[str, Tensor]]
# Rows of a tile's feature map at a time where what is computed of them is as large as they are.
_BAND = 64


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
    """Holds the terms' targets, gathered once from their pictures.

    Args:
        network: has (at least) the taps of all terms, on the pictures' device. Where its weights
            have another type or layout than the objective computes in, that gets a copy.
        terms: at least one, each with a name of its own.
        tv_weight: factor of the total variation, in normalised units.
        precision: of the network alone: `fp32`; `tf32`, where CUDA's matrix units round inputs to
            10 bits; `bf16`, with weights and activations of 8 bits. Losses, Gram matrices and image
            stay float32.
        joint: one pass of the image through the network serves all terms. False gives each term a
            pass of its own, in the contiguous layout, differentiated by autograd alone, as plain
            implementations do: the same losses up to rounding in twice the time, but rounded as
            theirs are, which float32 L-BFGS magnifies until after ten evaluations the rows differ
            by per cents.
        tile_size: longest side in px of the tiles of a larger picture, without what they need
            around them; rounded down to a multiple of 16, or less where fewer than four poolings
            are in use. None takes every picture as a whole.

    Only `Terms.total` is differentiable, and once: its gradient is ready when the terms are, so
    under `torch.no_grad()` they take a third of the time. Without `joint` all terms are, by
    autograd.

    Raises:
        nst.errors.InputError: tiles without `joint`; no terms, or two of one name. In an
            evaluation: a comparison with a picture of another size than the image.

    Attributes:
        network: as it computes.
        terms: with the layers of those alone that have a weight.
        targets: what each term compares with, by its name and tap: moments, or features in the
            network's precision, which holds them exactly.
        tv_weight: as given.
        joint: likewise.
        scales: what the layers' distances are shares of, by `<term>/<tap>`; empty where they count
            as they are.
    """

    def __init__(
        self,
        network: VGG19,
        terms: Sequence[Term],
        *,
        tv_weight: float = 0.0,
        precision: Precision = "fp32",
        joint: bool = True,
        tile_size: int | None = None,
    ) -> None:
        if tile_size is not None and not joint:
            raise InputError("tiles need loss.joint=true: separate passes are for whole pictures")
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names) or "tv" in names:
            raise InputError(f"terms must have names of their own, and not tv: {names}")
        like = terms[0].picture
        self._layout = _layout(like.device, joint)
        self._dtype = _network_dtype(precision, like.dtype)
        self.network = network.computing_in(self._dtype, self._layout)
        self.terms = tuple(term if term.weight else replace(term, layers={}) for term in terms)
        self.tv_weight = tv_weight
        self.joint = joint
        self.scales: Mapping[str, float] = {}
        self._tile_size = tile_size
        with torch.no_grad():
            self.targets = {term.name: self._target(term) for term in self.terms}

    def reweighted(self, terms: Sequence[Term], scales: Mapping[str, float]) -> "Objective":
        """The same with other weights and goals of its terms, and the scales that are in them."""
        other = copy(self)
        other.terms, other.scales = tuple(terms), scales
        return other

    def __call__(self, image: Tensor) -> Terms:
        """Evaluate the terms for an image, 1 x 3 x H x W, ImageNet-normalised; differentiable."""
        if not self.joint:
            return self._plainly(image)
        wanted = torch.is_grad_enabled() and image.requires_grad
        (found,) = self.evaluate([image], self.terms, self.targets, [self.tv_weight], wanted)
        return found

    def evaluate(
        self,
        images: Sequence[Tensor],
        terms: Sequence[Term],
        targets: Gathered,
        tv_weights: Sequence[float],
        wanted: bool = True,
    ) -> list[Terms]:
        """Evaluate B images of one size, for given terms instead of the objective's own.

        Args:
            images: B of 1 x 3 x H x W, ImageNet-normalised.
            terms: their numbers may be tensors of length B.
            targets: B of each.
            tv_weights: B factors of the total variation.
            wanted: whether the totals are to be differentiable.
        """
        pixels = images[0].detach() if len(images) == 1 else torch.cat([*images]).detach()
        # Sums over the tiles, then what follows from them: the terms and their gradient.
        taps = _taps(terms)
        first = second = self._passes(pixels, taps, differentiable=wanted)
        if len(self.tiles(pixels)) > 1:
            first = self._passes(pixels, taps)
        elif wanted:  # one forward pass is enough for both
            first = second = [replace(one, features=list(one.features)) for one in first]
        variations = zip(torch.split(pixels, 1), tv_weights, strict=True)
        with torch.no_grad():
            gathered = self._gathered(pixels, first, terms, targets)
            tv = pixels.new_zeros(len(pixels))
            if any(tv_weights):
                tv = torch.stack([weight * variation_in_bands(one) for one, weight in variations])
        sums = {
            (term.name, tap): gathered[term.name][tap].requires_grad_(wanted)
            for term in terms
            for tap in term.layers
        }
        with torch.set_grad_enabled(wanted):
            layers = _distances(terms, gathered, targets)
            values = weighed(terms, layers, tv)
            total = _sum(values)
        totals = list(total.detach().unbind())
        if wanted:
            slopes = torch.autograd.grad(total.sum(), list(sums.values())) if sums else ()
            slope_of = dict(zip(sums, slopes, strict=True))
            gradient = self._gradient(
                pixels, second, self._pullbacks(pixels, terms, targets, slope_of)
            )
            gradients = torch.split(gradient, 1)
            for one, own, weight in zip(torch.split(pixels, 1), gradients, tv_weights, strict=True):
                if weight:
                    variation_in_bands(one, own, weight)
            totals = [
                tiling.Differentiated.apply(image, each, [own])
                for image, each, own in zip(images, totals, gradients, strict=True)
            ]
        return [
            Terms(
                {name: value.detach()[index] for name, value in values.items()},
                totals[index],
                {name: value.detach()[index] for name, value in layers.items()},
            )
            for index in range(len(images))
        ]

    def _plainly(self, image: Tensor) -> Terms:
        """A pass for each term, differentiated by autograd alone."""
        gathered: dict[str, dict[str, Tensor]] = {}
        features = {term.name: self.features(image) for term in self.terms if term.layers}
        for term in self.terms:
            gathered[term.name] = {
                tap: self._gather(term, tap, features[term.name][tap], self.targets, image)
                for tap in term.layers
            }
        distances = _distances(self.terms, gathered, self.targets)
        layers = {name: distance[0] for name, distance in distances.items()}
        variation = total_variation(image) if self.tv_weight else image.new_zeros(())
        values = weighed(self.terms, layers, self.tv_weight * variation)
        return Terms(values, _sum(values), layers)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """The network's features of B images, B x 3 x H x W, by tap; differentiable."""
        features: dict[str, Tensor] = self.network(self._given(image))
        return {tap: feature.to(image.dtype) for tap, feature in features.items()}

    def tiles(self, image: Tensor) -> list[Tile]:
        """The tiles of images, B x 3 x H x W; only one where they are taken as a whole."""
        return self._tiles(image, _taps(self.terms))

    def _tiles(self, image: Tensor, taps: Sequence[str]) -> list[Tile]:
        if not taps:
            return []
        halos = self.network.architecture.halos(taps)
        return tiling.tiles(image.shape[2], image.shape[3], self._tile_size, halos)

    def _given(self, image: Tensor) -> Tensor:
        # The optimised image itself stays contiguous: torch's L-BFGS views its gradient as a
        # vector, which a channels_last gradient does not allow.
        return image.to(self._dtype, memory_format=self._layout)

    def _positions(self, image: Tensor, tap: str) -> Positions:
        return Positions(self.network.architecture.feature_shape(image.shape, tap))

    def _target(self, term: Term) -> dict[str, Tensor]:
        """What a term's statistic compares with, by tap."""
        picture, statistic = term.picture, term.statistic
        passes = self._passes(picture, list(term.layers))
        if isinstance(statistic, Moments):
            return self._gathered(picture, passes, [term], {})[term.name]
        target: dict[str, Tensor] = {}
        for tap, window, core in self._cores(picture, passes):
            if tap not in target:
                target[tap] = torch.empty(
                    self._positions(picture, tap).shape,
                    dtype=self._dtype,
                    device=picture.device,
                    memory_format=self._layout,
                )
            target[tap][..., *window] = core
        return target

    def _passes(
        self, images: Tensor, taps: Sequence[str], *, differentiable: bool = False
    ) -> Iterable[_Pass]:
        """The images' tiles, one after the other, as they go through the network."""
        for tile in self._tiles(images, taps):
            pixels = self._given(images[..., *tile.whole(0)]).requires_grad_(differentiable)
            yield _Pass(tile, pixels, tiling.features(self.network, pixels, tile, taps))

    def _cores(
        self, images: Tensor, passes: Iterable[_Pass]
    ) -> Iterator[tuple[str, Window, Tensor]]:
        """Each tap's features of each core: the tap, where in the whole map they are, and they."""
        for one in passes:
            for tap, feature in one.features:
                level = self.network.architecture.level(tap)
                core = feature[..., *one.tile.inner(level)]
                if core.numel():  # a core of few px has no positions behind many poolings
                    core = core.to(images.dtype, memory_format=self._layout)
                    yield tap, one.tile.core(level), core

    def _gathered(
        self,
        images: Tensor,
        passes: Iterable[_Pass],
        terms: Sequence[Term],
        targets: Gathered,
    ) -> dict[str, dict[str, Tensor]]:
        """What the terms' statistics gather from B images, by term and tap."""
        found: dict[str, dict[str, Tensor]] = {term.name: {} for term in terms}
        for tap, window, core in self._cores(images, passes):
            for term in terms:
                if tap in term.layers:
                    share = self._gather(term, tap, core, targets, images, window)
                    sums = found[term.name]
                    sums[tap] = sums[tap] + share if tap in sums else share
        return found

    def _gather(
        self,
        term: Term,
        tap: str,
        features: Tensor,
        targets: Gathered,
        images: Tensor,
        window: Window = (slice(None), slice(None)),
    ) -> Tensor:
        """What a term's statistic gathers of a part of images, which `window` says."""
        positions = self._positions(images, tap)
        if isinstance(term.statistic, Moments):
            return term.statistic.gather(features, positions)
        target = targets[term.name][tap]
        if target.shape[2:] != positions.shape[2:]:
            raise InputError(
                f"{term.name}: {type(term.statistic).__name__} compares position by position, and "
                f"its picture has another size than the image"
            )
        return term.statistic.gather(features, target[..., *window].to(features.dtype), positions)

    def _pullbacks(
        self,
        images: Tensor,
        terms: Sequence[Term],
        targets: Gathered,
        slopes: Mapping[tuple[str, str], Tensor],
    ) -> dict[str, list[tuple[Pullback, Tensor | None]]]:
        """By tap: how its features' gradients come about, and the target that this takes."""
        pulls: dict[str, list[tuple[Pullback, Tensor | None]]] = {}
        for term in terms:
            for tap in term.layers:
                positions = self._positions(images, tap)
                pull = term.statistic.pullback(slopes[term.name, tap], positions)
                compared = isinstance(term.statistic, Comparison)
                target = targets[term.name][tap] if compared else None
                pulls.setdefault(tap, []).append((pull, target))
        return pulls

    def _gradient(
        self,
        images: Tensor,
        passes: Iterable[_Pass],
        pulls: Mapping[str, Sequence[tuple[Pullback, Tensor | None]]],
    ) -> Tensor:
        """The gradient of what hangs on the features with respect to the images."""
        gradient = torch.zeros_like(images)
        for one in passes:
            gradient[..., *one.tile.whole(0)] += self._tile_gradient(one, pulls)
        return gradient

    def _tile_gradient(
        self, one: _Pass, pulls: Mapping[str, Sequence[tuple[Pullback, Tensor | None]]]
    ) -> Tensor:
        tile = one.tile

        def attach(tap: str, feature: Tensor) -> None:
            level = self.network.architecture.level(tap)
            held = feature.detach()  # `feature` itself would hold the hook that holds it

            def add(gradient: Tensor) -> Tensor:
                if not held[..., *tile.inner(level)].numel():
                    return gradient
                # In place: the layer above made it for this layer alone, and it may be large.
                parts = torch.split(gradient[..., *tile.inner(level)], _BAND, 2)
                cores = torch.split(held[..., *tile.inner(level)], _BAND, 2)
                for pull, target in pulls[tap]:
                    if target is None:
                        for part, core in zip(parts, cores, strict=True):
                            part += pull(core)
                        continue
                    there = torch.split(target[..., *tile.core(level)], _BAND, 2)
                    for part, core, compared in zip(parts, cores, there, strict=True):
                        part += pull(core, compared)
                return gradient

            feature.register_hook(add)  # type: ignore[no-untyped-call]

        for tap, feature in one.features:
            attach(tap, feature)
        # Each tap's hook adds dL/dF when the gradient of what is above has come down to it.
        (gradient,) = torch.autograd.grad(feature, one.pixels, torch.zeros_like(feature))
        return gradient


def fitted(
    network: VGG19, device: torch.device, precision: Precision = "fp32", *, joint: bool = True
) -> VGG19:
    """Bring a network itself to where and how an objective of float32 images computes.

    An objective would make a copy, which is another 50 MiB. The other arguments are an objective's.
    """
    dtype = _network_dtype(precision, torch.float32)
    return network.to(device, dtype).to(memory_format=_layout(device, joint))


def _layout(device: torch.device, joint: bool) -> torch.memory_format:
    # With the channels innermost an evaluation was 1.1 times (256 px) to 1.5 times (512 px) faster
    # on CPUs.
    return torch.channels_last if joint and device.type == "cpu" else torch.contiguous_format


def _network_dtype(precision: Precision, image: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else image


def _taps(terms: Iterable[Term]) -> list[str]:
    return list({tap: None for term in terms for tap in term.layers})


def _distances(terms: Sequence[Term], gathered: Gathered, targets: Gathered) -> dict[str, Tensor]:
    """Of B images each, by `<term>/<tap>`."""
    found = {}
    for term in terms:
        for tap in term.layers:
            compared = [gathered[term.name][tap]]
            if isinstance(term.statistic, Moments):
                compared.append(targets[term.name][tap])
            if len(compared[0]) == 1:
                distance = term.statistic.distance(*(one[0] for one in compared))[None]
            else:
                distance = torch.vmap(term.statistic.distance)(*compared)
            found[f"{term.name}/{tap}"] = distance
    return found


def _sum(values: Mapping[str, Tensor]) -> Tensor:
    first, *others = values.values()
    for value in others:
        first = first + value
    return first
