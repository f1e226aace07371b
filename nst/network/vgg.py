"""VGG-19 as a feature extractor: an image in, the tapped activations out."""

from collections.abc import Hashable, Iterable, Mapping
from copy import deepcopy
from typing import Literal
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor, nn

from nst.errors import InputError
from nst.network.architecture import VGG_19
from nst.network.weights import Weights

Pooling = Literal["max", "avg"]


def usual_pooling(weights: Weights) -> Pooling:
    """Averages with random filters, which were calibrated so; with trained ones maxima."""
    return "avg" if weights.source == "random" else "max"


# Of each network those that compute in another type or layout, as long as somebody uses them.
_COPIES: WeakKeyDictionary[nn.Module, WeakValueDictionary[Hashable, "VGG19"]] = WeakKeyDictionary()


class VGG19(nn.Module):
    """The convolutional part of VGG-19 up to the deepest tap, frozen and in eval mode.

    Args:
        weights: `convB_I.weight` and `convB_I.bias` by name, see `nst.network.weights.Weights`.
        taps: names of the activations to return.
        pooling: `max` as trained, or `avg` as Gatys et al. suggest for smoother images.

    Raises:
        InputError: an unknown tap, or weights that do not reach the deepest one.
    """

    architecture = VGG_19

    def __init__(
        self, weights: Mapping[str, Tensor], taps: Iterable[str], pooling: Pooling = "max"
    ) -> None:
        super().__init__()
        self.taps = frozenset(taps)
        self.architecture.check(self.taps)
        order, deepest = self.architecture.taps, self.architecture.deepest(self.taps)
        depth = order.index(deepest)
        self.layers = nn.ModuleDict()
        for name, _, inputs, outputs in self.architecture.convolutions:
            if order.index(name) > depth:
                break
            if f"{name}.weight" not in weights:
                raise InputError(f"the weights end before {deepest}: {name} is missing")
            if before := self.architecture.pooling_before(name):
                self._add_pooling(before, pooling)
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
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

    def _add_pooling(self, name: str, pooling: Pooling) -> None:
        relu = list(self.layers)[-1]
        # The maxima of rectified values are the rectified maxima, with the same gradient: a ReLU
        # whose output nobody taps has a quarter of the work behind the pooling.
        late = self.layers.pop(relu) if pooling == "max" and relu not in self.taps else None
        self.layers[name] = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
        if late is not None:
            self.layers[relu] = late

    def train(self, mode: bool = True) -> "VGG19":
        """Stay in eval mode: the network is a fixed measure, whatever holds it."""
        return super().train(False)

    def computing_in(self, dtype: torch.dtype, layout: torch.memory_format) -> "VGG19":
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
