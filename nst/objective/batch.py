"""Several images through the network at once, each with targets and weights of its own.

A small picture leaves a GPU idle: starting a layer's kernel takes longer than the kernel. B images
that go through together start as many kernels as one. Every term is gathered over one image's
positions alone, so the gradient of the sum of the B totals with respect to an image is the gradient
of that image's total.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nst.objective.objective import Objective
from nst.objective.statistics.base import described
from nst.objective.terms import Term, Terms


def signature(objective: Objective, image: Tensor) -> Hashable | None:
    """What objectives and their images must have in common to be evaluated as one batch.

    Args:
        objective: of the image.
        image: 1 x 3 x H x W.

    Returns:
        Equal values for those that may share a batch; None where the objective goes through the
        network in a way of its own, with tiles or with separate passes.
    """
    if not objective.joint or len(objective.tiles(image)) != 1:
        return None
    terms = (
        (term.name, described(term.statistic), frozenset(term.layers), term.goal is None)
        for term in objective.terms
    )
    return objective.network, *terms, image.shape, image.dtype, image.device


class Batch:
    """Objectives of equal `signature`, evaluated together.

    Args:
        objectives: at least one. Their targets are copied into one tensor for each tap.
        like: an image of theirs, for type and device.

    Attributes:
        objectives: the same.
    """

    def __init__(self, objectives: Sequence[Objective], like: Tensor) -> None:
        self.objectives = tuple(objectives)
        self._terms = [
            _stacked([objective.terms[index] for objective in objectives], like)
            for index in range(len(objectives[0].terms))
        ]
        self._targets = {
            term.name: {
                tap: torch.cat([each.targets[term.name][tap] for each in objectives])
                for tap in term.layers
            }
            for term in self._terms
        }

    def __call__(self, images: Sequence[Tensor]) -> list[Terms]:
        """Evaluate each objective for its image, in one pass forward and one backward.

        Args:
            images: one 1 x 3 x H x W for each objective, of one size, ImageNet-normalised.

        Returns:
            The terms of each. Only `total` is differentiable, and once: its gradient is known.
        """
        tv_weights = [each.tv_weight for each in self.objectives]
        with torch.enable_grad():
            return self.objectives[0].evaluate(images, self._terms, self._targets, tv_weights)


def _stacked(terms: Sequence[Term], like: Tensor) -> Term:
    """The same term of several objectives as one, whose numbers are tensors."""
    first = terms[0]
    goals = [term.goal for term in terms if term.goal is not None]
    return replace(
        first,
        layers={tap: like.new_tensor([term.layers[tap] for term in terms]) for tap in first.layers},
        weight=like.new_tensor([term.weight for term in terms]),
        goal=like.new_tensor(goals) if goals else None,
    )
