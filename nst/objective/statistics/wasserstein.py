"""The Wasserstein distance of Gaussians: what it takes to move features to another style's."""

from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.objective.statistics.gaussian import Gaussian, means_and_covariance

# Steps of the iteration, and the least root of an eigenvalue, as a share of the norm's, that it is
# made for. With the embedded network, the sample pictures and noise at 128 px, each compared with
# each, the least ones are 2e-6 to 2e-4. Distances by `eigh` differ by up to 1e-8 of the target's
# variance, slopes by up to 2e-8 (64 to 256 channels) and 4e-5 (512), which more steps do not
# change; with 18 steps the distances of 64 channels do so by 2e-9 instead of 3e-12.
_ITERATIONS, _SMALLEST = 20, 1e-6
# Smaller eigenvalues, as a share of the largest one, are rounding in float64.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Wasserstein(Gaussian):
    """The squared 2-Wasserstein distance of Gaussians that have the features' means and covariance.

        1/C (|m - m'|^2 + tr(S + S' - 2 (R S R)^(1/2))),  R = S'^(1/2)

    with the means m and covariance matrices S of the image and m', S' of the target (Olkin,
    Pukelsheim, *The distance between two random vectors with given dispersion matrices*, Linear
    Algebra and its Applications 48, 1982). It is a distance of features, not of their squares, so
    a layer's largest channels do not have all the say.

    Where there are fewer positions than channels, the covariance matrices are singular, and so is
    the distance's slope. So something is added to the variance in every direction. Features of the
    embedded network at 128 px have less than 1e-4 of their variance in directions that have less
    than the usual amount; it changes the distances by half a percent.

    Attributes:
        ridge: what is added, as a share of the target's mean variance.
        least: what is added besides, in the features' own units, squared.

    Raises:
        InputError: one of them is negative, or both are 0.
    """

    ridge: float = 1e-3
    least: float = 1e-8

    def __post_init__(self) -> None:
        if not (self.ridge >= 0 and self.least >= 0 and self.ridge + self.least > 0):
            raise InputError(
                "ridge and least must be at least 0 and not both 0, "
                f"not {self.ridge} and {self.least}"
            )

    def target(self, gathered: Tensor) -> Tensor:
        """C x (C + 2): the root R, the means, and in each row the ridge."""
        means, covariance = means_and_covariance(_exactly(gathered))
        ridge = (self.ridge * covariance.diagonal().mean() + self.least).expand_as(means)
        covariance = covariance + ridge.diag()
        root = covariance @ inverse_root(covariance)
        return torch.cat([root, means[:, None], ridge[:, None]], 1)

    def distance(self, gathered: Tensor, target: Tensor) -> Tensor:
        """Of C x (C + 1) moments, and a target of this class."""
        means, covariance = means_and_covariance(_exactly(gathered))
        root, wanted, ridge = target[:, :-2], target[:, -2], target[:, -1]
        covariance = covariance + ridge.diag()
        both = root @ covariance @ root
        # tr A^(1/2) = sum_ij A_ij (A^(-1/2))_ij has the slope A^(-1/2) / 2, so half of the sum
        # hangs on A and half does not.
        half = (inverse_root(both.detach()) * both).sum() / 2
        common = half + half.detach()
        apart = covariance.diagonal().sum() + root.square().sum() - 2 * common
        return F.mse_loss(means, wanted) + apart.clamp(min=0) / len(means)


def inverse_root(matrix: Tensor) -> Tensor:
    """A^(-1/2) of a symmetric positive definite C x C matrix A in float64.

    On a CPU by its eigenvalues, which takes a thirteenth of the iteration's time. On a GPU these
    would make the host wait, and could not be recorded as a graph.
    """
    if matrix.device.type != "cpu":
        return iterated(matrix)
    # Of an image that is not finite the distance is not either; this must not raise.
    values, vectors = torch.linalg.eigh(matrix.nan_to_num(0, 0, 0))
    values = torch.maximum(values, _ROUNDING * values[-1])
    found: Tensor = (vectors * values.rsqrt()) @ vectors.mT
    return found


def iterated(matrix: Tensor) -> Tensor:
    """A^(-1/2) by a fixed number of matrix products.

    The coupled Newton-Schulz iteration (Higham, *Functions of Matrices*, 2008, chapter 6), each
    step scaled so that it brings all of [l, 1] as near to 1 as a cubic polynomial does (Chen, Chow,
    *A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation of a Hermitian
    Matrix*, 2014): the roots of small eigenvalues grow 2.6-fold instead of 1.5-fold.
    """
    norm = matrix.square().sum().sqrt()
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    root, inverse, least = matrix / norm, identity, _SMALLEST
    for _ in range(_ITERATIONS):
        scale = sqrt(3 / (1 + least + least**2))
        step = 1.5 * scale * identity - 0.5 * scale**3 * (inverse @ root)
        root, inverse = root @ step, step @ inverse
        least = 0.5 * scale * least * (3 - (scale * least) ** 2)
    return inverse / norm.sqrt()


def _exactly(gathered: Tensor) -> Tensor:
    """In float64, from Apple's GPUs on the CPU: in float32 the iteration diverges."""
    return (gathered.cpu() if gathered.device.type == "mps" else gathered).double()
