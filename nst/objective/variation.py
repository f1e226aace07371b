"""The total variation of an image, a term of its pixels alone."""

from typing import Literal

from torch import Tensor

Norm = Literal["l1", "l2"]


def total_variation(image: Tensor, norm: Norm = "l1") -> Tensor:
    """Anisotropic total variation per pixel, of differences d between neighbours.

    `l1`: mean |d| along rows plus mean |d| along columns (Rudin, Osher, Fatemi, *Nonlinear total
    variation based noise removal algorithms*, 1992), which leaves edges sharp. `l2`: the means of
    d^2, which softens them (Mahendran, Vedaldi, *Understanding Deep Image Representations by
    Inverting Them*, arXiv 1412.0035, equation 4 with beta = 2). The mean rather than the sum, so
    that one weight means the same at every size.

    Args:
        image: B x C x H x W with H, W >= 2.
        norm: `l1` or `l2`.

    Returns:
        A scalar in the units of `image`, or of their square; zero for a constant image.
    """
    right = image[..., :, 1:] - image[..., :, :-1]
    below = image[..., 1:, :] - image[..., :-1, :]
    if norm == "l2":
        return right.square().mean() + below.square().mean()
    return right.abs().mean() + below.abs().mean()


def variation_in_bands(
    image: Tensor,
    gradient: Tensor | None = None,
    weight: float = 1.0,
    *,
    norm: Norm = "l1",
    band: int = 64,
) -> Tensor:
    """`total_variation` some rows at a time, in memory that does not grow with the image.

    Args:
        image: B x C x H x W with H, W >= 2; nothing is differentiated through it.
        gradient: like `image`; `weight` times the total variation's gradient is added to it.
        weight: see `gradient`.
        norm: see `total_variation`.
        band: rows at a time.

    Returns:
        The total variation, without `weight`.
    """
    total = image.new_zeros(())
    for axis, beyond in (3, 0), (2, 1):
        count = image.numel() // image.shape[axis] * (image.shape[axis] - 1)
        for first in range(0, image.shape[2], band):
            rows = slice(first, first + band + beyond)
            differences = image[..., rows, :].diff(dim=axis)
            sizes = differences.abs() if norm == "l1" else differences.square()
            total += sizes.sum() / count
            if gradient is not None:
                slope = differences.sign_() if norm == "l1" else differences.mul_(2)
                slope *= weight / count
                length = slope.shape[axis]
                gradient[..., rows, :].narrow(axis, 1, length).add_(slope)
                gradient[..., rows, :].narrow(axis, 0, length).sub_(slope)
    return total
