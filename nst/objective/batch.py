"""Several images through the network at once, each with targets and weights of its own.

A small picture leaves a GPU idle: starting a layer's kernel takes longer than the kernel. B images
that go through together start as many kernels as one. (A CUDA graph does more for images that go
through alone, see `nst.run.evaluation`.) Every term is gathered over one image's positions alone,
so the gradient of the sum of the B totals with respect to an image is the gradient of that image's
total.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nst.objective.objective import Aims, Objective
from nst.objective.statistics.base import described
from nst.objective.terms import Measure, Term, Terms


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
    aims = objective.aims
    terms = tuple((term.name, term.goal is None) for term in aims.terms)
    measures = frozenset(
        (measure.key, described(measure.statistic), measure.key in aims.masks)
        for measure in aims.measures
    )
    measured = objective.network, terms, measures, objective.tv_norm
    return *measured, image.shape, image.dtype, image.device


class Batch:
    """Objectives of equal `signature`, evaluated together.

    Args:
        objectives: at least one. Their targets are copied into one tensor for each measure.
        like: an image of theirs, for type and device.

    Attributes:
        objectives: the same.
    """

    def __init__(self, objectives: Sequence[Objective], like: Tensor) -> None:
        self.objectives = tuple(objectives)
        aims = [objective.aims for objective in objectives]
        first = aims[0]
        by_key = [{measure.key: measure for measure in each.measures} for each in aims]
        stacked = [
            _stacked_measure([each[measure.key] for each in by_key], like)
            for measure in first.measures
        ]
        self._aims = Aims(
            [_stacked_term(terms, like) for terms in zip(*(a.terms for a in aims), strict=True)],
            stacked,
            {key: torch.cat([each.targets[key] for each in aims]) for key in first.targets},
            {key: torch.cat([each.masks[key] for each in aims]) for key in first.masks},
            [weight for each in aims for weight in each.tv_weights],
        )

    def __call__(self, images: Sequence[Tensor]) -> list[Terms]:
        """Evaluate each objective for its image, in one pass forward and one backward.

        Args:
            images: one 1 x 3 x H x W for each objective, of one size, ImageNet-normalised.

        Returns:
            The terms of each. Only `total` is differentiable, and once: its gradient is known.
        """
        with torch.enable_grad():
            return self.objectives[0].evaluate(images, self._aims)


def _stacked_term(terms: Sequence[Term], like: Tensor) -> Term:
    """The same term of several objectives as one, whose numbers are tensors."""
    goals = [term.goal for term in terms if term.goal is not None]
    return replace(
        terms[0],
        weight=like.new_tensor([term.weight for term in terms]),
        goal=like.new_tensor(goals) if goals else None,
    )


def _stacked_measure(measures: Sequence[Measure], like: Tensor) -> Measure:
    """The same measure of several objectives as one, whose weight is a tensor."""
    return replace(measures[0], weight=like.new_tensor([one.weight for one in measures]))
