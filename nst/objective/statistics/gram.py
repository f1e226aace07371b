"""The Gram matrix: correlations between channels, the style of Gatys et al."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor

from nst.errors import InputError
from nst.objective.products import over_channels, over_positions
from nst.objective.statistics.base import Moments, Positions

Normalization = Literal["chw", "hw"]


@dataclass(frozen=True)
class Gram(Moments):
    """The Gram matrix of the features, compared by its mean squared difference.

    G_ij = sum_p w_p F_ip F_jp, over the positions p of the C x (H W) matrix F: symmetric, positive
    semi-definite. Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style* (arXiv 1508.06576),
    equations 3 to 5 up to constant factors.

    Attributes:
        normalization: what the weights w_p are. `hw`: those of the mean over positions, 1 / (H W)
            without a mask, as in the released code of the CVPR paper; `chw`: a C-th of them, which
            makes G fall with the number of channels.

    Raises:
        InputError: another normalization.
    """

    normalization: Normalization = "chw"

    widens = True

    def __post_init__(self) -> None:
        if self.normalization not in ("chw", "hw"):
            raise InputError(f"normalization must be chw or hw, not {self.normalization}")

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """B x C x C of B x C x h x w."""
        if positions.weights is None:
            return over_positions(features) / self._count(positions)
        return positions.products(features) / self._channels(positions)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """(S + S^T) F w, one matrix product for each part."""
        both = slope + slope.mT
        if positions.weights is None:
            return over_channels((both / self._count(positions)).to(features.dtype), features)
        matrix = (both / self._channels(positions)).to(features.dtype)
        return positions.weighted(over_channels(matrix, features))

    def _channels(self, positions: Positions) -> int:
        return positions.shape[1] if self.normalization == "chw" else 1

    def _count(self, positions: Positions) -> int:
        return positions.count if self.normalization == "hw" else prod(positions.shape)
