"""The terms of the objective as pure functions of tensors.

Source: Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style* (arXiv 1508.06576) and *Image
Style Transfer Using Convolutional Neural Networks* (CVPR 2016).
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.objective.products import over_positions

GramNormalization = Literal["chw", "hw"]


def gram(
    feature: Tensor,
    normalization: GramNormalization = "chw",
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Gram matrix of a feature map: the correlations between its channels.

    G_ij = sum_p F_ip F_jp / n, over the positions p of the C x (H W) matrix F.

    Args:
        feature: B x C x H x W.
        normalization: what n is. `chw`: B*C*H*W, which makes G fall with the number of channels;
            `hw`: H*W, the mean over positions, as in the released code of the CVPR paper.
        shape: whose B, C, H, W they are; None is the feature map's own. The Gram matrix of a whole
            is the sum of its parts', each with the shape of the whole.

    Returns:
        B x C x C, symmetric and positive semi-definite.
    """
    return over_positions(feature) / gram_count(shape or feature.shape, normalization)


def gram_count(shape: Sequence[int], normalization: GramNormalization) -> int:
    """What the sums of a Gram matrix are divided by, n in `gram`, for a feature of this shape."""
    return prod(shape[2:] if normalization == "hw" else shape)


def content_loss(feature: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two feature maps of the same shape; a scalar, zero when equal."""
    return F.mse_loss(feature, target)


def style_loss(
    feature: Tensor, target_gram: Tensor, normalization: GramNormalization = "chw"
) -> Tensor:
    """Mean squared difference of a feature map's Gram matrix and a target Gram matrix.

    Args:
        feature: B x C x H x W.
        target_gram: B x C x C, made by `gram` with the same normalization.
        normalization: see `gram`.

    Returns:
        A scalar, zero when the Gram matrices are equal.
    """
    return F.mse_loss(gram(feature, normalization), target_gram)


def above_goal(distance: Tensor, goal: Tensor | float) -> Tensor:
    """How far distances are above a goal: d / g - 1 - log(d / g), and 0 where d <= g.

    The Itakura-Saito divergence of d from g (Itakura, Saito, *Analysis synthesis telephony based on
    the maximum likelihood method*, 1968), of its two branches the upper one. Far above the goal it
    grows as d / g does; the nearer d comes, the less it pulls (`above_goal_slope`).

    Args:
        distance: of any shape, not negative.
        goal: above 0, of a shape that goes with it.
    """
    ratio = (distance / goal).clamp(min=1)
    return ratio - 1 - torch.log(ratio)


def above_goal_slope(distance: Tensor, goal: Tensor | float) -> Tensor:
    """The derivative of `above_goal` with respect to the distance: 1/g - 1/d, and 0 for d <= g."""
    return 1 / goal - 1 / distance.clamp(min=goal)


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
