"""What an optimizer really turns: the variables from which the image is made.

A parametrization is a function of the starting image that returns an `Image`. The optimizer sees
its variables alone, everything else the image that they stand for, so each goes with every
optimizer, init and budget.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst.errors import InputError


class Image(Protocol):
    """An image as a function of variables.

    Attributes:
        variables: leaf tensors that require gradients, contiguous.
    """

    variables: list[Tensor]

    def __call__(self) -> Tensor:
        """The image, 1 x 3 x H x W, ImageNet-normalised; differentiable."""

    def assign(self, image: Tensor) -> None:
        """Set the variables so that they stand for this image."""


Parametrization = Callable[[Tensor], Image]


def made(parametrization: Parametrization, image: Tensor) -> Image:
    """An image as a function of variables.

    Args:
        parametrization: a function of an image; kept in its range or not, see `nst.optim.gamuts`.
        image: where to start, 1 x 3 x H x W.

    Raises:
        InputError: what the parametrization or the gamut made is none.
    """
    if not callable(parametrization):
        raise InputError(
            f"parametrization or gamut: must be a function of an image, not {parametrization!r:.80}"
        )
    found = parametrization(image)
    if not hasattr(found, "variables") or not hasattr(found, "assign"):
        raise InputError(f"parametrization or gamut: must make an image, not {found!r:.80}")
    with torch.no_grad():
        value: object = found()
    if not isinstance(value, Tensor) or value.shape != image.shape:
        shape = tuple(value.shape) if isinstance(value, Tensor) else f"{value!r:.80}"
        raise InputError(
            f"parametrization or gamut: the image must be {tuple(image.shape)}, not {shape}"
        )
    return found


def pixel(image: Tensor) -> Image:
    """The pixels themselves, as Gatys et al. have it."""
    return _Pixels(image)


def fourier(image: Tensor, *, power: float = 0.5, wavelength: float | None = 128.0) -> Image:
    """The image's Fourier coefficients, those of short waves in smaller units.

        image = irfft2(variables * scale, norm="ortho")
        scale(f) = c / max(f, 1 / wavelength)**power

    with f in cycles per px and c such that the mean square of the scale is 1, which keeps step
    sizes what they are for pixels. With pixels an optimizer has to move many of them together to
    change a stroke; here that is a few variables, with gradients and curvatures of their own.
    (Mordvintsev et al., *Differentiable Image Parameterizations*, Distill 2018, for visualisation.)

    Args:
        image: where to start.
        power: 0 leaves the coefficients unscaled, 1 follows natural images. The larger it is, the
            freer are long waves.
        wavelength: px; longer waves are no freer than this one. None frees them up to the picture's
            longer side: large forms and colours move, and with high powers a picture is repainted.
    """
    return _Fourier(image, power, wavelength)


class _Pixels:
    def __init__(self, image: Tensor) -> None:
        start = image.detach().clone(memory_format=torch.contiguous_format)
        self.variables = [start.requires_grad_(True)]

    def __call__(self) -> Tensor:
        return self.variables[0]

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self.variables[0].copy_(image)


class _Fourier:
    def __init__(self, image: Tensor, power: float, wavelength: float | None) -> None:
        self._size = height, width = image.shape[2], image.shape[3]
        rows = torch.fft.fftfreq(height, device=image.device)[:, None]
        columns = torch.fft.rfftfreq(width, device=image.device)[None]
        longest = wavelength or max(height, width)
        scale = torch.hypot(rows, columns).clamp(min=1 / longest) ** -power
        self._scale = (scale / scale.square().mean().sqrt()).to(image.dtype)
        self.variables = [self._encoded(image).requires_grad_(True)]

    def __call__(self) -> Tensor:
        image: Tensor = _Synthesis.apply(self.variables[0], self._scale, self._size)
        return image

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self.variables[0].copy_(self._encoded(image))

    def _encoded(self, image: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(image.detach(), norm="ortho") / self._scale
        return torch.view_as_real(spectrum).contiguous()


class _Synthesis(torch.autograd.Function):
    """Scaled coefficients to the image; channel by channel, for transforms need much memory."""

    @staticmethod
    def forward(ctx: Any, variables: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
        """B x C x H x W of B x C x H x W // 2 + 1 x 2."""
        ctx.scale, ctx.shape = scale, variables.shape
        image = variables.new_empty((*variables.shape[:2], *size))
        for channel, coefficients in enumerate(variables.unbind(1)):
            spectrum = torch.view_as_complex(coefficients) * scale
            image[:, channel] = torch.fft.irfft2(spectrum, s=size, norm="ortho")
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The coefficients' gradient."""
        found = gradient.new_empty(ctx.shape)
        # All but the lowest, and of even widths the highest, stand for two of the whole spectrum.
        twice = slice(1, (gradient.shape[3] + 1) // 2)
        for channel, pixels in enumerate(gradient.unbind(1)):
            spectrum = torch.fft.rfft2(pixels, norm="ortho")
            spectrum[..., twice] *= 2
            found[:, channel] = torch.view_as_real(spectrum * ctx.scale)
        return found, None, None
