"""The image an optimisation starts from.

An init is a function of a `Canvas` that returns the starting image. To add one, write such a
function anywhere on the import path and name it in a YAML of the `init` group:

    _target_: my_package.my_init
    _partial_: true
    strength: 0.5        # its keyword arguments
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """What an init may look at.

    Attributes:
        content: the content image, 1 x 3 x H x W, ImageNet-normalised.
        styles: the style images, each 1 x 3 x h x w, ImageNet-normalised.
        weights: their parts of the blend.
        seed: the run's seed.
        load: reads a picture file at the canvas's H x W (stretched), ImageNet-normalised.
    """

    content: Tensor
    styles: Sequence[Tensor]
    weights: Sequence[float]
    seed: int
    load: Callable[[str], Tensor]

    @property
    def style(self) -> Tensor:
        """The first style image."""
        return self.styles[0]


Init = Callable[[Canvas], Tensor]


def random(canvas: Canvas, *, std: float = 1.0) -> Tensor:
    """White noise: `std` times standard normal values in ImageNet-normalised space.

    Drawn on the CPU whatever the device, so that one seed is one image everywhere.
    """
    generator = torch.Generator("cpu").manual_seed(canvas.seed)
    noise = torch.randn(canvas.content.shape, generator=generator)
    return std * noise.to(canvas.content)


def content(canvas: Canvas) -> Tensor:
    """The content image itself."""
    return canvas.content.clone()


def style(canvas: Canvas) -> Tensor:
    """The (first) style image, stretched to the content image's size."""
    height, width = canvas.content.shape[2:]
    return F.interpolate(canvas.style, (height, width), mode="bilinear", antialias=True)


def image(canvas: Canvas, *, path: str) -> Tensor:
    """A picture file, stretched to the content image's size.

    Raises:
        nst.pictures.images.ImageError: the file is missing or is not a usable picture.
    """
    return canvas.load(path)
