"""What an evaluation costs in memory.

The figures of `BYTES` are peaks measured on a CPU with the taps of Gatys et al. and max pooling,
rounded up: `ru_maxrss` of fresh processes, less what program and network take, per pixel. Taken
whole, 256 to 768 px: 2800 in float32, 2220 in bfloat16; a tile of 768 px in 1536 px: 1930 and 1000.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from nst.network.architecture import VGG_19
from nst.objective.statistics import Distribution, Positions, Statistic
from nst.objective.statistics.gaussian import Gaussian

# Bytes per pixel of a picture taken as a whole; per pixel of a tile, halo included; both for a
# network in float32 and in bfloat16.
BYTES = {"full": {"fp32": 2900, "bf16": 2300}, "tiled": {"fp32": 2300, "bf16": 1300}}
# What a tiled picture's own tensors take per pixel: variables, image, gradient, content features.
BYTES_OUTSIDE_TILES = 92
# What more a pixel of a piece, the whole picture or a tile, costs for each region with a mask, and
# for each region or the whole where a statistic has means and covariances. Measured at 448 px, not
# tiled: four regions took 900 more than none, Wasserstein distances 220, both 1750.
BYTES_OF_GAUSSIAN, BYTES_OF_REGION = 260, 260
# What a value costs that a distribution keeps: it, its order and its slope. Measured at 384 px.
BYTES_OF_VALUE = 26
# Both sides' halo at the deepest of those taps, px.
HALO = 2 * VGG_19.halos(["relu5_1"])[0]


class Extra(NamedTuple):
    """Bytes per pixel that a run takes beside what Gram matrices of whole pictures do.

    Attributes:
        whole: of the whole picture, whether it is tiled or not.
        piece: of a tile, or of the picture where it is taken as a whole.
    """

    whole: float = 0.0
    piece: float = 0.0


NOTHING = Extra()


def extra(statistic: Statistic, taps: Iterable[str], regions: int) -> Extra:
    """What a style term takes more.

    Args:
        statistic: of the term.
        taps: its layers.
        regions: how many regions with masks; 0 is the whole picture.
    """
    piece, times = regions * BYTES_OF_REGION, max(1, regions)
    if isinstance(statistic, Gaussian):
        return Extra(0.0, piece + times * BYTES_OF_GAUSSIAN)
    if isinstance(statistic, Distribution):
        return Extra(times * _kept(statistic, taps), piece)
    return Extra(0.0, piece)


def _kept(statistic: Distribution, taps: Iterable[str]) -> float:
    """Bytes per pixel of the whole picture that a distribution keeps."""
    values = 0.0
    for tap in taps:
        _, channels, *_ = VGG_19.feature_shape((1, 3, 1, 1), tap)
        position = torch.zeros(1, channels, 1, 1)
        found = statistic.gather(position, Positions((1, channels, 1, 1))).shape[1]
        values += found / 4 ** VGG_19.level(tap)
    return BYTES_OF_VALUE * values


def needed(
    height: int, width: int, precision: str, tile_size: int | None = None, extra: Extra = NOTHING
) -> int:
    """Bytes that one evaluation takes, beside the program, the network and the optimizer.

    Args:
        height: of the picture, px.
        width: likewise.
        precision: of the network; what is not `bf16` is float32.
        tile_size: see `nst.objective.Objective`.
        extra: what its style term takes more.
    """
    kind = precision if precision == "bf16" else "fp32"
    always = int(extra.whole * height * width)
    whole = int((BYTES["full"][kind] + extra.piece) * height * width) + always
    if tile_size is None or max(height, width) <= tile_size:
        return whole
    tile = _tile(height, width, tile_size)
    passed = int((BYTES["tiled"][kind] + extra.piece) * tile)
    return passed + BYTES_OUTSIDE_TILES * height * width + always


def largest_piece(height: int, width: int, tile_size: int | None) -> int:
    """Bytes of the largest tensor of an evaluation: the first features of a tile, in float32.

    Args:
        height: of the picture, px.
        width: likewise.
        tile_size: see `nst.objective.Objective`.
    """
    tile = height * width if tile_size is None else _tile(height, width, tile_size)
    return VGG_19.convolutions[0].outputs * 4 * tile


def fitting_size(
    available: int, aspect: float, precision: str = "fp32", extra: Extra = NOTHING
) -> int:
    """The longest side in px of a picture that fits as a whole.

    Args:
        available: bytes.
        aspect: longer by shorter side.
        precision: of the network.
        extra: what its style term takes more.
    """
    pixels = 0.8 * available / needed(1, 1, precision, extra=extra)
    return max(16, int((pixels * aspect) ** 0.5) // 16 * 16)


def _tile(height: int, width: int, tile_size: int) -> int:
    """Pixels of a tile with its halo."""
    return min(height, tile_size + HALO) * min(width, tile_size + HALO)
