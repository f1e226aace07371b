"""What a network's input is, in the conventions of those who trained it.

Images are normalised as torchvision's networks see them: RGB in [0, 1] less ImageNet's mean by its
standard deviation. Some programs feed those RGB from 0 to 255 less the mean, undivided (`rgb255`):
activations are some 58 times as large, and biases count next to nothing.

The networks of the VGG paper, trained in Caffe, see BGR from 0 to 255 less a mean of their own.
Their files have the first filters' channels in that order, which `nst.network.weights` turns once;
the range is brought about here, before the first padding, since what is beyond the border is zero
in the network's own convention.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nst.pictures.images import MEAN, STD

Convention = Literal["torchvision", "caffe", "rgb255"]

# Of R, G and B, from 0 to 255: the mean that the VGG paper's authors publish with their networks.
CAFFE_MEAN = (123.68, 116.779, 103.939)


class Levels(nn.Module):
    """An ImageNet-normalised image, B x 3 x H x W, as RGB from 0 to 255 less a mean.

    Args:
        mean: of R, G and B, from 0 to 255.
    """

    def __init__(self, mean: Sequence[float]) -> None:
        super().__init__()
        self._mean = tuple(mean)

    def forward(self, image: Tensor) -> Tensor:
        """The image in that range."""
        channels = zip(image.unbind(1), MEAN, STD, self._mean, strict=True)
        return torch.stack(
            [values * (255 * std) + (255 * mean - less) for values, mean, std, less in channels],
            dim=1,
        )


def preprocessing(convention: Convention) -> nn.Module | None:
    """What comes before the first convolution; None where the image is as the network sees it."""
    if convention == "torchvision":
        return None
    return Levels(CAFFE_MEAN if convention == "caffe" else [255 * mean for mean in MEAN])
