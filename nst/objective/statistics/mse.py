"""The mean squared difference of features: the content of Gatys et al."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from nst.objective.statistics.base import Comparison, Positions


@dataclass(frozen=True)
class MSE(Comparison):
    """The mean squared difference over channels and positions.

    Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style* (arXiv 1508.06576), equation 1,
    with the mean in place of half of the sum.
    """

    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        """One number for each picture."""
        squares = F.mse_loss(features, target, reduction="none")
        if positions.weights is not None:
            squares = squares * positions.weights.to(squares) * positions.count
        return squares.sum((1, 2, 3)) / (positions.shape[1] * positions.count)

    def pullback(
        self, slope: Tensor, features: Tensor, target: Tensor, positions: Positions
    ) -> Tensor:
        """2 (F - T) w / C."""
        factor = 2 / (positions.shape[1] * positions.count) * slope
        difference = (features - target).mul_(factor[:, None, None, None])
        if positions.weights is None:
            return difference
        return difference.mul_(positions.weights.to(difference) * positions.count)
