"""Tiles of a picture through which the network sees it piece by piece, and exactly.

A feature depends on no more of the picture than its receptive field. So a tile's features are those
of the whole picture wherever the tile reaches far enough beyond them. A tile is therefore a *core*,
whose features are used, and a *halo* around it, whose features are not. The cores divide the
picture, and thereby every feature map: each position of each map lies in one core. Cores begin at
multiples of 2^k, with k poolings before the deepest tap, so that the poolings' windows are the
whole picture's; where the picture ends, the tile ends with it, and the network's zero padding there
is the true one.

Whether a picture is tiled is decided in `nst.run.memory`.

Deeper layers need less of a halo, so what is no longer needed of it is cut off after each pooling.
Sums over positions (Gram matrices, squared differences) are then sums over tiles (Galerne, Raad,
Lezama, Morel, *Scaling Painting Style Transfer*, arXiv 2212.13459).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst.network.vgg import VGG, Pooled

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Span:
    """A core along one axis.

    Attributes:
        start: its first pixel.
        stop: the pixel behind its last one.
        size: of the picture.
    """

    start: int
    stop: int
    size: int

    def core(self, level: int, halo: int = 0) -> slice:
        """Positions behind `level` poolings, with `halo` more on both sides where there are any."""
        first, last = self.start >> level, self.stop >> level
        return slice(max(0, first - halo), min(self.size >> level, last + halo))


@dataclass(frozen=True)
class Tile:
    """A core with the halo that the network needs around it.

    Attributes:
        rows: the core's rows.
        columns: its columns.
        halos: positions needed beside the core at the entry of each level, see
            `nst.network.architecture.Architecture.halos`.
    """

    rows: Span
    columns: Span
    halos: tuple[int, ...]

    def core(self, level: int) -> Window:
        """Rows and columns of the core in the whole picture's feature map behind some poolings."""
        return self.rows.core(level), self.columns.core(level)

    def whole(self, level: int) -> Window:
        """The same with the halo."""
        halo = self.halos[level]
        return self.rows.core(level, halo), self.columns.core(level, halo)

    def inner(self, level: int) -> Window:
        """Rows and columns of the core within the tile's own feature map."""
        return _within(self.core(level), self.whole(level))

    def cut(self, level: int) -> tuple[int, int, int, int]:
        """Padding of the map that comes out of the pooling before `level`: what is not needed.

        Left, right, top, bottom; negative or 0.
        """
        pads = []
        for need, wider in zip(self.whole(level), self.whole(level - 1), strict=True):
            pads.append((wider.start // 2 - need.start, need.stop - wider.stop // 2))
        (top, bottom), (left, right) = pads
        return left, right, top, bottom


def tiles(height: int, width: int, tile_size: int | None, halos: tuple[int, ...]) -> list[Tile]:
    """A picture's tiles, row by row.

    Args:
        height: of the picture, px.
        width: likewise.
        tile_size: longest side of a core, px; rounded down to a multiple of what the poolings
            before the deepest tap need, but at least one. None is one tile for all.
        halos: of the network's taps, see `nst.network.architecture.Architecture.halos`.
    """
    spans = (_spans(size, tile_size, halos) for size in (height, width))
    return [Tile(rows, columns, halos) for rows, columns in product(*spans)]


def largest_tile(height: int, width: int, tile_size: int | None, halos: tuple[int, ...]) -> int:
    """How many pixels the largest of `tiles` has with its halo, for the same arguments."""

    def longest(size: int) -> int:
        wholes = (span.core(0, halos[0]) for span in _spans(size, tile_size, halos))
        lengths: list[int] = [whole.stop - whole.start for whole in wholes]
        return max(lengths)

    return longest(height) * longest(width)


def features(
    network: VGG, pixels: Tensor, tile: Tile, taps: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    """Run the network over a tile as far as the taps need it, and yield their activations.

    One at a time, so that none needs to be kept. Beside the core's positions, `tile.inner`, the
    activations hold some of the halo, of which those at a border within the picture are wrong.

    Args:
        network: has (at least) the taps.
        pixels: the tile with its halo, `tile.whole(0)` of B x 3 x H x W images.
        tile: where they are from.
        taps: names, as many as `tile` was made with.

    Yields:
        Tap name and B x C x H' x W', from shallow to deep.
    """
    left = set(taps)
    levels = network.architecture.level
    for name, layer in network.layers.items():
        pixels = layer(pixels)
        if isinstance(layer, Pooled) and any(cut := tile.cut(levels(name))):
            # A negative padding: unlike slicing it keeps the gradient's memory layout.
            pixels = F.pad(pixels, cut)
        if name in left:
            left.remove(name)
            yield name, pixels
        if not left:
            return


def band_height(device: torch.device) -> int:
    """Rows of a feature map at a time where what is computed of them is as large as they are.

    A GPU takes longer to begin with a few rows than it takes for them.
    """
    return 512 if device.type == "cuda" else 64


class Differentiated(torch.autograd.Function):
    """A scalar whose gradient with respect to the image, or to features, is known already."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, value: Tensor, gradient: list[Tensor]) -> Tensor:
        """The value; `gradient` is a list of the one tensor, which is taken out of it."""
        ctx.gradient = gradient
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """The gradient, once."""
        if not ctx.gradient:
            raise RuntimeError("a total whose gradient is known can be back-propagated only once")
        # Given away rather than copied: it is as large as the image.
        return ctx.gradient.pop().mul_(slope), None, None


def _spans(size: int, tile_size: int | None, halos: tuple[int, ...]) -> list[Span]:
    """Cut an axis into as few cores as will do, about equally long."""
    unit = 1 << (len(halos) - 1)
    whole = -(-size // unit)
    count = 1 if tile_size is None else -(-whole // max(1, tile_size // unit))
    edges = [min(size, whole * index // count * unit) for index in range(count + 1)]
    return [Span(start, stop, size) for start, stop in pairwise(edges)]


def _within(inner: Window, outer: Window) -> Window:
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True)
    )
    return rows, columns
