"""The cosine of features: content that does not ask how strong they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nst.objective.statistics.base import Comparison, Positions

# Features count as no shorter than this share of the target's at their position, so that the slope
# is finite where they are zero; and below this sum of squares the target's have no direction.
_SHARE, _LEAST = 1e-2, 1e-12


@dataclass(frozen=True)
class Cosine(Comparison):
    """1 - cos of the angle between the features and the target's, averaged over positions.

    At each position the features of all channels are a vector: its direction says what is there,
    its length how strongly, as with contrast. Where the target's is zero it has no direction, and
    the position counts as 0. Features of zeros are at right angles to all others.
    """

    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        """One number for each picture."""
        wanted = target.square().sum(1, keepdim=True)
        squares = torch.maximum(features.square().sum(1, keepdim=True), _SHARE**2 * wanted)
        product = (features * target).sum(1, keepdim=True)
        directed = wanted > _LEAST
        # Where there is no direction, neither the value nor the slope may be 0 / 0.
        norms = torch.where(directed, wanted * squares, 1).sqrt()
        apart = torch.where(directed, 1 - product / norms, 0)
        return positions.mean(apart)[:, 0]
