"""What the statistics have in common that know the features by their means and covariances."""

import torch
from torch import Tensor

from nst.objective.products import over_channels
from nst.objective.statistics.base import Moments, Positions
from nst.objective.tiling import band_height

_ALL = slice(None)


class Gaussian(Moments):
    """The moments of which the means and the covariance matrix of the channels are made.

    They are in float64: a covariance is a difference of moments, and where the features are large
    beside how much they vary, float32 would leave of its small eigenvalues rounding alone, of
    either sign. Apple's GPUs have no float64, there they are in float32.
    """

    widens = True

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """B x C x (C + 1) of B x C x h x w: the means of F_p F_p^T, then those of F_p."""
        rows, height = features.shape[2], band_height(features.device)
        # Some rows at a time: all in float64 would be larger than the features of the whole pass.
        bands = [slice(first, first + height) for first in range(0, rows, height)]
        parts = [self._band(features[..., band, :], positions.at((band, _ALL))) for band in bands]
        return torch.stack(parts).sum(0)

    def _band(self, features: Tensor, positions: Positions) -> Tensor:
        features = features.float() if features.device.type == "mps" else features.double()
        means = positions.mean(features)
        return torch.cat([positions.products(features), means[..., None]], 2)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """((S + S^T) F + s) w, with the slopes S of the products and s of the means."""
        of_products, of_means = slope[..., :-1], slope[..., -1, None, None]
        both = (of_products + of_products.mT).to(features.dtype)
        return positions.weighted(over_channels(both, features) + of_means.to(features.dtype))


def means_and_covariance(gathered: Tensor) -> tuple[Tensor, Tensor]:
    """The means, C, and the covariance matrix, C x C, of C x (C + 1) gathered of one picture."""
    products, means = gathered[:, :-1], gathered[:, -1]
    return means, products - means[:, None] * means
