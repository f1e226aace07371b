"""The total variation of an image, a term of its pixels alone.

    TV(x) = sum over pairs of neighbours p, q of |s (x_p - x_q)|^k / divisor

A form is its pairs, their divisors, the power k and the unit 1 / s in which it takes the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nst.pictures.images import STD

Norm = Literal["l1", "l2", "l1_sum", "l2_sum", "l2_diagonal"]
# What the image's range [0, 1] is in a form's unit; the others take the image as it is normalised.
_WHITE: dict[Norm, float] = {"l1_sum": 255.0, "l2_sum": 255.0, "l2_diagonal": 1.0}


@dataclass(frozen=True)
class _Pairs:
    """Pairs of neighbours whose differences count alike.

    Attributes:
        offset: rows and columns from the first of a pair to its second; rows are at least 0.
        rows: of the first ones.
        columns: likewise.
        divisor: of the sum over the differences.
    """

    offset: tuple[int, int]
    rows: range
    columns: range
    divisor: float

    def ends(self, image: Tensor, band: range) -> tuple[Tensor, Tensor]:
        """The first and the second of the pairs that begin in a band of rows, as views."""
        top = max(self.rows.start, band.start)
        bottom = max(top, min(self.rows.stop, band.stop))
        left, right = self.columns.start, self.columns.stop
        down, along = self.offset
        # In this order autograd adds up their gradients, on which their last bits depend.
        second = image[..., top + down : bottom + down, left + along : right + along]
        return image[..., top:bottom, left:right], second


def total_variation(image: Tensor, norm: Norm = "l1") -> Tensor:
    """Total variation, from differences d between neighbours.

    Means, in ImageNet-normalised units, so that one weight means the same at every size:

    - `l1`: mean |d| along rows plus mean |d| along columns (Rudin, Osher, Fatemi, *Nonlinear total
      variation based noise removal algorithms*, 1992), which leaves edges sharp.
    - `l2`: the means of d^2, which softens them (Mahendran, Vedaldi, *Understanding Deep Image
      Representations by Inverting Them*, arXiv 1412.0035, equation 4 with beta = 2).

    As other programs have them, of the picture in their range:

    - `l1_sum`: the sum of |d| along rows and columns, in 0..255, as in neural-style-pt and Gordić's
      pytorch-neural-style-transfer.
    - `l2_sum`: half the sum of d^2 along rows and columns, in 0..255, from the first H - 1 rows and
      W - 1 columns. Its gradient is that of neural-style, which has no value for it, and takes
      pixels in 0..256.
    - `l2_diagonal`: 2 (D1 / 3 + D2 / 3 + D3 / 12 + D4 / 12), in [0, 1], as in Crowson's
      style-transfer-pytorch: D1 and D2 are the means of d^2 along rows and columns, D3 and D4 along
      the diagonals, of the picture with each border repeated once beyond it. D1 and D2 count a
      zero at each row's and column's end.

    Args:
        image: B x C x H x W with H, W >= 2, ImageNet-normalised; C is 3 but for `l1` and `l2`. The
            sums are over all B, the means too.
        norm: the form.

    Returns:
        A scalar in the form's units, or in their square; zero for a constant image.
    """
    total = image.new_zeros(())
    for pairs in _forms(image.shape, norm):
        _, value = _summed(image, pairs, range(image.shape[2]), norm, _scale(image, norm))
        total = total + value
    return total


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
        image: see `total_variation`; nothing is differentiated through it.
        gradient: like `image`; `weight` times the total variation's gradient is added to it.
        weight: see `gradient`.
        norm: see `total_variation`.
        band: rows at a time.

    Returns:
        The total variation, without `weight`.
    """
    total, scale = image.new_zeros(()), _scale(image, norm)
    for pairs in _forms(image.shape, norm):
        for top in range(0, image.shape[2], band):
            rows = range(top, top + band)
            differences, value = _summed(image, pairs, rows, norm, scale)
            total += value
            if gradient is not None:
                slope = differences.sign_() if _power(norm) == 1 else differences.mul_(2)
                slope *= weight / pairs.divisor
                if scale is not None:
                    slope *= scale
                first, second = pairs.ends(gradient, rows)
                second.add_(slope)
                first.sub_(slope)
    return total


def _summed(
    image: Tensor, pairs: _Pairs, band: range, norm: Norm, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The differences of the pairs that begin in a band of rows, and what they add to the whole.

    Args:
        image: B x C x H x W.
        pairs: which.
        band: rows.
        norm: see `total_variation`.
        scale: see `_scale`.

    Returns:
        The differences in the form's unit, B x C x h x w, and a scalar.
    """
    first, second = pairs.ends(image, band)
    differences = second - first
    if scale is not None:
        differences = differences * scale
    sizes = differences.abs() if _power(norm) == 1 else differences.square()
    return differences, sizes.sum() / pairs.divisor


def _power(norm: Norm) -> int:
    return 1 if norm.startswith("l1") else 2


def _scale(image: Tensor, norm: Norm) -> Tensor | None:
    """What normalised differences are multiplied with, C x 1 x 1; None is 1."""
    if norm not in _WHITE:
        return None
    # Filled on its device: while CUDA records a graph nothing can be copied there.
    return torch.cat([image.new_full((1, 1, 1), _WHITE[norm] * std) for std in STD])


def _forms(shape: Sequence[int], norm: Norm) -> list[_Pairs]:
    """The pairs of neighbours that a form compares in an image, B x C x H x W."""
    planes, height, width = shape[0] * shape[1], shape[2], shape[3]
    rows, columns = range(height), range(width)
    # With a second one to the right, below, or both.
    inner_rows, inner_columns = range(height - 1), range(width - 1)
    right, below = (0, 1), (1, 0)
    if norm == "l2_sum":
        return [_Pairs(way, inner_rows, inner_columns, 2) for way in (right, below)]
    if norm == "l2_diagonal":
        straight = planes * height * width * 1.5
        # Diagonals that begin beyond the border go along it, in both directions and at both sides.
        diagonal = planes * (height + 1) * (width + 1) * 6
        border = diagonal / 2
        edges = [range(1), range(height - 1, height)], [range(1), range(width - 1, width)]
        return [
            _Pairs(right, rows, inner_columns, straight),
            _Pairs(below, inner_rows, columns, straight),
            _Pairs((1, 1), inner_rows, inner_columns, diagonal),
            _Pairs((1, -1), inner_rows, range(1, width), diagonal),
            *(_Pairs(right, edge, inner_columns, border) for edge in edges[0]),
            *(_Pairs(below, inner_rows, edge, border) for edge in edges[1]),
        ]
    mean = norm in ("l1", "l2")
    return [
        _Pairs(right, rows, inner_columns, planes * height * (width - 1) if mean else 1),
        _Pairs(below, inner_rows, columns, planes * (height - 1) * width if mean else 1),
    ]
