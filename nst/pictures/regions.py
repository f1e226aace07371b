"""Which style goes where: masks of the content picture and of the styles, or maps of colours.

Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer* (arXiv 1611.07865),
section 4. Maps of colours, where equal colours belong together, are Champandard's (*Semantic Style
Transfer and Turning Two-Bit Doodles into Fine Artworks*, arXiv 1603.01768).
"""

import colorsys
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor

from nst.errors import InputError, one_of
from nst.pictures import images
from nst.pictures.color import grey, normalised, unit
from nst.pictures.images import Picture

log = logging.getLogger(__name__)

Map = NDArray[np.uint8]
Masks = Picture | Sequence[Picture | None] | None
Border = Literal["simple", "inside", "all"]

# How far the aspect of a mask may be from its picture's without a word.
_ASPECT = 0.02
# How far from grey the colours of a mask may be, of 255.
_GREY = 16
# A colour of less than this share of a map is no region, but what smoothing made of an edge.
_LEAST = 0.005
_MOST_COLOURS = 32


@dataclass(frozen=True)
class Regions:
    """Which part of the content picture gets which style.

    Attributes:
        content: grey pictures, one for each style, white where it goes; None for one of them is
            what the others leave. Or one picture whose colours are the regions.
        style: likewise which part of each style picture counts, None for all of it. With a map of
            colours for the content, one such map for each style: a region's style are the parts of
            its colour, in all styles.
        border: what of a layer counts near a region's border, see `nst.objective.masks.at_layer`.
    """

    content: Masks = None
    style: Masks = None
    border: Border = "simple"

    def __post_init__(self) -> None:
        one_of("border", self.border, get_args(Border))


@dataclass(frozen=True)
class Area:
    """A region as it was found.

    Attributes:
        name: the mask's file, or the colour; empty where it is the whole picture.
        mask: which part of the content picture it is, mode L; None is all of it.
        styles: the number of each style that it gets, and which part of that counts, likewise.
    """

    name: str
    mask: Image.Image | None
    styles: Sequence[tuple[int, Image.Image | None]]


def load(
    regions: Regions,
    content: Image.Image,
    styles: Sequence[Image.Image],
    max_megapixels: float | None,
) -> list[Area]:
    """Read the masks or maps.

    Args:
        regions: what they are read from.
        content: the content picture.
        styles: the style pictures.
        max_megapixels: see `nst.pictures.images.load`.

    Raises:
        InputError: they do not fit together, or one covers nothing.
    """

    def read(source: Picture | None, picture: Image.Image, name: str) -> Image.Image | None:
        return None if source is None else _mask(source, picture, name, max_megapixels)

    whole, parts = regions.content, _listed(regions.style)
    if isinstance(whole, Picture):
        return _of_colours(
            _map(whole, content, "regions.content", max_megapixels),
            [
                _map(one, picture, "regions.style", max_megapixels)
                for one, picture in zip(
                    _for_each(parts, styles, "a map, as regions.content is one and no list,"),
                    styles,
                    strict=True,
                )
            ],
        )
    given = [None] * len(styles) if parts is None else _for_each(parts, styles, "a mask or null")
    of_styles = [
        read(one, style, "regions.style") for one, style in zip(given, styles, strict=True)
    ]
    if whole is None:
        return [Area("", None, list(enumerate(of_styles)))]
    wanted = _listed(whole) or []
    if len(wanted) != len(styles):
        raise InputError(
            f"regions.content needs a mask or null for each of {len(styles)} styles, not "
            f"{len(wanted)}"
        )
    masks = [read(one, content, "regions.content") for one in wanted]
    if masks.count(None) > 1:
        raise InputError("regions.content: only one of the masks can be null, the rest")
    if None in masks:
        masks[masks.index(None)] = _rest([mask for mask in masks if mask], content)
    return [
        Area(name, mask, [(number, of_style)])
        for number, (name, mask, of_style) in enumerate(
            zip(_names(wanted), masks, of_styles, strict=True)
        )
    ]


def to_tensor(mask: Image.Image | None, shape: Sequence[int]) -> Tensor | None:
    """A mask of mode L in a height and width, 1 x 1 x H x W in [0, 1], None where it is all ones.

    Made smaller it is averaged over areas.
    """
    if mask is None:
        return None
    height, width = shape
    smaller = width <= mask.width and height <= mask.height
    way = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    values = np.array(mask.resize((width, height), way), dtype=np.float32)
    return None if values.min() == 255 else torch.from_numpy(values / 255)[None, None]


def tinted(content: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
    """A content picture whose regions are told apart by colours.

    Args:
        content: 1 x 3 x H x W, ImageNet-normalised.
        masks: of the regions, 1 x 1 x H x W in [0, 1].
    """
    rgb = unit(grey(content))
    tint = torch.zeros_like(rgb)
    for number, mask in enumerate(masks):
        if mask is not None:
            colour = colorsys.hsv_to_rgb(number / len(masks), 0.8, 1.0)
            tint = tint + mask * rgb.new_tensor(colour)[:, None, None]
    return normalised((0.5 * rgb + 0.5 * tint).clamp(0, 1))


def _listed(value: Masks) -> list[Picture | None] | None:
    if value is None:
        return None
    return [value] if isinstance(value, Picture) else list(value)


def _for_each(
    given: list[Picture | None] | None, styles: Sequence[Image.Image], what: str
) -> list[Picture | None]:
    if given is None or len(given) != len(styles):
        number = 0 if given is None else len(given)
        raise InputError(
            f"regions.style needs {what} for each of {len(styles)} styles, not {number}"
        )
    return given


def _mask(
    source: Picture, picture: Image.Image, name: str, max_megapixels: float | None
) -> Image.Image:
    loaded = _loaded(source, picture, name, max_megapixels)
    mask = loaded.convert("L")
    if np.asarray(ImageChops.difference(loaded, mask.convert("RGB"))).max() > _GREY:
        log.warning(
            "%s: %s has colours, and counts by its luminance; a map of colours goes without [ ]",
            name,
            _shown(source),
        )
    if opaque := images.transparency(source, max_megapixels):
        mask = ImageChops.multiply(mask, opaque)  # what is transparent is not white
    if mask.getextrema()[1] == 0:
        raise InputError(f"{name}: {_shown(source)} is all black: it covers nothing")
    return mask


def _loaded(
    source: Picture, picture: Image.Image, name: str, max_megapixels: float | None
) -> Image.Image:
    if isinstance(source, Tensor):
        if source.ndim == 4 and len(source) == 1:
            source = source[0]
        if source.ndim == 2 or (source.ndim == 3 and len(source) == 1):
            source = source.expand(3, *source.shape[-2:])  # of one channel, as masks are
    loaded = images.load(source, max_megapixels)
    aspect = loaded.width / loaded.height / (picture.width / picture.height)
    if abs(aspect - 1) > _ASPECT:
        log.warning(
            "%s: %s is %d x %d px, stretched to its picture's %d x %d",
            name,
            _shown(source),
            loaded.width,
            loaded.height,
            picture.width,
            picture.height,
        )
    return loaded


def _rest(masks: Sequence[Image.Image], content: Image.Image) -> Image.Image:
    shape = content.height, content.width
    left = torch.ones(1, 1, *shape)
    for mask in masks:
        found = to_tensor(mask, shape)
        left = left - (1 if found is None else found)
    values = left.clamp(min=0)[0, 0].mul(255).round().to(torch.uint8)
    if not values.any():
        raise InputError("regions.content: the masks leave nothing for the one that is null")
    return Image.fromarray(values.numpy())


def _map(
    source: Picture | None, picture: Image.Image, name: str, max_megapixels: float | None
) -> tuple[Map, list[str]]:
    """A map as the number of each pixel's colour, and the colours' names."""
    if source is None:
        raise InputError(f"{name}: a map of colours cannot be null")
    pixels = np.asarray(_loaded(source, picture, name, max_megapixels)).astype(np.uint32)
    codes = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    colours, counts = np.unique(codes, return_counts=True)
    main = colours[counts >= max(1, _LEAST * codes.size)]
    if not 0 < len(main) <= _MOST_COLOURS or counts[np.isin(colours, main)].sum() < codes.size / 2:
        raise InputError(
            f"{name}: {_shown(source)} is no map of flat colours, but has {len(colours)} of them"
        )
    parts = [np.stack([one >> 16, one >> 8 & 255, one & 255], -1) for one in (colours, main)]
    every, known = (part.astype(np.int64) for part in parts)
    nearest = ((every[:, None] - known[None]) ** 2).sum(-1).argmin(1).astype(np.uint8)
    return nearest[np.searchsorted(colours, codes)], [f"{one:06x}" for one in main]


def _of_colours(
    content: tuple[Map, list[str]], styles: Sequence[tuple[Map, list[str]]]
) -> list[Area]:
    numbers, names = content
    there = {name for _, own in styles for name in own}
    if differing := sorted(there.symmetric_difference(names)):
        name = differing[0]
        place = "regions.style" if name in names else "regions.content"
        own = there if name in names else names
        raise InputError(
            f"{place}: the colour #{name} of the other map is not in this one, which has "
            f"{', '.join(f'#{one}' for one in sorted(own))} (JPEG changes colours, PNG keeps them)"
        )

    def mask(values: Map, number: int) -> Image.Image:
        return Image.fromarray(np.where(values == number, 255, 0).astype(np.uint8))

    return [
        Area(
            name,
            mask(numbers, number),
            [
                (index, mask(values, own.index(name)))
                for index, (values, own) in enumerate(styles)
                if name in own
            ],
        )
        for number, name in enumerate(names)
    ]


def _names(masks: Sequence[Picture | None]) -> list[str]:
    """Names of their own: of the masks' files, or numbers."""
    stems = [
        "rest" if mask is None else Path(mask).stem if isinstance(mask, str | Path) else ""
        for mask in masks
    ]
    numbered = [f"{stem or 'region'}_{number}" for number, stem in enumerate(stems, start=1)]
    pairs = zip(stems, numbered, strict=True)
    found = [stem if stem and stems.count(stem) == 1 else name for stem, name in pairs]
    return found if len(set(found)) == len(found) else numbered


def _shown(source: Picture) -> str:
    return str(source) if isinstance(source, str | Path) else "the picture"
