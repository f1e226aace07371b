"""What becomes of the colours: the style's are transferred, or the content's kept in some way.

The ways are those of Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer* (arXiv
1611.07865, section 5) and *Preserving Color in Neural Artistic Style Transfer* (arXiv 1606.05897).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, get_args

import torch
from torch import Tensor

from nst.errors import InputError
from nst.optim.parametrizations import Parametrization
from nst.pictures import color
from nst.pictures.color import Method
from nst.pictures.images import statistics

# Makes the content picture, 1 x 3 x H x W, of a height and width in px.
ContentOf = Callable[[Sequence[int]], Tensor]

# Pixels whose luminance has less room than this, half of an 8-bit level, have none worth the name.
_LEAST_WIDTH = 1 / 512


@dataclass(frozen=True)
class Color:
    """What becomes of the colours; all methods leave things as they are unless a way differs.

    Attributes:
        bytes_of_pixel: what it takes of memory for each px of the picture.
    """

    bytes_of_pixel: ClassVar[int] = 0

    def pictures(self, content: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The content picture and the style pictures as the network is to see them.

        Args:
            content: 1 x 3 x H x W, ImageNet-normalised.
            styles: each 1 x 3 x h x w, likewise.
        """
        return content, list(styles)

    def seen(self, image: Tensor) -> Tensor:
        """What the network sees of an image; differentiable."""
        return image

    def parametrized(
        self, parametrization: Parametrization, content_of: ContentOf
    ) -> Parametrization:
        """A parametrization of the images that there can be.

        Args:
            parametrization: kept in its range already, see `nst.optim.gamuts`.
            content_of: makes the content picture in an image's size.
        """
        return parametrization

    def finished(self, image: Tensor, content: Tensor) -> Tensor:
        """An image as it is to be saved.

        Args:
            image: 1 x 3 x H x W.
            content: the content picture, in the same size.
        """
        return image


@dataclass(frozen=True)
class Transfer(Color):
    """The style's colours, as Gatys et al. have it first."""


@dataclass(frozen=True)
class Content(Color):
    """The content's colours: only the luminance is styled.

    The network sees luminance alone, of a style after it has got the content's mean and standard
    deviation. Each pixel of the image has the content's chroma, and a luminance at a share y of the
    range in which that is a colour:

        image = low + (high - low) y + chroma

    y is the mean of the three channels of what a parametrization makes. With `gamut=srgb` it is in
    [0, 1], so that every pixel is a colour; with `gamut=free` it is not bounded.
    """

    bytes_of_pixel: ClassVar[int] = 110  # measured at 512 px

    def pictures(self, content: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Both grey, the styles with the content's mean and standard deviation."""
        return color.grey(content), [color.luminance_matched(style, content) for style in styles]

    def seen(self, image: Tensor) -> Tensor:
        """Grey."""
        return color.grey(image)

    def parametrized(
        self, parametrization: Parametrization, content_of: ContentOf
    ) -> Parametrization:
        """Of images with the content's chroma."""
        return partial(_Toned, parametrization, content_of)

    def finished(self, image: Tensor, content: Tensor) -> Tensor:
        """As it is, but for luminance out of range, which clipping would change the chroma of."""
        return color.with_chroma_of(image, content)


@dataclass(frozen=True)
class OriginalColors(Color):
    """The style's colours while it is optimised, and the content's chroma when it is saved.

    The cheap way to keep the content's colours: the luminance that is left is not the one that was
    optimised wherever the network went by colours.
    """

    def finished(self, image: Tensor, content: Tensor) -> Tensor:
        """The image's luminance, as near as colours go, with the content's chroma."""
        return color.with_chroma_of(image, content)


@dataclass(frozen=True)
class Match(Color):
    """The style's pictures get the mean and the covariance of the content's colours.

    Attributes:
        method: see `nst.pictures.color.matched`.

    Raises:
        InputError: there is no such method.
    """

    method: Method = "cholesky"

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            known = " or ".join(get_args(Method))
            raise InputError(f"color.method must be {known}, not {self.method}")

    def pictures(self, content: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The styles matched."""
        return content, [color.matched(style, content, self.method) for style in styles]


@dataclass(frozen=True)
class Histogram(Color):
    """The style's pictures get the content's histogram in each channel."""

    def pictures(self, content: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The styles matched."""
        return content, [color.histogram_matched(style, content) for style in styles]


class _Toned:
    """An image with a content picture's chroma; see `Content`, and `Image` in parametrizations."""

    def __init__(
        self, parametrization: Parametrization, content_of: ContentOf, image: Tensor
    ) -> None:
        content = content_of(image.shape[2:]).to(image)
        # Made once: within a CUDA graph nothing can come from the host.
        self._mean, self._std = statistics(image)
        self._low, high = color.luminance_range(content)
        self._width = high - self._low
        self._darkest = color.normalised(self._low + color.chroma(content))
        self._shares = parametrization(self._encoded(image))
        self.variables = self._shares.variables

    def __call__(self) -> Tensor:
        share = (self._shares() * self._std + self._mean).mean(1, keepdim=True)
        return self._darkest + self._width * share / self._std

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self._shares.assign(self._encoded(image))

    def _encoded(self, image: Tensor) -> Tensor:
        """The shares that stand for an image's luminance, as a grey image."""
        above = color.luminance(image.detach()) - self._low
        return color.of_luminance(above / self._width.clamp(min=_LEAST_WIDTH))
