"""The channels' histograms: how often each activation has which value."""

from dataclasses import dataclass

from torch import Tensor

from nst.objective.statistics.base import Positions
from nst.objective.statistics.quantiles import Quantiles


@dataclass(frozen=True)
class Histogram(Quantiles):
    """The channels' distributions, each for itself, compared by their quantiles.

    Risser, Wilmot, Barnes, *Stable and Controllable Neural Texture Synthesis and Style Transfer
    Using Histogram Losses* (arXiv 1701.08893): the squared difference of the features and what
    histogram matching makes of them. All of the features are kept, and put in order: with the
    layers of Gatys et al. that takes some 3000 bytes per pixel of the picture, in tiles too.
    """

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """The features themselves."""
        return features

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """The slope itself."""
        return slope.to(features.dtype)
