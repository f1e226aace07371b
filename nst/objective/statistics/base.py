"""The two kinds of statistics."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Features of a part of a picture, and for a comparison its target there, to the gradient there.
Pullback = Callable[..., Tensor]


@dataclass(frozen=True)
class Positions:
    """The positions of a whole picture's feature map, however many of them come at a time.

    Attributes:
        shape: 1 x C x H x W of the whole map.
    """

    shape: tuple[int, int, int, int]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.shape[2] * self.shape[3]


class Moments(ABC):
    """Sums over positions, compared with those of another picture.

    The sums are to be in proportion to each position's part in the whole (a mean over `positions`,
    not over the part at hand), so that parts of a picture add up, and weighted sums of several
    pictures' moments are a target too. Attributes are to be plain values or tensors, for they are
    part of a checkpoint's identity.
    """

    @abstractmethod
    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        """What a part of each of B pictures adds to the moments of the whole.

        Args:
            features: B x C x h x w, of the part.
            positions: of the whole.

        Returns:
            B x any shape.
        """

    def distance(self, gathered: Tensor, target: Tensor) -> Tensor:
        """How far one picture's moments are from others, without the batch's axis; a scalar.

        By default the mean squared difference. 0 is no distance; autograd differentiates it, and of
        a batch `torch.vmap` makes one call: its branches may not hang on the values.
        """
        return F.mse_loss(gathered, target)

    def pullback(self, slope: Tensor, positions: Positions) -> Pullback:
        """How the gradient goes back from the moments to the features.

        By default through `gather`, by autograd; a faster form may replace it.

        Args:
            slope: the loss's derivative with respect to the whole's moments, B x their shape.
            positions: of the whole.

        Returns:
            Takes the features of a part, B x C x h x w, and returns the derivative with respect to
            them, of the same shape.
        """
        return _by_autograd(self.gather, slope, positions)


class Comparison(ABC):
    """A comparison with another picture's features, position by position."""

    @abstractmethod
    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        """What a part of each of B pictures adds to the sums over the whole.

        Args:
            features: B x C x h x w, of the part.
            target: the other pictures' features there, likewise.
            positions: of the whole.

        Returns:
            B x any shape.
        """

    def distance(self, gathered: Tensor) -> Tensor:
        """How far one picture is from its target, of its sums without the batch's axis; a scalar.

        By default the sum itself.
        """
        return gathered

    def pullback(self, slope: Tensor, positions: Positions) -> Pullback:
        """See `Moments.pullback`; what it returns takes the part's features and target."""
        return _by_autograd(self.gather, slope, positions)


Statistic = Moments | Comparison


def described(statistic: Statistic) -> str:
    """A statistic with its attributes, as text that is equal for those that do the same."""
    kind = type(statistic)
    if is_dataclass(statistic):
        own = {item.name: getattr(statistic, item.name) for item in fields(statistic)}
    else:
        own = vars(statistic)
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


def _by_autograd(gather: Callable[..., Tensor], slope: Tensor, positions: Positions) -> Pullback:
    def pull(features: Tensor, *target: Tensor) -> Tensor:
        with torch.enable_grad():
            own = features.detach().to(slope.dtype).requires_grad_()
            gathered = gather(own, *(one.to(slope.dtype) for one in target), positions)
            (gradient,) = torch.autograd.grad(gathered, own, slope)
        return gradient.to(features.dtype)

    return pull
