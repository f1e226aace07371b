"""The range that the image is kept in while it is optimised.

A picture file holds values in [0, 1]. Left to itself an optimizer takes the image out of that
range, and what is saved is clipped: another image, with a loss that may be hundreds of times as
large. So the image is made a function of unbounded values that cannot leave the range, and what is
optimised is the picture. Or its values are brought back into the range before each evaluation.

A gamut is a function of a parametrization that returns one. What the parametrization makes of the
optimizer's variables, pixels or Fourier coefficients, are then the unbounded values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import asin
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst.optim.parametrizations import Parametrization, made
from nst.pictures.images import statistics

Gamut = Callable[[Parametrization], Parametrization]

# How sharp the corners are: 1 is a triangle wave, near 0 a sine. With this the slope is above 0.95
# on three quarters of the range, 0.57 at four of 255 levels from a bound and 0 at the bound.
_SHARPNESS = 0.98
# Share of the range that a starting image keeps from either bound, where nothing could be moved. It
# is just what rounding to 8 bits takes away; the slope there is 0.23.
_MARGIN = 1 / 512
# Share of the range by which an image may be out of it through rounding alone.
_ROUNDING = 1e-4


def free(parametrization: Parametrization) -> Parametrization:
    """No range: the image is what the parametrization makes it, and is clipped when it is saved."""
    return parametrization


def srgb(parametrization: Parametrization) -> Parametrization:
    """What an 8-bit sRGB picture can hold: every channel of every pixel in [0, 1].

        image = c + r asin(k sin((u - c) / w)) / asin(k),    w = r k / asin(k),    k = 0.98

    for the unbounded values u, in normalised space as the image itself, and the middle c and half
    of the width r of each channel's range there: a triangle wave with rounded corners. Around c a
    change of u is the same change of the image; at the bounds the image turns round. A starting
    image is first brought to within 1/512 of the range's width of its bounds.
    """
    return partial(_Bounded, parametrization)


def clip(parametrization: Parametrization) -> Parametrization:
    """The same range by projection: the variables are changed before every evaluation.

    They then stand for the image clipped to [0, 1], as in PyTorch's tutorial and in Katherine
    Crowson's style-transfer-pytorch. The optimizer does not learn of it: values at a bound may be
    moved out again and again, and the curvature that L-BFGS sees there is not one.

    Pixels are clipped exactly. Other variables are left alone where the image is within 1e-4 of the
    range's width of its bounds, so that what they were rounded to is not clipped again.
    """
    return partial(_Clipped, parametrization)


class _Clipped:
    """An image of a parametrization, clipped; see `nst.optim.parametrizations.Image`."""

    def __init__(self, parametrization: Parametrization, image: Tensor) -> None:
        # Made once: within a CUDA graph nothing can come from the host.
        mean, std = statistics(image)
        self._low, self._high, self._tolerance = -mean / std, (1 - mean) / std, _ROUNDING / std
        self._values = made(parametrization, self._clipped(image))
        self.variables = self._values.variables

    def __call__(self) -> Tensor:
        # A look at the image, without gradients, leaves the variables as they are.
        if not torch.is_grad_enabled():
            return self._clipped(self._values())
        with torch.no_grad():
            self._project()
        return self._values()

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self._values.assign(self._clipped(image))

    def _clipped(self, image: Tensor) -> Tensor:
        return image.detach().clamp(self._low, self._high)

    def _project(self) -> None:
        """Change the variables where they stand for values out of range, on their device alone."""
        image = self._values()
        if image is self.variables[0]:
            image.clamp_(self._low, self._high)
            return
        beyond = torch.maximum(self._low - image, image - self._high)
        is_out = (beyond > self._tolerance).any()
        before = [variable.clone() for variable in self.variables]
        self._values.assign(self._clipped(image))
        for variable, old in zip(self.variables, before, strict=True):
            variable.copy_(torch.where(is_out, variable, old))


class _Bounded:
    """An image of a parametrization, kept in the range; see `nst.optim.parametrizations.Image`."""

    def __init__(self, parametrization: Parametrization, image: Tensor) -> None:
        # Made once: within a CUDA graph nothing can come from the host.
        self._range = _Range.of(image)
        self._values = made(parametrization, self._range.unbounded(image))
        self.variables = self._values.variables

    def __call__(self) -> Tensor:
        image: Tensor = _Wave.apply(self._values(), self._range)
        return image

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self._values.assign(self._range.unbounded(image))


@dataclass(frozen=True)
class _Range:
    """The range of each channel in normalised space; see `srgb` for the letters.

    Attributes:
        middle: c, 3 x 1 x 1.
        reach: r, likewise.
        width: w, likewise.
    """

    middle: Tensor
    reach: Tensor
    width: Tensor

    @classmethod
    def of(cls, like: Tensor) -> "_Range":
        """The range in an image's type and on its device."""
        mean, std = statistics(like)
        reach = 0.5 / std
        return cls((0.5 - mean) / std, reach, reach * (_SHARPNESS / asin(_SHARPNESS)))

    def unbounded(self, image: Tensor) -> Tensor:
        """The values that stand for an image, or for the nearest one within the margins."""
        within = 1 - 2 * _MARGIN
        share = (image - self.middle).div_(self.reach).clamp_(-within, within)
        sine = share.mul_(asin(_SHARPNESS)).sin_().div_(_SHARPNESS)
        return sine.asin_().mul_(self.width).add_(self.middle)


class _Wave(torch.autograd.Function):
    """Unbounded values to the image; by hand, for autograd would keep several copies of both."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bounds: _Range) -> Tensor:
        """The image."""
        ctx.save_for_backward(values)
        ctx.bounds = bounds
        sine = (values - bounds.middle).div_(bounds.width).sin_()
        wave = sine.mul_(_SHARPNESS).asin_().div_(asin(_SHARPNESS))
        return wave.mul_(bounds.reach).add_(bounds.middle)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The values' gradient; the slope is cos(x) / sqrt(1 - k^2 sin(x)^2)."""
        (values,) = ctx.saved_tensors
        found = torch.empty_like(gradient)
        # Channel by channel: the pieces that it is made of may be large.
        for channel, pulled in enumerate(gradient.unbind(1)):
            middle, width = ctx.bounds.middle[channel], ctx.bounds.width[channel]
            cosine = (values[:, channel] - middle).div_(width).cos_()
            # The same without the sine: 1 - k^2 + k^2 cos(x)^2.
            root = (cosine * _SHARPNESS).square_().add_(1 - _SHARPNESS**2).sqrt_()
            torch.mul(cosine.div_(root), pulled, out=found[:, channel])
        return found, None
