"""VGG-19 as a feature extractor: an image in, the tapped activations out."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from nst.errors import InputError
from nst.network.weights import Weights, convolutions, follows_pooling

Pooling = Literal["max", "avg"]


def tap_names() -> list[str]:
    """All tap names from shallow to deep: `convB_I` (before its ReLU) and `reluB_I` (after it)."""
    names = [name for name, *_ in convolutions()]
    return [tap for name in names for tap in (name, name.replace("conv", "relu"))]


def block(tap: str) -> int:
    """The block of a tap, 1 to 5: one more than the poolings before it."""
    return int(tap[4])


def minimum_side(taps: Iterable[str]) -> int:
    """The shortest side in px with which every tap still has at least one position.

    Each of the poolings before a tap halves the feature map and drops what is left over.
    """
    return 1 << max((block(tap) - 1 for tap in taps), default=0)


def check_taps(taps: Iterable[str]) -> None:
    """Check that the network has these taps.

    Raises:
        InputError: a name is unknown; the message lists the valid ones.
    """
    valid = tap_names()
    for tap in taps:
        if tap not in valid:
            raise InputError(f"unknown layer {tap!r}; the layers are {', '.join(valid)}")


def usual_pooling(weights: Weights) -> Pooling:
    """Averages with random filters, which were calibrated so; with trained ones maxima."""
    return "avg" if weights.source == "random" else "max"


class VGG19(nn.Module):
    """The convolutional part of VGG-19 up to the deepest tap, frozen and in eval mode.

    Args:
        weights: `convB_I.weight` and `convB_I.bias` by name, see `nst.network.weights.Weights`.
        taps: names of the activations to return.
        pooling: `max` as trained, or `avg` as Gatys et al. suggest for smoother images.

    Raises:
        InputError: an unknown tap, or weights that do not reach the deepest one.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], taps: Iterable[str], pooling: Pooling = "max"
    ) -> None:
        super().__init__()
        self.taps = frozenset(taps)
        check_taps(self.taps)
        order = tap_names()
        depth = max(order.index(tap) for tap in self.taps)
        self.layers = nn.ModuleDict()
        for name, _, inputs, outputs in convolutions():
            if order.index(name) > depth:
                break
            if f"{name}.weight" not in weights:
                raise InputError(f"the weights end before {order[depth]}: {name} is missing")
            if follows_pooling(name):
                self._add_pooling(f"pool{int(name[4]) - 1}", pooling)
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            with torch.no_grad():
                convolution.weight.copy_(weights[f"{name}.weight"])
                convolution.bias.copy_(weights[f"{name}.bias"])  # type: ignore[union-attr]
            self.layers[name] = convolution
            relu = name.replace("conv", "relu")
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
