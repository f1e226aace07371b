"""The total variation of an image, a term of its pixels alone."""

from torch import Tensor


def total_variation(image: Tensor) -> Tensor:
    """Anisotropic total variation per pixel: mean |right - left| plus mean |below - above|.

    The mean rather than the sum, so that one weight means the same at every size (Rudin, Osher,
    Fatemi, *Nonlinear total variation based noise removal algorithms*, 1992).

    Args:
        image: B x C x H x W with H, W >= 2.

    Returns:
        A scalar in the units of `image`, zero for a constant image.
    """
    right = (image[..., :, 1:] - image[..., :, :-1]).abs().mean()
    below = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    return right + below


def variation_in_bands(
    image: Tensor, gradient: Tensor | None = None, weight: float = 1.0, band: int = 64
) -> Tensor:
    """`total_variation` some rows at a time, in memory that does not grow with the image.

    Args:
        image: B x C x H x W with H, W >= 2; nothing is differentiated through it.
        gradient: like `image`; `weight` times the total variation's gradient is added to it.
        weight: see `gradient`.
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
            total += differences.abs().sum() / count
            if gradient is not None:
                slope, length = differences.sign_() * (weight / count), differences.shape[axis]
                gradient[..., rows, :].narrow(axis, 1, length).add_(slope)
                gradient[..., rows, :].narrow(axis, 0, length).sub_(slope)
    return total
