"""The image an optimisation starts from.

An init is a function of a `Canvas` that returns the starting image. To add one, write such a
function anywhere on the import path and name it in a YAML of the `init` group:

    _target_: my_package.my_init
    _partial_: true
    strength: 0.5        # its keyword arguments
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.pictures import color


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
    """White noise: `std` times standard normal values in ImageNet-normalised space."""
    return std * _noise(canvas).to(canvas.content)


def noisy(canvas: Canvas, *, share: float = 0.5) -> Tensor:
    """The content image mixed with white noise, of which `share` is the part, from 0 to 1."""
    return (1 - share) * canvas.content + share * random(canvas)


def style_stats(canvas: Canvas) -> Tensor:
    """White noise in the styles' colours: with the mean and the covariance of their pixels.

    What would not be in [0, 1] is clipped.
    """
    mean, covariance = color.moments(canvas.styles, canvas.weights)
    shape = canvas.content.shape
    colours = color.square_root(covariance) @ _noise(canvas).double().flatten(2)[0] + mean
    return color.normalised(colours.clamp(0, 1).reshape(shape)).float().to(canvas.content)


def gray(canvas: Canvas) -> Tensor:
    """The grey in the middle between black and white, everywhere."""
    return color.normalised(torch.full_like(canvas.content, 0.5))


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


def result(canvas: Canvas, *, folder: str) -> Tensor:
    """The picture that another run left in its folder, stretched to the content image's size.

    Raises:
        InputError: there is none in the folder.
        nst.pictures.images.ImageError: its file is missing or is not a usable picture.
    """
    try:
        found = json.loads((Path(folder) / "result.json").read_bytes())
        picture = Path(folder) / found["picture"]["file"]
    except FileNotFoundError:
        raise InputError(f"init.folder: {folder} holds no result of a run") from None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"init.folder: {folder}/result.json names no picture ({type(error).__name__})"
        ) from error
    return canvas.load(str(picture))


def _noise(canvas: Canvas) -> Tensor:
    """Standard normal values in the content image's shape.

    Drawn on the CPU whatever the device, so that one seed is one image everywhere.
    """
    generator = torch.Generator("cpu").manual_seed(canvas.seed)
    return torch.randn(canvas.content.shape, generator=generator)
