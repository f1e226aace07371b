"""How a run's images are evaluated: by itself, or in one batch with those of other runs."""

from collections.abc import Callable, Hashable
from typing import Protocol

from torch import Tensor

from nst.network.vgg import VGG
from nst.objective import Objective, Terms


class Strategy(Protocol):
    """What stands between a run and its objective, see `nst.run.rendezvous` for another one."""

    @property
    def alone(self) -> bool:
        """Whether every evaluation is of one image, so that it may be recorded as a CUDA graph."""

    def network(self, key: Hashable, make: Callable[[], VGG]) -> VGG:
        """A network to be used for what `key` says, `make` makes one."""

    def evaluate(self, objective: Objective, image: Tensor) -> Terms:
        """The objective's terms of an image, 1 x 3 x H x W."""


class Alone:
    """Evaluates at once, with a network of the run's own."""

    alone = True

    def network(self, key: Hashable, make: Callable[[], VGG]) -> VGG:
        """See `Strategy.network`."""
        return make()

    def evaluate(self, objective: Objective, image: Tensor) -> Terms:
        """See `Strategy.evaluate`."""
        return objective(image)
