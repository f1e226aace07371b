"""Several images through the network at once, each with targets and weights of its own.

A small picture leaves a GPU idle: starting a layer's kernel takes longer than the kernel. B images
that go through together start as many kernels as one. Every term is summed over one image's
positions alone, so the gradient of the sum of the B totals with respect to an image is the gradient
of that image's total.
"""

from collections.abc import Hashable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nst.objective import Objective, Terms, functional
from nst.objective.tiling import Differentiated


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
    return (
        objective.network,
        frozenset(objective.content_layers),
        frozenset(objective.style_layers),
        objective.gram,
        objective.style_goal is None,
        image.shape,
        image.dtype,
        image.device,
    )


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
        self._gram = self.objectives[0].gram
        self._content = {
            tap: torch.cat([each.content_target[tap] for each in self.objectives])
            for tap in self.objectives[0].content_layers
        }
        self._style = {
            tap: torch.cat([each.style_target[tap] for each in self.objectives])
            for tap in self.objectives[0].style_layers
        }
        # Taps x B: what each unweighted term counts in each image's content or style term.
        self._content_weights = like.new_tensor(
            [
                [o.content_weight * o.content_layers[tap] for o in self.objectives]
                for tap in self._content
            ]
        )
        self._style_weights = like.new_tensor(
            [[o.style_layers[tap] for o in self.objectives] for tap in self._style]
        )
        self._style_weight = like.new_tensor([each.style_weight for each in self.objectives])
        goals = [each.style_goal for each in self.objectives if each.style_goal is not None]
        self._style_goals = like.new_tensor(goals) if goals else None
        weights = [each.tv_weight for each in self.objectives]
        self._tv_weights = like.new_tensor(weights) if any(weights) else None

    def __call__(self, images: Sequence[Tensor]) -> list[Terms]:
        """Evaluate each objective for its image, in one pass forward and one backward.

        Args:
            images: one 1 x 3 x H x W for each objective, of one size, ImageNet-normalised.

        Returns:
            The terms of each. Only `total` is differentiable, and once: its gradient is known.
        """
        pixels = torch.cat([image.detach() for image in images]).requires_grad_()
        with torch.enable_grad():
            content_layers, style_layers = self._layers(pixels)
            content = _weighted(self._content_weights, content_layers, pixels)
            style = _weighted(self._style_weights, style_layers, pixels)
            if self._style_goals is not None:
                style = functional.above_goal(style, self._style_goals)
            style = self._style_weight * style
            tv = pixels.new_zeros(len(pixels))
            if self._tv_weights is not None:
                tv = self._tv_weights * _variations(pixels)
            total = content + style + tv
            (gradient,) = torch.autograd.grad(total.sum(), pixels)
        # Contiguous as the images are, whatever the layout within the network.
        gradients = torch.split(gradient.contiguous(), 1)
        content, style, tv, total = (term.detach() for term in (content, style, tv, total))
        layers = {f"content/{tap}": losses.detach() for tap, losses in content_layers.items()}
        layers |= {f"style/{tap}": losses.detach() for tap, losses in style_layers.items()}
        return [
            Terms(
                content[index],
                style[index],
                tv[index],
                Differentiated.apply(image, total[index], [gradients[index]]),
                {name: losses[index] for name, losses in layers.items()},
            )
            for index, image in enumerate(images)
        ]

    def _layers(self, pixels: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Unweighted content and style terms by tap, each of length B."""
        features = self.objectives[0].features(pixels)
        content, style = {}, {}
        for tap, feature in self._content.items():
            difference = F.mse_loss(features[tap], feature.to(pixels.dtype), reduction="none")
            content[tap] = difference.mean((1, 2, 3))
        for tap, gram in self._style.items():
            each = functional.gram(features[tap], self._gram, features[tap][:1].shape)
            difference = F.mse_loss(each, gram, reduction="none")
            style[tap] = difference.mean((1, 2))
        return content, style


def _weighted(weights: Tensor, layers: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """Sums over the taps, of length B, as `pixels` has images."""
    if not layers:
        return pixels.new_zeros(len(pixels))
    return (weights * torch.stack(list(layers.values()))).sum(0)


def _variations(images: Tensor) -> Tensor:
    """Total variation of each of B images, see `nst.objective.functional.total_variation`."""
    return images.diff(dim=3).abs().mean((1, 2, 3)) + images.diff(dim=2).abs().mean((1, 2, 3))
