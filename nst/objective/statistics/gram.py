"""The Gram matrix: correlations between channels, the style of Gatys et al."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor

from nst.errors import InputError
from nst.objective.products import over_channels, over_positions
from nst.objective.statistics.base import Moments, Positions, Pullback

Normalization = Literal["chw", "hw"]


@dataclass(frozen=True)
class Gram(Moments):
    """The Gram matrix of the features, compared by its mean squared difference.

    G_ij = sum_p F_ip F_jp / n, over the positions p of the C x (H W) matrix F: symmetric, positive
    semi-definite. Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style* (arXiv 1508.06576),
    equations 3 to 5 up to constant factors.

    Attributes:
        normalization: what n is. `chw`: C*H*W, which makes G fall with the number of channels;
            `hw`: H*W, the mean over positions, as in the released code of the CVPR paper.

    Raises:
        InputError: another normalization.
    """

    normalization: Normalization = "chw"

    def __post_init__(self) -> None:
        if self.normalization not in ("chw", "hw"):
            raise InputError(f"normalization must be chw or hw, not {self.normalization}")

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """B x C x C of B x C x h x w."""
        return over_positions(features) / self._count(positions)

    def pullback(self, slope: Tensor, positions: Positions) -> Pullback:
        """(S + S^T) F / n, one matrix product for each part."""
        matrix = (slope + slope.mT) / self._count(positions)
        return lambda features: over_channels(matrix.to(features.dtype), features)

    def _count(self, positions: Positions) -> int:
        return positions.count if self.normalization == "hw" else prod(positions.shape)
