"""The content and the style picture of a run, in whatever sizes it needs them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst.pictures import images
from nst.pictures.images import ImageError, Picture, Resize


@dataclass(frozen=True)
class Inputs:
    """Both pictures, loaded.

    Attributes:
        content: the content picture.
        style: the style picture.
        resize: see `nst.pictures.images.target_size`.
        device: where their tensors go.
    """

    content: Image.Image
    style: Image.Image
    resize: Resize
    device: torch.device

    def shape(self, size: int) -> tuple[int, int]:
        """Height and width in px of the content picture with this longest side."""
        return images.target_size(self.content, size, self.resize)

    def tensors(self, size: int) -> tuple[Tensor, Tensor]:
        """Content and style with this longest side, each 1 x 3 x H x W, ImageNet-normalised."""
        both = self.content, self.style
        content, style = (images.to_tensor(one, size, self.resize).to(self.device) for one in both)
        return content, style


def load(
    content: Picture,
    style: Picture,
    resize: Resize,
    device: torch.device,
    *,
    size: int,
    minimum: int,
    layer: str,
    max_megapixels: float | None,
) -> Inputs:
    """Load both pictures.

    Args:
        content: a path, a PIL image or a tensor, see `nst.pictures.images.load`.
        style: likewise.
        resize: see `nst.pictures.images.target_size`.
        device: where their tensors are to go.
        size: the smallest longest side that will be asked for.
        minimum: the shortest side in px that the network can do with.
        layer: the layer that needs it.
        max_megapixels: see `nst.pictures.images.load`.

    Raises:
        ImageError: a picture cannot be read, or is too small for the network at `size`.
    """

    def checked(picture: Picture, name: str) -> Image.Image:
        loaded = images.load(picture, max_megapixels)
        height, width = images.target_size(loaded, size, resize)
        if min(height, width) < minimum:
            shown = picture if isinstance(picture, str | Path) else f"the {name} picture"
            raise ImageError(
                f"{shown}: {width} x {height} px at size={size} is too small: the layer {layer} "
                f"needs at least {minimum} px on the shorter side"
            )
        return loaded

    return Inputs(checked(content, "content"), checked(style, "style"), resize, device)
