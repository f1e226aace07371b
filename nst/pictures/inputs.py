"""The content and the style pictures of a run, in whatever sizes it needs them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nst.errors import InputError
from nst.pictures import images
from nst.pictures.images import ImageError, Picture, Resize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """All pictures, loaded.

    Attributes:
        content: the content picture.
        styles: the style pictures.
        style_scales: the size of each style picture, by the content picture's.
        resize: what a size is, see `nst.pictures.images.target_size`.
        device: where their tensors go.
    """

    content: Image.Image
    styles: Sequence[Image.Image]
    style_scales: Sequence[float]
    resize: Resize
    device: torch.device

    def shape(self, size: int) -> tuple[int, int]:
        """Height and width in px of the content picture in a size."""
        return images.target_size(self.content, size, self.resize)

    def tensors(self, size: int) -> tuple[Tensor, list[Tensor]]:
        """Content in a size, and styles in theirs, each 1 x 3 x H x W, ImageNet-normalised."""
        sides = [style_side(size, scale) for scale in self.style_scales]
        content, *styles = (
            images.to_tensor(picture, side, self.resize).to(self.device)
            for picture, side in zip([self.content, *self.styles], [size, *sides], strict=True)
        )
        return content, styles


def style_side(size: int, scale: float) -> int:
    """The size of a style picture, px."""
    return max(1, round(size * scale))


def numbers_of_styles(name: str, given: Sequence[float], count: int) -> list[float]:
    """Numbers, one for each style.

    Args:
        name: of the option, for the message.
        given: a list, or a single number where there is one style.
        count: how many styles there are.

    Raises:
        InputError: they are others.
    """
    numbers = list(given) if isinstance(given, Sequence) else [given]
    if len(numbers) != count:
        raise InputError(f"{name} needs a number for each style ({count}), not {len(numbers)}")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise InputError(f"{name} must be numbers, not {numbers}")
    return numbers


def load(
    content: Picture,
    styles: Sequence[Picture],
    style_scales: Sequence[float],
    resize: Resize,
    device: torch.device,
    *,
    sizes: Sequence[int],
    minimum: int,
    layer: str,
    max_megapixels: float | None,
) -> Inputs:
    """Load all pictures.

    Args:
        content: a path, a PIL image or a tensor, see `nst.pictures.images.load`.
        styles: likewise.
        style_scales: see `Inputs`.
        resize: see `Inputs`.
        device: where their tensors are to go.
        sizes: those that will be asked for, from small to large.
        minimum: the shortest side in px that the network can do with.
        layer: the layer that needs it.
        max_megapixels: see `nst.pictures.images.load`.

    Raises:
        ImageError: a picture cannot be read, is too small for the network in the smallest size, or
            in the largest has a longer side than `nst.pictures.images.LARGEST_SIDE`.
    """

    def checked(picture: Picture, scale: float, name: str) -> Image.Image:
        loaded = images.load(picture, max_megapixels)
        shown = picture if isinstance(picture, str | Path) else f"the {name} picture"
        side = style_side(sizes[0], scale)
        height, width = images.target_size(loaded, side, resize)
        if min(height, width) < minimum:
            at = f"size={sizes[0]}" if scale == 1 else f"{side} px of a style"
            raise ImageError(
                f"{shown}: {width} x {height} px at {at} is too small: the layer {layer} "
                f"needs at least {minimum} px on the shorter side"
            )
        height, width = images.target_size(loaded, style_side(sizes[-1], scale), resize)
        largest = max(height, width)
        if largest > images.LARGEST_SIDE:
            raise ImageError(
                f"{shown}: would be {width} x {height} px with resize={resize}, and no side can be "
                f"longer than {images.LARGEST_SIDE} px"
            )
        if scale != 1 and largest > max(loaded.size):
            log.warning(
                "%s: enlarged from %d to %d px, beyond what it has",
                shown,
                max(loaded.size),
                largest,
            )
        return loaded

    return Inputs(
        checked(content, 1.0, "content"),
        [checked(one, scale, "style") for one, scale in zip(styles, style_scales, strict=True)],
        style_scales,
        resize,
        device,
    )
