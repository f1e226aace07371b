"""What all sample pictures are drawn with: colours, noise, averaging down, and maps of regions."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

SS = 2  # supersampling: everything is drawn at twice the size and averaged down
GRID = np.random.default_rng(7).uniform(0, 2 * np.pi, (256, 256))
# Unit vectors at the corners of a lattice, row by row.
ALONG_X, ALONG_Y = np.cos(GRID).astype(np.float32), np.sin(GRID).astype(np.float32)


class Region(IntEnum):
    """What a part of a picture is, to be painted like the same part of a style."""

    SKY = 0
    LAND = 1
    WATER = 2
    NEAR = 3  # what stands in front: buildings, the ground they stand on, boat, tree


# a map of regions has exactly these colours, and no blends of them
COLOURS = {
    Region.SKY: (0, 0, 255),
    Region.LAND: (0, 255, 0),
    Region.WATER: (0, 255, 255),
    Region.NEAR: (255, 0, 0),
}


def smooth(low: float, high: float, x: Array) -> Array:
    """Rise from 0 to 1 between low and high without a kink."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, t: Array) -> Array:
    """Blend colours a and b by the weights t, which lack the colour axis."""
    return a + (b - a) * np.asarray(t)[..., None]


def rgb(*values: float) -> Array:
    """Make a colour."""
    return np.array(values, np.float32)


def noise(x: Array, y: Array) -> Array:
    """Give Perlin's gradient noise, about -0.7 to 0.7, at any points."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    ix, iy = x0.astype(np.int32), y0.astype(np.int32)

    def corner(dx: int, dy: int) -> Array:
        there = ((ix + dx) & 255) * 256 + ((iy + dy) & 255)
        return ALONG_X.take(there) * (fx - dx) + ALONG_Y.take(there) * (fy - dy)

    u, v = fx**3 * (fx * (fx * 6 - 15) + 10), fy**3 * (fy * (fy * 6 - 15) + 10)
    top = corner(0, 0) * (1 - u) + corner(1, 0) * u
    return top * (1 - v) + (corner(0, 1) * (1 - u) + corner(1, 1) * u) * v


def fbm(x: Array, y: Array, octaves: int = 6, ridged: bool = False) -> Array:
    """Sum noise over octaves; ridged folds it into sharp crests with smooth valleys."""
    total, weight, amplitude = np.zeros(np.broadcast(x, y).shape, np.float32), 1.0, 1.0
    for octave in range(octaves):
        n = noise(x + 17.3 * octave, y - 31.7 * octave)
        if ridged:
            n = (1 - 1.6 * np.abs(n)) ** 2 * weight
            weight = np.clip(1.6 * n, 0, 1)  # crests get the detail, valleys stay smooth
        total += amplitude * n
        # each octave is turned as well as doubled, or the lattice would show
        x, y, amplitude = 1.6 * x + 1.2 * y, 1.6 * y - 1.2 * x, amplitude * 0.5
    return total


def to_image(picture: Array, size: tuple[int, int]) -> Image.Image:
    """Average a supersampled picture down to its final size."""
    pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def region_map(shares: Array) -> Image.Image:
    """Give each pixel the colour of the region with the largest of its shares, the last axis."""
    return Image.fromarray(np.array([COLOURS[r] for r in Region], np.uint8)[shares.argmax(-1)])
