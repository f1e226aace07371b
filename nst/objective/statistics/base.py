"""The kinds of statistics."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.objective.products import over_positions
from nst.objective.tiling import Window


@dataclass(frozen=True)
class Positions:
    """The positions of a part of a feature map, or of all of it.

    Attributes:
        shape: 1 x C x H x W of the whole map.
        weights: what each of the part's positions counts in a mean over the whole, 1 x 1 x h x w or
            B x 1 x h x w; those of the whole add up to 1. None is 1 / (H W) for each.
    """

    shape: tuple[int, int, int, int]
    weights: Tensor | None = None

    @property
    def count(self) -> int:
        """How many there are in the whole."""
        return self.shape[2] * self.shape[3]

    def at(self, window: Window) -> "Positions":
        """Those of a part of these, given by its rows and columns."""
        if self.weights is None:
            return self
        return replace(self, weights=self.weights[..., *window])

    def weighted(self, values: Tensor) -> Tensor:
        """What values at the part's positions, B x K x h x w, add to a mean over the whole."""
        return values / self.count if self.weights is None else values * self.weights.to(values)

    def mean(self, values: Tensor) -> Tensor:
        """The part's share, B x K, of the mean of values over the whole, B x K x h x w."""
        if self.weights is None:
            return values.sum((2, 3)) / self.count
        return self.weighted(values).sum((2, 3))

    def products(self, features: Tensor) -> Tensor:
        """The part's share, B x C x C, of the mean over the whole of F_p F_p^T."""
        if self.weights is None:
            return over_positions(features) / self.count
        weights = self.weights.to(torch.promote_types(features.dtype, self.weights.dtype))
        return over_positions(features * weights.sqrt())


class Moments(ABC):
    """Means over positions, compared with those of another picture.

    Each position is to count by its weight in the whole (`Positions.mean`, `Positions.products`),
    so that parts of a picture add up, masks count, and weighted sums of several pictures' moments
    are a target too. Attributes are to be plain values or tensors, for they are part of a
    checkpoint's identity.

    Attributes:
        widens: whether `gather` takes features as the network has them, in bfloat16 maybe, and
            computes in float32 at least; else it gets them in the image's type. Of its kinds too.
    """

    widens: ClassVar[bool] = False

    @abstractmethod
    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """What a part of each of B pictures adds to the moments of the whole.

        Args:
            features: B x C x h x w, of the part.
            positions: of the part.

        Returns:
            B x any shape.
        """

    def target(self, gathered: Tensor) -> Tensor:
        """What `distance` needs of a target's moments, by default themselves.

        They are one picture's or a blend's, both without the batch's axis. What does not hang on
        the image is computed here, once.
        """
        return gathered

    def distance(self, gathered: Tensor, target: Tensor) -> Tensor:
        """How far one picture's moments are from a target, without the batch's axis; a scalar.

        By default the mean squared difference. 0 is no distance; autograd differentiates it, and of
        a batch `torch.vmap` makes one call: its branches may not depend on the values. It may be of
        another type than the image, and so may what is gathered.
        """
        return F.mse_loss(gathered, target)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """How the gradient goes back from the moments to the features of a part.

        By default through `gather`, by autograd; a faster form may replace it.

        Args:
            slope: the loss's derivative with respect to the whole's moments, B x their shape.
            features: of the part, B x C x h x w.
            positions: of the part.

        Returns:
            The derivative with respect to the features, of their shape.
        """
        return _by_autograd(self.gather, slope, features, positions)


class Comparison(ABC):
    """A comparison with another picture's features, position by position."""

    @abstractmethod
    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        """What a part of each of B pictures adds to the means over the whole.

        Args:
            features: B x C x h x w, of the part.
            target: the other pictures' features there, likewise.
            positions: of the part.

        Returns:
            B x any shape.
        """

    def distance(self, gathered: Tensor) -> Tensor:
        """How far one picture is from its target, of its means without the batch's axis; a scalar.

        By default the mean itself.
        """
        return gathered

    def pullback(
        self, slope: Tensor, features: Tensor, target: Tensor, positions: Positions
    ) -> Tensor:
        """See `Moments.pullback`."""
        return _by_autograd(self.gather, slope, features, positions, target)


class Distribution(ABC):
    """The values at all positions, compared with those of another picture in whatever order.

    The whole picture's are needed at once, and for that kept: choose few values per position.
    """

    @abstractmethod
    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """The values at a part's positions, B x K x h x w of features B x C x h x w."""

    @abstractmethod
    def summary(self, values: Tensor, positions: Positions) -> Tensor:
        """What of one picture's values, K x H x W, is compared; weighted sums of it are a blend."""

    def distance(self, summary: Tensor, target: Tensor) -> Tensor:
        """How far summaries are apart, see `Moments.distance`."""
        return F.mse_loss(summary, target)

    def pullback(self, slope: Tensor, features: Tensor, positions: Positions) -> Tensor:
        """See `Moments.pullback`; the slope is that of the part's values, B x K x h x w."""
        return _by_autograd(self.gather, slope, features, positions)


Statistic = Moments | Comparison | Distribution


def described(thing: object) -> str:
    """A statistic with its attributes, as text that is equal for those that do the same.

    Of anything else whose attributes are plain values or tensors likewise.
    """
    kind = type(thing)
    if is_dataclass(thing):
        own = {item.name: getattr(thing, item.name) for item in fields(thing)}
    else:
        own = vars(thing)
    return f"{kind.__module__}.{kind.__qualname__}({_text(own)})"


def _text(value: object) -> str:
    if isinstance(value, Tensor):  # of which repr shows the corners
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest = hashlib.sha256(data.numpy().tobytes()).hexdigest()
        return f"{value.dtype} {tuple(value.shape)} {digest}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(one)}" for key, one in sorted(value.items()))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _by_autograd(
    gather: Callable[..., Tensor],
    slope: Tensor,
    features: Tensor,
    positions: Positions,
    *target: Tensor,
) -> Tensor:
    with torch.enable_grad():
        own = features.detach().to(slope.dtype).requires_grad_()
        gathered = gather(own, *(one.to(slope.dtype) for one in target), positions)
        (gradient,) = torch.autograd.grad(gathered, own, slope)
    return gradient.to(features.dtype)
