"""Where runs meet that are evaluated as one batch.

Each run is an ordinary run in a thread of its own, which knows of the others nothing but that its
evaluations take longer. The threads take turns: one runs, from the end of its evaluation to the
beginning of its next one, while all others wait. So nothing that the runs share (torch's settings
and random numbers, Python's logging, Hydra's state) is ever used by two of them at a time. When the
last one has come to its next evaluation, it evaluates the images of all, those that can share a
pass in one pass.

Every run takes part in every round from its beginning, its preparations included, until its end.
So which images make up a batch does not depend on how fast anything is, and as long as any member
runs, a round is either to come or under way: one that fails leaves, and nobody waits for it.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from nst.network.vgg import VGG
from nst.objective import Objective, Terms
from nst.objective.batch import Batch, signature
from nst.run import memory

log = logging.getLogger(__name__)


@dataclass
class _Call:
    """A member's evaluation.

    Attributes:
        number: of the member.
        objective: to be evaluated.
        image: 1 x 3 x H x W.
        done: whether the round is over.
        terms: the result; None where the member is to evaluate it by itself.
    """

    number: int
    objective: Objective
    image: Tensor
    done: bool = False
    terms: Terms | None = None


class Rendezvous:
    """Brings a known number of threads together, evaluation by evaluation.

    Args:
        members: how many threads. Each enters `membership` once, and nothing is evaluated before
            all have come or gone.
        aside: a `with` block around each member's waiting, which brings back what a run must find
            as it left it. Torch's random numbers on the CPU are brought back anyway.
    """

    def __init__(
        self, members: int, aside: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._turn = threading.Condition()
        self._aside = aside
        self._members = members
        self._calls: list[_Call] = []
        self._batches: dict[tuple[Objective, ...], Batch] = {}
        self._largest: dict[Hashable, int] = {}
        self._networks: WeakValueDictionary[Hashable, VGG] = WeakValueDictionary()
        self._broken = False

    @contextmanager
    def membership(self) -> Iterator[None]:
        """Be a member until the end of the `with` block, which has the turn where it runs."""
        with self._turn:
            try:
                yield
            finally:
                self._members -= 1
                self._meet_if_all_are_here()

    def network(self, key: Hashable, make: Callable[[], VGG]) -> VGG:
        """The network that all members with the same key share.

        Args:
            key: all that the network is made from and how it computes.
            make: makes it for the first one.
        """
        found = self._networks.get(key)
        if found is None:
            found = self._networks[key] = make()
        return found

    def evaluate(self, number: int, objective: Objective, image: Tensor) -> Terms:
        """Evaluate an image when all members have come to their next evaluation.

        Args:
            number: the member's, which orders the images in a batch.
            objective: of the image.
            image: 1 x 3 x H x W.

        Returns:
            The terms, see `nst.objective.batch.Batch`; the objective's own where it shares its pass
            with no other.

        Raises:
            KeyboardInterrupt: `break_off` was called.
        """
        call = _Call(number, objective, image)
        self._calls.append(call)
        self._meet_if_all_are_here()
        with self._aside(), torch.random.fork_rng(devices=[]):
            self._turn.wait_for(lambda: call.done or self._broken)
        if self._broken:
            raise KeyboardInterrupt
        # In the member's own turn: its memory is free again before the next one's is needed, and
        # what is raised is its own.
        return call.terms or objective(image)

    def break_off(self) -> None:
        """Let every evaluation raise a KeyboardInterrupt from now on; for another thread."""
        self._broken = True
        with self._turn:
            self._turn.notify_all()

    def _meet_if_all_are_here(self) -> None:
        if len(self._calls) < self._members:
            return
        calls, self._calls = sorted(self._calls, key=lambda call: call.number), []
        try:
            self._share_passes(calls)
        finally:  # or the others would wait for ever
            for call in calls:
                call.done = True
            self._turn.notify_all()

    def _share_passes(self, calls: list[_Call]) -> None:
        groups: dict[Hashable, list[_Call]] = {}
        for call in calls:
            groups.setdefault(signature(call.objective, call.image), []).append(call)
        groups.pop(None, None)
        before, self._batches = self._batches, {}
        for key, group in groups.items():
            if key not in self._largest:
                self._largest[key] = _most(group[0]) or len(calls)
            while len(group) > 1 and self._largest[key] > 1:
                part = group[: self._largest[key]]
                objectives = tuple(call.objective for call in part)
                images = [call.image for call in part]
                try:
                    batch = before.get(objectives) or Batch(objectives, images[0])
                    for call, terms in zip(part, batch(images), strict=True):
                        call.terms = terms
                except Exception as error:
                    self._largest[key] = (len(part) + 1) // 2
                    log.warning("%d images in one pass: %s", len(part), error)
                    continue
                self._batches[objectives] = batch
                group = group[len(part) :]


@dataclass(frozen=True)
class Member:
    """A member as its run sees it: a `nst.run.strategy.Strategy`.

    Attributes:
        rendezvous: whose `membership` the run's thread is in.
        number: see `Rendezvous.evaluate`.
    """

    rendezvous: Rendezvous
    number: int
    alone = False

    def network(self, key: Hashable, make: Callable[[], VGG]) -> VGG:
        """See `Rendezvous.network`."""
        return self.rendezvous.network(key, make)

    def evaluate(self, objective: Objective, image: Tensor) -> Terms:
        """See `Rendezvous.evaluate`."""
        return self.rendezvous.evaluate(self.number, objective, image)


def _most(call: _Call) -> int | None:
    """How many images like a call's fit into memory at once; None where nobody knows."""
    cost, (height, width) = call.objective.cost, call.image.shape[2:]
    # The network is there already, and all share it.
    return memory.at_once(call.image.device, cost.needed(height, width) - cost.network)
