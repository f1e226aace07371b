"""Two plain loops for neural style transfer, as yardsticks of results and of speed.

Both minimise the same objective by the pixels of one image, and import nothing of `nst`:

    total = MSE(F_4_2, F_4_2(content)) + 1e6 * sum_l MSE(G_l, G_l(style)),   G = F F^T / (B C H W)

with F_4_2 the output of the ReLU after conv4_2, and G_l the Gram matrices of the outputs of the
ReLUs after conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1 of torchvision's VGG-19 with max pooling.

- `ReferenceLoop` does what many first implementations of Gatys et al. (arXiv 1508.06576) do: four
  passes through all 37 layers per evaluation (the image for its content, the content picture, the
  image for its style, the style picture), none of them detached and the network not frozen, so
  that the backward pass also computes the gradients of all weights, which nothing uses.
- `TextbookLoop` leaves out what has no effect on the image: the targets are computed once, the
  network is frozen and ends at the deepest tap, and an evaluation is one pass forward and backward.

An *evaluation* is one forward and backward pass of the objective; a *step* is one optimizer step.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

# Indices in torchvision's `vgg19().features` of the ReLUs whose outputs are tapped.
CONTENT_TAPS = (22,)
STYLE_TAPS = (1, 6, 11, 20, 29)
TAPS = sorted(CONTENT_TAPS + STYLE_TAPS)
STYLE_WEIGHT = 1e6


class _Loop:
    """The image, its optimizer and the rows; the subclasses say how the losses are computed.

    Args:
        state_dict: of torchvision's `vgg19()`; the `features.*` in it suffice.
        content: content image, 1 x 3 x H x W, ImageNet-normalised; its device is used throughout.
        style: style image, 1 x 3 x h x w, likewise.
        init_image: where to start, 1 x 3 x H x W; a copy is optimised.
        optimizer: `adam` (learning rate 0.1) or `lbfgs` (learning rate 1), torch's own.
        dtype: of the network and the images.

    Attributes:
        features: the network.
        image: the image that is optimised.
        rows: (content, style, total) of each evaluation, weighted.
    """

    def __init__(
        self,
        state_dict: Mapping[str, Tensor],
        content: Tensor,
        style: Tensor,
        init_image: Tensor,
        optimizer: Literal["adam", "lbfgs"] = "adam",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        device = content.device
        self.content, self.style = content.to(device, dtype), style.to(device, dtype)
        self.features = vgg19_features(state_dict).to(device, dtype)
        self.image = init_image.detach().to(device, dtype, copy=True).requires_grad_()
        self.optimizer = (
            torch.optim.Adam([self.image], lr=0.1)
            if optimizer == "adam"
            else torch.optim.LBFGS([self.image], lr=1)
        )
        self.rows: list[tuple[float, float, float]] = []
        self.prepare()

    def step(self) -> None:
        """One optimizer step: one evaluation with Adam, up to 20 with L-BFGS."""
        self.optimizer.step(self.evaluate)

    def evaluate(self) -> Tensor:
        """One forward and backward pass: leaves the image's gradient and a row; the total."""
        self.optimizer.zero_grad()
        content, style = self.losses()
        total = content + style
        total.backward()
        self.rows.append((content.item(), style.item(), total.item()))
        return total

    def prepare(self) -> None:
        """What is done once, before the first evaluation."""

    def losses(self) -> tuple[Tensor, Tensor]:
        """The weighted content and style terms of the image."""
        raise NotImplementedError

    def activations(self, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Send an image through all layers of `features`; the outputs of the tapped ones."""
        found = []
        for index, layer in enumerate(self.features):
            image = layer(image)
            if index in taps:
                found.append(image)
        return found


class ReferenceLoop(_Loop):
    """Everything at every evaluation: four passes, all layers, gradients of the weights too."""

    def losses(self) -> tuple[Tensor, Tensor]:
        """The weighted content and style terms, their targets computed anew."""
        ours = self.activations(self.image, CONTENT_TAPS)
        theirs = self.activations(self.content, CONTENT_TAPS)
        content = sum_of_mse(ours, theirs)
        ours = self.activations(self.image, STYLE_TAPS)
        theirs = self.activations(self.style, STYLE_TAPS)
        style = sum_of_mse([gram(f) for f in ours], [gram(f) for f in theirs])
        return content, STYLE_WEIGHT * style


class TextbookLoop(_Loop):
    """One pass through a frozen network that ends at the deepest tap; targets computed once."""

    def prepare(self) -> None:
        """Cut and freeze the network, compute the targets."""
        self.features = self.features[: max(TAPS) + 1].requires_grad_(False)
        with torch.no_grad():
            self.content_target = self.activations(self.content, CONTENT_TAPS)
            self.style_target = [gram(f) for f in self.activations(self.style, STYLE_TAPS)]

    def losses(self) -> tuple[Tensor, Tensor]:
        """The weighted content and style terms out of one pass."""
        found = dict(zip(TAPS, self.activations(self.image, TAPS), strict=True))
        content = sum_of_mse([found[tap] for tap in CONTENT_TAPS], self.content_target)
        style = sum_of_mse([gram(found[tap]) for tap in STYLE_TAPS], self.style_target)
        return content, STYLE_WEIGHT * style


def gram(feature: Tensor) -> Tensor:
    """Gram matrix of a B x C x H x W feature map over its number of elements: B x C x C."""
    batch, channels, height, width = feature.shape
    rows = feature.reshape(batch, channels, height * width)
    return torch.bmm(rows, rows.transpose(1, 2)) / (batch * channels * height * width)


def sum_of_mse(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Sum over the pairs of their mean squared differences; a scalar."""
    pairs = zip(ours, theirs, strict=True)
    return sum((F.mse_loss(a, b) for a, b in pairs), start=ours[0].new_zeros(()))


def vgg19_features(state_dict: Mapping[str, Tensor]) -> nn.Sequential:
    """The 37 layers of torchvision's `vgg19().features` with the given weights, not frozen."""
    # On the meta device nothing is allocated or drawn at random, which would take seconds.
    with torch.device("meta"):
        features: nn.Sequential = torchvision.models.vgg19(weights=None).features
    prefix = "features."
    own = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    features.load_state_dict(own, assign=True)
    return features
