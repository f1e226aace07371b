"""The mean squared difference of features: the content of Gatys et al."""

from dataclasses import dataclass
from math import prod

import torch.nn.functional as F
from torch import Tensor

from nst.objective.statistics.base import Comparison, Positions, Pullback


@dataclass(frozen=True)
class MSE(Comparison):
    """The mean squared difference over channels and positions.

    Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style* (arXiv 1508.06576), equation 1,
    with the mean in place of half of the sum.
    """

    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        """One number for each picture."""
        squares = F.mse_loss(features, target, reduction="none")
        return squares.sum((1, 2, 3)) / prod(positions.shape)

    def pullback(self, slope: Tensor, positions: Positions) -> Pullback:
        """2 (F - T) / n."""
        factor = (2 / prod(positions.shape) * slope)[:, None, None, None]
        return lambda features, target: (features - target).mul_(factor)
