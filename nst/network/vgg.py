"""A network of the VGG kind as a feature extractor: an image in, the tapped activations out."""

from collections.abc import Hashable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nst.errors import InputError
from nst.network.architecture import VGG_19, Architecture
from nst.network.preprocessing import Convention, preprocessing
from nst.network.weights import Weights

Pooling = Literal["max", "avg", "l2"]
Padding = Literal["zeros", "replicate", "reflect"]
# What brings poolings to the magnitude that networks trained with maxima expect, as Katherine
# Crowson's style-transfer-pytorch has them.
MAGNITUDES: dict[Pooling, float] = {"max": 1.0, "avg": 2.0, "l2": 0.78}


@dataclass(frozen=True)
class Trunk:
    """A network's convolutions and how they are put together, whatever is tapped.

    Attributes:
        weights: of its convolutions.
        pooling: `max` as trained, `avg` as Gatys et al. suggest for smoother images, or `l2`, the
            root of the sum of the squares.
        pooling_scale: factor of the poolings' results.
        padding: what is beyond the picture's border for the first convolution; the other layers
            have zeros there, as trained.
    """

    weights: Weights
    pooling: Pooling = "max"
    pooling_scale: float = 1.0
    padding: Padding = "zeros"

    @classmethod
    def of(
        cls,
        weights: Weights,
        pooling: Pooling | None = None,
        pooling_scale: float | None = None,
        padding: Padding = "zeros",
    ) -> "Trunk":
        """A trunk with what is usual for its weights in place of None.

        Random filters were calibrated with plain averages. Trained ones were with maxima, and
        other poolings are brought to their magnitude, see `MAGNITUDES`.
        """
        untrained = weights.source == "random"
        found: Pooling = pooling or ("avg" if untrained else "max")
        usual = 1.0 if untrained else MAGNITUDES[found]
        return cls(weights, found, usual if pooling_scale is None else pooling_scale, padding)

    def network(self, taps: Iterable[str]) -> "VGG":
        """The network as far as these taps."""
        return VGG(
            self.weights.tensors,
            taps,
            self.pooling,
            pooling_scale=self.pooling_scale,
            padding=self.padding,
            architecture=self.weights.architecture,
            convention=self.weights.convention,
        )

    def identity(self) -> dict[str, object]:
        """What it computes, by name."""
        return {
            "sha256": self.weights.sha256,
            "architecture": self.weights.architecture.name,
            "input": self.weights.convention,
            "pooling": self.pooling,
            "pooling_scale": self.pooling_scale,
            "padding": self.padding,
        }


# The least mean square that an l2 pooling takes the root of.
_TINY = 1e-12
# Of each network those that compute in another type or layout, as long as somebody uses them.
_COPIES: WeakKeyDictionary[nn.Module, WeakValueDictionary[Hashable, "VGG"]] = WeakKeyDictionary()


class VGG(nn.Module):
    """The convolutional part of a VGG up to the deepest tap, frozen and in eval mode.

    Args:
        weights: `convB_I.weight` and `convB_I.bias` by name, see `nst.network.weights.Weights`.
        taps: names of the activations to return.
        pooling: see `Trunk`.
        pooling_scale: likewise.
        padding: likewise.
        architecture: which network.
        convention: of its input, see `nst.network.preprocessing`.

    Raises:
        InputError: an unknown tap, or weights that do not reach the deepest one.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        taps: Iterable[str],
        pooling: Pooling = "max",
        *,
        pooling_scale: float = 1.0,
        padding: Padding = "zeros",
        architecture: Architecture = VGG_19,
        convention: Convention = "torchvision",
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.pooling = pooling
        self.taps = frozenset(taps)
        self.architecture.check(self.taps)
        order, deepest = self.architecture.taps, self.architecture.deepest(self.taps)
        depth = order.index(deepest)
        self.layers = nn.ModuleDict()
        if before_all := preprocessing(convention):
            self.layers["input"] = before_all
        for name, _, inputs, outputs in self.architecture.convolutions_for(self.taps):
            if f"{name}.weight" not in weights:
                raise InputError(f"the weights end before {deepest}: {name} is missing")
            if before := self.architecture.pooling_before(name):
                self._add_pooling(before, pooling, pooling_scale)
            first = name == self.architecture.convolutions[0].name
            convolution = _Convolution(
                inputs, outputs, 3, padding=1, padding_mode=padding if first else "zeros"
            )
            with torch.no_grad():
                convolution.weight.copy_(weights[f"{name}.weight"])
                convolution.bias.copy_(weights[f"{name}.bias"])  # type: ignore[union-attr]
            self.layers[name] = convolution
            relu = self.architecture.relu_behind(name)
            if order.index(relu) <= depth:
                # In place it would overwrite the activation before it, which may be tapped.
                self.layers[relu] = nn.ReLU(inplace=name not in self.taps)
        self.requires_grad_(False)
        self.eval()

    def _add_pooling(self, name: str, pooling: Pooling, scale: float) -> None:
        relu = list(self.layers)[-1]
        # The maxima of rectified values are the rectified maxima, with the same gradient: a ReLU
        # whose output nobody taps has a quarter of the work behind the pooling.
        late = self.layers.pop(relu) if pooling == "max" and relu not in self.taps else None
        self.layers[name] = Pooled(pooling, scale)
        if late is not None:
            self.layers[relu] = late

    def train(self, mode: bool = True) -> "VGG":
        """Stay in eval mode: the network is a fixed measure, whatever holds it."""
        return super().train(False)

    def computing_in(self, dtype: torch.dtype, layout: torch.memory_format) -> "VGG":
        """This network, or a copy of it where its weights have another type or layout.

        Those who ask alike get the same copy. What was rounded stays so: of a network in bfloat16
        a float32 copy has its weights.
        """
        filters = [one.weight for one in self.layers.values() if isinstance(one, nn.Conv2d)]
        if all(one.dtype == dtype and one.is_contiguous(memory_format=layout) for one in filters):
            return self
        copies = _COPIES.setdefault(self, WeakValueDictionary())
        found = copies.get((dtype, layout))
        if found is None:
            found = copies[dtype, layout] = deepcopy(self).to(dtype).to(memory_format=layout)
        return found

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Activations of an image.

        Args:
            image: B x 3 x H x W, ImageNet-normalised.

        Returns:
            Tap name to B x C x H' x W', from shallow to deep.
        """
        features: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            image = layer(image)
            if name in self.taps:
                features[name] = image
        return features


class _Convolution(nn.Conv2d):
    """A convolution that begins without filters: random ones take longer than an evaluation."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is, for the weights to come."""


class Pooled(nn.Module):
    """Windows of 2 x 2 without overlap; what is left over at an odd border is dropped."""

    def __init__(self, kind: Pooling, scale: float) -> None:
        super().__init__()
        self.kind, self.scale = kind, scale

    def forward(self, features: Tensor) -> Tensor:
        """B x C x H // 2 x W // 2 of B x C x H x W."""
        if self.kind == "max":
            pooled = F.max_pool2d(features, 2)
        elif self.kind == "avg":
            pooled = F.avg_pool2d(features, 2)
        else:
            # The root's slope has no bound at 0, where a window of zeros is: they stay as they are.
            squares = F.avg_pool2d(features.square(), 2)
            pooled = squares.clamp(min=_TINY).sqrt() * 2
        return pooled if self.scale == 1 else pooled * self.scale
