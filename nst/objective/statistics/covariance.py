"""The covariance matrix: a Gram matrix that does not see how large the features are on average."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from nst.objective.statistics.gaussian import Gaussian, means_and_covariance


@dataclass(frozen=True)
class Covariance(Gaussian):
    """The covariance matrix of the channels, compared by its mean squared difference.

    S_ij = sum_p w_p (F_ip - m_i) (F_jp - m_j), over the positions p of the C x (H W) matrix F with
    the means m: the Gram matrix of centred features. Li, Wang, Liu, Hou, *Demystifying Neural Style
    Transfer* (arXiv 1701.01036) show that the Gram matrix compares second moments; these are the
    central ones.
    """

    def target(self, gathered: Tensor) -> Tensor:
        """The covariance matrix."""
        return means_and_covariance(gathered)[1]

    def distance(self, gathered: Tensor, target: Tensor) -> Tensor:
        """Of C x (C + 1) moments and a covariance matrix."""
        return F.mse_loss(means_and_covariance(gathered)[1], target)
