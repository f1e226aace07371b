"""Arithmetic on the colours of image tensors: luminance and chroma, moments, histograms.

An image tensor is ImageNet-normalised (see `nst.pictures.images`); colours are rgb in [0, 1].
Luminance and chroma are those of Y'CbCr as JPEG has it, ITU-R BT.601 in its full range:

    Y = 0.299 R + 0.587 G + 0.114 B,    Cb = (B - Y) / 1.772,    Cr = (R - Y) / 1.402

What an optimisation evaluates again and again, `luminance` and `grey`, takes nothing from the host:
a CUDA graph can be recorded of it. What changes a picture once (`matched` and those below it)
computes in float64 on the CPU, so that it does the same on every device.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst.pictures.images import MEAN, STD, statistics

Method = Literal["cholesky", "image_analogies"]

_WEIGHTS = (0.299, 0.587, 0.114)
# Variance of what rounding to 8 bits adds. A style that varies less than this in some direction has
# nothing there to be spread.
_ROUNDING = (1 / 255) ** 2 / 12


def unit(image: Tensor) -> Tensor:
    """Image tensor to rgb, in [0, 1] as far as it is in range."""
    mean, std = statistics(image)
    return image * std + mean


def normalised(rgb: Tensor) -> Tensor:
    """The image tensor of rgb."""
    mean, std = statistics(rgb)
    return (rgb - mean) / std


def luminance(image: Tensor) -> Tensor:
    """Y of each pixel, B x 1 x H x W; differentiable.

    Args:
        image: B x 3 x H x W.
    """
    channels = zip(_WEIGHTS, image.chunk(3, dim=1), MEAN, STD, strict=True)
    red, green, blue = (w * (channel * std + mean) for w, channel, mean, std in channels)
    return red + green + blue


def of_luminance(values: Tensor) -> Tensor:
    """The grey image tensor, B x 3 x H x W, with this luminance, B x 1 x H x W; differentiable."""
    return torch.cat([(values - mean) / std for mean, std in zip(MEAN, STD, strict=True)], dim=1)


def grey(image: Tensor) -> Tensor:
    """Each pixel's luminance in all three channels; differentiable."""
    return of_luminance(luminance(image))


def chroma(image: Tensor) -> Tensor:
    """What of a colour is not its luminance: by how much each channel exceeds it, B x 3 x H x W.

    These are 1.402 Cr, -0.344 Cb - 0.714 Cr and 1.772 Cb.
    """
    return unit(image) - luminance(image)


def luminance_range(content: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest luminance, B x 1 x H x W, with which a pixel's chroma is a colour.

    Beyond them some channel would not be in [0, 1].
    """
    offset = chroma(content)
    low = -offset.amin(1, keepdim=True)
    # Of a colour within [0, 1] they are in this order but for rounding.
    return low, (1 - offset.amax(1, keepdim=True)).maximum(low)


def with_chroma_of(image: Tensor, content: Tensor) -> Tensor:
    """An image's luminance with the chroma of another of the same size.

    Where the two are no colour together, it is the nearest luminance with which they are.
    """
    low, high = luminance_range(content)
    return normalised(luminance(image).clamp(low, high) + chroma(content))


def moments(pictures: Sequence[Tensor], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the colours of some pictures together.

    Args:
        pictures: each 1 x 3 x H x W.
        weights: the part of each in the whole, whatever its size; they need not sum to 1.

    Returns:
        3 x 1 and 3 x 3, in float64 on the CPU.
    """
    shares = torch.tensor(weights, dtype=torch.float64)[:, None, None]
    shares /= shares.sum()
    pixels = [_pixels(picture) for picture in pictures]
    mean = (shares * torch.stack([each.mean(1, keepdim=True) for each in pixels])).sum(0)
    about = [(each - mean) @ (each - mean).T / each.shape[1] for each in pixels]
    return mean, (shares * torch.stack(about)).sum(0)


def square_root(covariance: Tensor, least: float = 0.0) -> Tensor:
    """The symmetric square root of a covariance whose eigenvalues are raised to `least`."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=least).sqrt()) @ vectors.T
    return root


def matched(style: Tensor, content: Tensor, method: Method) -> Tensor:
    """A style picture with the mean and the covariance of the content picture's colours.

    Each pixel p becomes A (p - mean of the style) + mean of the content, where A turns the style's
    covariance into the content's (Gatys et al., *Preserving Color in Neural Artistic Style
    Transfer*, arXiv 1606.05897). Where the style has no colours to be spread, as a grey one has,
    less comes out than the content's covariance. Nothing is clipped.

    Args:
        style: 1 x 3 x H x W.
        content: 1 x 3 x h x w.
        method: which A: `cholesky` is the quotient of the Cholesky factors, `image_analogies` that
            of the symmetric square roots, which depends on no order of the channels.
    """
    (mean, covariance), (goal, wanted) = (moments([one], [1.0]) for one in (style, content))
    after, before = square_root(wanted), square_root(covariance, _ROUNDING)
    if method == "cholesky":
        after, before = _triangular(after), _triangular(before)
    pixels = after @ torch.linalg.inv(before) @ (_pixels(style) - mean) + goal
    return _like(style, normalised(pixels.reshape(style.shape)))


def histogram_matched(style: Tensor, content: Tensor) -> Tensor:
    """A style picture with the content picture's histogram in each channel.

    A value becomes the content's at the same quantile. Values that are equal stay so, and count as
    the middle of the quantiles that they take up: a picture of one colour gets the median.

    Args:
        style: 1 x 3 x H x W.
        content: 1 x 3 x h x w.
    """
    # In normalised space, for quantiles do not mind a change of scale.
    both = (one.detach().cpu().double().flatten(2)[0].numpy() for one in (style, content))
    channels = [_specified(own, goal) for own, goal in zip(*both, strict=True)]
    return _like(style, torch.from_numpy(np.stack(channels)).reshape(style.shape))


def luminance_matched(style: Tensor, content: Tensor) -> Tensor:
    """A grey style picture whose luminance has the content picture's mean and standard deviation.

    Nothing is clipped, and a style of one luminance stays one.

    Args:
        style: 1 x 3 x H x W.
        content: 1 x 3 x h x w.
    """
    own, goal = (luminance(one.detach().cpu().double()) for one in (style, content))
    spread = goal.std(correction=0) / own.std(correction=0).clamp(min=_ROUNDING**0.5)
    return _like(style, of_luminance((own - own.mean()) * spread + goal.mean()))


def _pixels(image: Tensor) -> Tensor:
    """An image's colours, 3 x HW, in float64 on the CPU."""
    return unit(image.detach().cpu().double()).flatten(2)[0]


def _like(picture: Tensor, made: Tensor) -> Tensor:
    """What was made, in a picture's type and on its device, which may not know float64."""
    return made.to(picture.dtype).to(picture.device)


def _triangular(root: Tensor) -> Tensor:
    """The Cholesky factor of root root^T, which may be singular."""
    upper: Tensor = torch.linalg.qr(root.T).R
    return upper.T * torch.where(upper.diagonal() < 0, -1.0, 1.0)


def _specified(
    own: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Values with the distribution of others."""
    _, places, counts = np.unique(own, return_inverse=True, return_counts=True)
    quantiles = (counts.cumsum() - counts / 2) / own.size
    found = np.interp(quantiles, (np.arange(goal.size) + 0.5) / goal.size, np.sort(goal))
    return found[places]
