"""What the statistics have in common that compare values by their quantiles."""

import torch
from torch import Tensor

from nst.objective.statistics.base import Distribution, Positions

# Of the quantile function: as many as relu5_1 has positions of a picture of 256 px.
_BINS = 256


class Quantiles(Distribution):
    """Values whose quantile functions are compared by their mean squared difference.

    In one dimension the best way to move one distribution to another keeps the order, so the mean
    squared difference of the quantile functions is the squared 2-Wasserstein distance (Bonneel,
    Rabin, Peyré, Pfister, *Sliced and Radon Wasserstein Barycenters of Measures*, 2015), here of
    functions that are averaged over equal bins. So pictures of any sizes compare, and a blend of
    several has the average of their quantiles, which is the distributions' barycentre.
    """

    def summary(self, values: Tensor, positions: Positions) -> Tensor:
        """K x bins of K x H x W, see `quantiles`."""
        weights = None if positions.weights is None else positions.weights.flatten()
        return quantiles(values.flatten(1), weights, _BINS)


def quantiles(values: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """The averages of the quantile function over equal parts of [0, 1], exactly.

    The quantile function is v_i from where the weights of all smaller values end to where those of
    v_i do. So its integral is known there, and linear between; a bin's average is the difference of
    the integral at its ends.

    Args:
        values: K x N; each row is a distribution.
        weights: N, adding up to 1; None is 1 / N for each.
        bins: how many parts.

    Returns:
        K x bins, ascending; the mean over the bins is that of the values.
    """
    # A stable order makes equal values' gradients the same in every memory layout.
    ordered, order = values.sort(stable=True)
    edges = _fractions(bins, values)[:-1]
    if weights is None:
        ends = _fractions(values.shape[1], values)
        sums = ordered.cumsum(1) / values.shape[1]
        at = torch.searchsorted(ends, edges).expand(len(values), -1)
        ends = ends.expand_as(values)
    else:
        shares = weights.to(values)[order]
        ends = shares.cumsum(1)
        sums = (shares * ordered).cumsum(1)
        at = torch.searchsorted(ends, edges.repeat(len(values), 1))
    beyond = (ends.gather(1, at) - edges) * ordered.gather(1, at)
    inner = sums.gather(1, at) - beyond
    integral = torch.cat([torch.zeros_like(sums[:, :1]), inner, sums[:, -1:]], 1)
    return bins * integral.diff(dim=1)


def _fractions(count: int, like: Tensor) -> Tensor:
    """1 / count, 2 / count, ..., 1."""
    return torch.arange(1, count + 1, dtype=like.dtype, device=like.device) / count
