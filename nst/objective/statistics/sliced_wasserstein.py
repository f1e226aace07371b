"""The sliced Wasserstein distance: the features' whole distribution, seen from many directions."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.objective.products import over_channels
from nst.objective.statistics.base import Positions
from nst.objective.statistics.quantiles import Quantiles

_SEED = 0


@dataclass(frozen=True)
class SlicedWasserstein(Quantiles):
    """The features along random directions, compared by their quantiles; the mean over directions.

    Heitz, Vanhoey, Chambon, Belcour, *A Sliced Wasserstein Loss for Neural Texture Synthesis*
    (arXiv 2006.07229), but with the same directions at every evaluation, since L-BFGS needs a loss
    that stays as it is. Means and covariances leave the shape of a distribution open; the more
    directions there are, the less is left open here.

    Attributes:
        directions: how many unit vectors, the same ones for all layers of so many channels.

    Raises:
        InputError: less than one direction.
    """

    directions: int = 32

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise InputError(f"directions must be at least 1, not {self.directions}")

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """The projections, B x directions x h x w of B x C x h x w."""
        return over_channels(self._directions(features.shape[1], features), features)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """D^T S, with the directions D."""
        directions = self._directions(features.shape[1], slope)
        return over_channels(directions.mT, slope).to(features.dtype)

    def _directions(self, channels: int, like: Tensor) -> Tensor:
        return unit_vectors(self.directions, channels, like.dtype, like.device)[None]


@lru_cache(maxsize=64)
def unit_vectors(count: int, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Random directions, count x channels, drawn on the CPU so that they are the same everywhere.

    They are kept, since in a CUDA graph nothing can come from the host.
    """
    generator = torch.Generator("cpu").manual_seed(_SEED)
    drawn = torch.randn(count, channels, generator=generator, dtype=torch.float64, device="cpu")
    return F.normalize(drawn).to(device, dtype)
