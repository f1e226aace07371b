"""What evaluations cost in memory.

The way back through the network needs what came out of each layer on the way there, which follows
from the architecture (`saved`). What an evaluation takes of memory is more: gradients of the
largest layers, and the gaps between pieces that the C library keeps for the next evaluation. The
factors for both are fitted to measured peaks: the resident memory of fresh processes on a CPU, less
what the program takes, 512 and 1024 px, whole and in tiles, with one layer to all of Gatys et al.
They are right within 15 % (`tests/test_memory_estimate.py`); at less than 512 px gaps take more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from nst.network.architecture import VGG_19, Architecture, Convolution
from nst.network.vgg import Pooling
from nst.objective.statistics import Comparison, Distribution, Positions, Statistic
from nst.objective.statistics.gaussian import Gaussian

# What a picture's own tensors take per pixel beside the optimizer's: the pictures, the variables
# and the best image; and in an evaluation the image and its gradient, and what the gamut and the
# Fourier transforms make of both.
BYTES_OF_PICTURE = 102
# Factors of what is saved, and of the largest layer.
OF_SAVED, OF_LARGEST = 1.15, 2.9
# What more a pixel of a piece, the whole picture or a tile, costs for each region with a mask, and
# for each region or the whole where a statistic has means and covariances.
BYTES_OF_GAUSSIAN, BYTES_OF_REGION = 60, 50
# What a value costs that a distribution keeps: it, its order and its slope. Measured at 384 px.
BYTES_OF_VALUE = 26
# Of the largest layers, the first ones, for each px of a picture, in float32.
LARGEST = 4 * VGG_19.convolutions[0].outputs


@dataclass(frozen=True)
class Cost:
    """Bytes that evaluations take, beside the program and the optimizer.

    Attributes:
        network: of its filters, with those in float32 that measure the picture at the end.
        pixel: for each px of the picture, whether it is tiled or not.
        piece: for each px of a tile with its halo, or of the picture where it is taken as a whole.
        halo: px on both sides of a tile together.
    """

    network: int
    pixel: float
    piece: float
    halo: int

    def needed(self, height: int, width: int, tile_size: int | None = None) -> int:
        """Bytes for pictures of a height and width.

        Args:
            height: px.
            width: px.
            tile_size: see `nst.objective.Objective`.
        """
        outside = self.network + self.pixel * height * width
        return int(outside + self.piece * self._piece(height, width, tile_size))

    def largest_piece(self, height: int, width: int, tile_size: int | None) -> int:
        """Bytes of the largest layer of an evaluation, in float32."""
        return LARGEST * self._piece(height, width, tile_size)

    def fitting_size(self, available: int, aspect: float, kept: float = 0.0) -> int:
        """The longest side in px of a picture that fits as a whole.

        Args:
            available: bytes.
            aspect: longer by shorter side.
            kept: bytes for each px that the optimizer takes.
        """
        pixels = (0.8 * available - self.network) / (self.pixel + self.piece + kept)
        return max(16, int((max(0.0, pixels) * aspect) ** 0.5) // 16 * 16)

    def _piece(self, height: int, width: int, tile_size: int | None) -> int:
        if tile_size is None or max(height, width) <= tile_size:
            return height * width
        return min(height, tile_size + self.halo) * min(width, tile_size + self.halo)


def cost(
    terms: Iterable[tuple[Statistic, Iterable[str]]],
    precision: str = "fp32",
    regions: int = 0,
    architecture: Architecture = VGG_19,
    pooling: Pooling = "max",
) -> Cost:
    """What evaluations of some terms cost.

    Args:
        terms: of each its statistic and its layers.
        precision: of the network; what is not `bf16` is float32.
        regions: how many regions with masks; 0 is the whole picture.
        architecture: of the network.
        pooling: likewise.
    """
    terms = [(statistic, list(taps)) for statistic, taps in terms]
    taps = [tap for _, own in terms for tap in own]
    if not taps:
        return Cost(0, BYTES_OF_PICTURE, 0.0, 0)
    size = 2 if precision == "bf16" else 4
    kept = saved(architecture, taps, pooling, size)
    found = Cost(
        network=_filters(architecture, taps) * (size if size == 4 else size + 4),
        pixel=BYTES_OF_PICTURE,
        piece=OF_SAVED * kept + OF_LARGEST * LARGEST * size / 4 + regions * BYTES_OF_REGION,
        halo=2 * architecture.halos(taps)[0],
    )
    for statistic, own in terms:
        found = _with(found, statistic, own, size, max(1, regions), architecture)
    return found


def saved(
    architecture: Architecture, taps: Iterable[str], pooling: Pooling, itemsize: int
) -> float:
    """Bytes for each px of a picture that the way back through the network needs.

    Args:
        architecture: of the network.
        taps: its layers, at least one.
        pooling: `max` needs to know where each maximum was, `l2` the squares and their means.
        itemsize: of a value, bytes.
    """
    found, before = 3.0 * itemsize, 0.0
    for name, *_, outputs in _convolutions(architecture, taps):
        if architecture.pooling_before(name):
            pooled = before / 4
            found += itemsize * pooled
            if pooling == "max":
                found += torch.int64.itemsize * pooled
            elif pooling == "l2":
                found += itemsize * (before + 3 * pooled)
        before = outputs / 4 ** architecture.level(name)
        found += itemsize * before
    return found


def _with(
    found: Cost,
    statistic: Statistic,
    taps: Iterable[str],
    itemsize: int,
    times: int,
    architecture: Architecture,
) -> Cost:
    """A cost with what a term's statistic takes besides, once or for each region."""
    if isinstance(statistic, Gaussian):
        return replace(found, piece=found.piece + times * BYTES_OF_GAUSSIAN)
    kept = 0.0
    for tap in taps:
        _, channels, *_ = architecture.feature_shape((1, 3, 1, 1), tap)
        there = 4 ** architecture.level(tap)
        if isinstance(statistic, Comparison):
            kept += itemsize * channels / there
        elif isinstance(statistic, Distribution):
            position = torch.zeros(1, channels, 1, 1)
            values = statistic.gather(position, Positions((1, channels, 1, 1))).shape[1]
            kept += times * BYTES_OF_VALUE * values / there
    return replace(found, pixel=found.pixel + kept)


def _convolutions(architecture: Architecture, taps: Iterable[str]) -> list[Convolution]:
    """Those that the taps need."""
    order = architecture.taps
    depth = order.index(architecture.deepest(taps))
    return [one for one in architecture.convolutions if order.index(one.name) <= depth]


def _filters(architecture: Architecture, taps: Iterable[str]) -> int:
    """How many numbers the filters are."""
    return sum(9 * one.inputs * one.outputs for one in _convolutions(architecture, taps))
