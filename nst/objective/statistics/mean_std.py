"""Means and standard deviations of the channels, the style of adaptive instance normalisation."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.objective.statistics.base import Moments, Positions

# Added to the variances, as a share of the target's mean square over all channels, and at least so
# much: a channel that is dead or constant has a standard deviation whose slope is finite. It is a
# hundred times the rounding of a variance that is a difference of float32 moments.
_SHARE, _LEAST = 1e-5, 1e-12


@dataclass(frozen=True)
class MeanStd(Moments):
    """The channels' means and standard deviations, compared by their mean squared differences.

        1/C sum_c (m_c - m'_c)^2 + (s_c - s'_c)^2

    the squared 2-Wasserstein distance of Gaussians of independent channels. Huang, Belongie,
    *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*
    (arXiv 1703.06868), whose norms are not squared; Li, Wang, Liu, Hou, *Demystifying Neural Style
    Transfer* (arXiv 1701.01036), there named BN statistics.
    """

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """B x 2 x C of B x C x h x w: means and mean squares."""
        return torch.stack([positions.mean(features), positions.mean(features.square())], 1)

    def distance(self, gathered: Tensor, target: Tensor) -> Tensor:
        """Of 2 x C."""
        least = _SHARE * target[1].mean() + _LEAST
        (mean, deviation), (wanted_mean, wanted_deviation) = (
            (one[0], ((one[1] - one[0].square()).clamp(min=0) + least).sqrt())
            for one in (gathered, target)
        )
        return F.mse_loss(mean, wanted_mean) + F.mse_loss(deviation, wanted_deviation)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """(2 S_2 F + S_1) w, with the slopes S_1 of the means and S_2 of the mean squares."""
        of_means, of_squares = slope.to(features.dtype)[..., None, None].unbind(1)
        return positions.weighted(2 * of_squares * features + of_means)
