"""What evaluations cost in memory.

The way back through the network needs what came out of each layer on the way there, which follows
from the architecture (`saved`). What an evaluation takes of memory is more: gradients of the
largest layers, and the gaps between pieces that the C library keeps for the next evaluation. Beside
an objective of shallow layers the measurement of the picture at the end takes the most
(`measurement`), which is by all layers of Gatys et al. in float32. The factors are fitted to
measured peaks: the resident memory of fresh processes on a CPU, less what the program takes, at 512
and 1024 px, as a whole and in tiles, with one layer up to all of Gatys et al. What the same run
takes varies from process to process by a quarter, with where gaps come to lie; the estimate is in
the middle, and right within 15 % for the median of a few (`tests/test_memory_estimate.py`). At less
than 512 px gaps take more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from nst.network.architecture import VGG_19, Architecture
from nst.network.vgg import Pooling
from nst.objective.statistics import Comparison, Distribution, Positions, Statistic
from nst.objective.statistics.base import described
from nst.objective.statistics.gaussian import Gaussian
from nst.objective.tiling import largest_tile

# What a picture's own tensors take per pixel beside the optimizer's: the pictures, the variables
# and the best image; and in an evaluation the image and its gradient, and what the gamut and the
# Fourier transforms make of both.
BYTES_OF_PICTURE = 102
# The same in the measurement at the end: the pictures, the best and the last image, what is saved
# of it, and what they are made of. Runs at 1536 and 8192 px, in tiles, took 126 to 144.
BYTES_OF_MEASUREMENT = 128
# Factors of what is saved, and of the largest layer.
OF_SAVED, OF_LARGEST = 1.06, 2.65
# Of the largest layer, where nothing is differentiated. Runs at 512 and 768 px took 0.9 to 1.2
# times what comes out.
OF_LARGEST_ALONE = 3.4
# What more a pixel of a piece, the whole picture or a tile, costs for each region with a mask, and
# for each region or the whole where a statistic has means and covariances.
BYTES_OF_GAUSSIAN, BYTES_OF_REGION = 125, 50
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
        halos: of its tiles, see `nst.network.architecture.Architecture.halos`.
        after: what the measurement of the finished picture costs, when the evaluations are done.
    """

    network: int
    pixel: float
    piece: float
    halos: tuple[int, ...]
    after: "Cost | None" = None

    def needed(self, height: int, width: int, tile_size: int | None = None) -> int:
        """Bytes for pictures of a height and width.

        Args:
            height: px.
            width: px.
            tile_size: see `nst.objective.Objective`.
        """
        outside = self.network + self.pixel * height * width
        found = int(outside + self.piece * largest_tile(height, width, tile_size, self.halos))
        return max(found, self.after.needed(height, width, tile_size)) if self.after else found

    def largest_piece(self, height: int, width: int, tile_size: int | None) -> int:
        """Bytes of the largest layer of an evaluation, in float32."""
        return LARGEST * largest_tile(height, width, tile_size, self.halos)


def cost(
    terms: Iterable[tuple[Statistic, Iterable[str]]],
    precision: str = "fp32",
    regions: int = 0,
    architecture: Architecture = VGG_19,
    pooling: Pooling = "max",
    joint: bool = True,
) -> Cost:
    """What evaluations of some terms cost.

    Args:
        terms: of each its statistic and its layers.
        precision: of the network; what is not `bf16` is float32.
        regions: how many regions with masks; 0 is the whole picture.
        architecture: of the network.
        pooling: likewise.
        joint: see `nst.objective.Objective`; without it each term has a pass of its own.
    """
    terms = [(statistic, list(taps)) for statistic, taps in terms]
    taps = [tap for _, own in terms for tap in own]
    if not taps:
        return Cost(0, BYTES_OF_PICTURE, 0.0, (0,))
    itemsize = 2 if precision == "bf16" else 4
    filters = _filters(architecture, taps)
    pixel: float = BYTES_OF_PICTURE
    passes = [taps] if joint else [own for _, own in terms if own]
    piece = OF_SAVED * sum(saved(architecture, own, pooling, itemsize) for own in passes)
    piece += len(passes) * OF_LARGEST * LARGEST * itemsize / 4 + regions * BYTES_OF_REGION
    for statistic, own in terms:
        if isinstance(statistic, Gaussian):
            piece += max(1, regions) * BYTES_OF_GAUSSIAN
        for tap in own:
            pixel += _kept(statistic, tap, architecture, itemsize, max(1, regions))
    return Cost(
        network=filters * (itemsize + 4 if itemsize < 4 else itemsize),
        pixel=pixel,
        piece=piece,
        halos=architecture.halos(taps),
    )


def measurement(
    architecture: Architecture,
    terms: Iterable[tuple[Statistic, Iterable[str]]],
    yardstick: Iterable[tuple[Statistic, Iterable[str]]],
    regions: int = 0,
) -> Cost:
    """What the measurement of a picture costs, in float32 and without gradients.

    By the yardstick too, unless its terms are the run's own; it takes the run's own network where
    that is deep enough.

    Args:
        architecture: of the network.
        terms: the run's own, of each its statistic and its layers.
        yardstick: likewise.
        regions: see `cost`.
    """
    objectives = [[(one, tap) for one, taps in own for tap in taps] for own in (terms, yardstick)]
    ours, others = ({(described(one), tap) for one, tap in own} for own in objectives)
    if ours == others:
        objectives.pop()
    networks = [{tap for _, tap in own} for own in objectives]
    if networks[0] >= networks[-1]:
        networks = networks[:1]
    itemsize = torch.float32.itemsize
    return Cost(
        network=sum(_filters(architecture, taps) for taps in networks) * itemsize,
        pixel=BYTES_OF_MEASUREMENT
        + sum(
            _kept(one, tap, architecture, itemsize, max(1, regions))
            for own in objectives
            for one, tap in own
        ),
        piece=OF_LARGEST_ALONE * LARGEST,
        halos=max(architecture.halos(taps) for taps in networks),
    )


def _filters(architecture: Architecture, taps: Iterable[str]) -> int:
    """How many numbers the filters are that lead to some layers."""
    return sum(9 * one.inputs * one.outputs for one in architecture.convolutions_for(taps))


def saved(
    architecture: Architecture, taps: Iterable[str], pooling: Pooling, itemsize: int
) -> float:
    """Bytes for each px of a picture that the way back through the network needs.

    Args:
        architecture: of the network.
        taps: its layers, at least one.
        pooling: `max` needs to know where each maximum was, `l2` the squares, their means and the
            roots.
        itemsize: of a value, bytes.
    """
    found, before = 3.0 * itemsize, 0.0
    for name, *_, outputs in architecture.convolutions_for(taps):
        if architecture.pooling_before(name):
            pooled = before / 4
            found += itemsize * pooled
            if pooling == "max":
                found += torch.int64.itemsize * pooled
            elif pooling == "l2":
                found += itemsize * (before + 4 * pooled)
        before = outputs / 4 ** architecture.level(name)
        found += itemsize * before
    return found


def _kept(
    statistic: Statistic, tap: str, architecture: Architecture, itemsize: int, times: int
) -> float:
    """Bytes for each px of a picture that a statistic keeps of a layer, some of them `times`."""
    shape = architecture.feature_shape((1, 3, 1, 1), tap)
    channels, there = shape[1], 4.0 ** architecture.level(tap)
    if isinstance(statistic, Comparison):
        return itemsize * channels / there
    if isinstance(statistic, Distribution):
        position = torch.zeros(1, channels, 1, 1)
        values: int = statistic.gather(position, Positions((1, channels, 1, 1))).shape[1]
        return times * BYTES_OF_VALUE * values / there
    return 0.0
