"""Texture programs: endless pictures of surfaces, brushwork and scenes, drawn from formulas.

A *program* is a texture with all its parameters fixed: a grating of one frequency, orientation and
sharpness, brush strokes of one length along one kind of flow, leaves of one shape and range of
sizes. Running it again with other random numbers gives another *realisation*: other places and
phases, the same texture. `program(seed)` makes the program that belongs to a number.

A realisation is two planes of values in [0, 1], `tone` and `hue`, without colour yet: whoever uses
it looks colours up in a table (see `train_embedded.py`), so that one realisation serves in any
palette.

    python scripts/textures.py FOLDER --count 40      # the tones of some programs as pictures
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]
Random = np.random.Generator
# Draws a realisation: (random numbers, side in pixels) -> tone and hue, each side x side in [0, 1].
Draw = Callable[[Random, int], tuple[Plane, Plane]]


# --- Building blocks ------------------------------------------------------------------------------


def noise(
    random: Random,
    side: int,
    slope: float,
    low: float = 0,
    high: float = 1e9,
    stretch: float = 1,
    angle: float = 0,
) -> Plane:
    """Gaussian noise with an amplitude spectrum f**-slope, zero mean and unit variance.

    Args:
        random: random numbers.
        side: in pixels.
        slope: 0 is white, 1 like a natural scene, 2 like clouds.
        low: lowest frequency, in cycles per 100 px.
        high: highest frequency, in cycles per 100 px.
        stretch: how many times longer its features are along `angle` than across.
        angle: in radians.
    """
    fy, fx = np.fft.fftfreq(side)[:, None] * 100, np.fft.rfftfreq(side)[None] * 100
    along = (np.cos(angle) * fx + np.sin(angle) * fy) * np.sqrt(stretch)
    across = (np.cos(angle) * fy - np.sin(angle) * fx) / np.sqrt(stretch)
    frequency = np.hypot(along, across)
    amplitude = np.maximum(frequency, 100 / side) ** -slope
    # Soft ends: a sharp band would ring.
    amplitude = (
        amplitude
        * np.exp(-((frequency / high) ** 4))
        * (1 - np.exp(-((frequency / max(low, 1e-9)) ** 4)))
    )
    amplitude[0, 0] = 0
    plane = np.fft.irfft2(
        np.fft.rfft2(random.standard_normal((side, side))) * amplitude, s=(side, side)
    )
    return (plane / (plane.std() + 1e-9)).astype(np.float32)


def unit(plane: Plane, contrast: float = 1) -> Plane:
    """Values of zero mean and unit variance brought into [0, 1] by a smooth curve."""
    return 0.5 + 0.5 * np.tanh(contrast * plane)


@dataclass(frozen=True)
class Ground:
    """A program's coordinates: scale, rotation, anisotropy and warp of the plane."""

    angle: float
    stretch: float
    warp: float
    reach: float

    @classmethod
    def make(cls, random: Random) -> "Ground":
        """Draw the parameters of a program."""
        return cls(
            angle=random.uniform(0, np.pi),
            stretch=random.choice([1.0, random.uniform(1, 3)]),
            warp=random.choice([0.0, random.uniform(1, 6), random.uniform(4, 16)]),
            reach=random.uniform(1, 5),
        )

    def __call__(self, random: Random, side: int) -> tuple[Plane, Plane]:
        """The two coordinates of every pixel, in pixels, at a random place."""
        y, x = np.mgrid[:side, :side].astype(np.float32)
        if self.warp:
            x = x + self.warp * noise(random, side, 2, high=self.reach)
            y = y + self.warp * noise(random, side, 2, high=self.reach)
        x, y = x + random.uniform(0, 1000), y + random.uniform(0, 1000)
        u = (np.cos(self.angle) * x + np.sin(self.angle) * y) / self.stretch
        v = np.cos(self.angle) * y - np.sin(self.angle) * x
        return u.astype(np.float32), v.astype(np.float32)


def cells(random: Random, i: NDArray, j: NDArray, values: int = 1) -> list[Plane]:
    """A random value for each cell (i, j) of an endless lattice, repeating after 64 cells."""
    table = random.random((values, 64, 64), dtype=np.float32)
    return [table[k][i.astype(int) % 64, j.astype(int) % 64] for k in range(values)]


def log_uniform(random: Random, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


class Canvas:
    """Tone and hue painted with Pillow at twice the size, then averaged down."""

    def __init__(self, tone: Plane, hue: Plane):
        self.images = [
            Image.fromarray((255 * plane.clip(0, 1)).astype(np.uint8)).resize([2 * len(plane)] * 2)
            for plane in (tone, hue)
        ]
        self.brushes = [ImageDraw.Draw(image) for image in self.images]

    def line(self, points: NDArray, tone: float, hue: float, width: float) -> None:
        """A line through points (n x 2) in pixels."""
        flat = [tuple(point) for point in (2 * points).tolist()]
        for brush, value in zip(self.brushes, (tone, hue), strict=True):
            brush.line(
                flat,
                fill=int(255 * min(max(value, 0), 1)),
                width=max(1, round(2 * width)),
                joint="curve",
            )

    def polygon(
        self, points: NDArray, tone: float, hue: float, outline: float | None = None
    ) -> None:
        """A filled polygon through points (n x 2) in pixels, with a line around it of one tone."""
        flat = [tuple(point) for point in (2 * points).tolist()]
        for brush, value in zip(self.brushes, (tone, hue), strict=True):
            brush.polygon(flat, fill=int(255 * min(max(value, 0), 1)))
        if outline is not None:
            self.brushes[0].line([*flat, flat[0]], fill=int(255 * outline), width=2)

    def planes(self) -> tuple[Plane, Plane]:
        """What was painted."""
        tone, hue = (np.asarray(image.reduce(2), np.float32) / 255 for image in self.images)
        return tone, hue


# --- Families: each draws the parameters of a program and returns what draws its realisations -----


def gratings(random: Random) -> Draw:
    """One to three plane waves, from soft to square."""
    ground, count = Ground.make(random), random.integers(1, 4)
    periods = [log_uniform(random, 3, 30) for _ in range(count)]
    angles = [0.0, *random.uniform(0, np.pi, 2)]
    sharpness, duty = log_uniform(random, 0.6, 6), random.uniform(-0.6, 0.6)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        u, v = ground(random, side)
        waves = [
            np.sin(2 * np.pi * (np.cos(a) * u + np.sin(a) * v) / p)
            for p, a in zip(periods, angles, strict=False)
        ]
        return unit(sum(waves) / np.sqrt(count) + duty, sharpness), unit(
            noise(random, side, 2, high=3)
        )

    return draw


def noises(random: Random) -> Draw:
    """Coloured, banded or ridged noise, smooth or cut into blobs."""
    slope, angle = random.uniform(0, 2.2), random.uniform(0, np.pi)
    centre = random.choice([0.0, log_uniform(random, 3, 25)])
    stretch = random.choice([1.0, log_uniform(random, 1.5, 12)])
    kind, sharpness = random.choice(["plain", "ridged", "blobs"]), log_uniform(random, 0.7, 6)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        band = (0.6 * centre, 1.6 * centre) if centre else (0, 1e9)
        plane = noise(random, side, slope, *band, stretch, angle)
        if kind == "ridged":
            plane = 1.6 * (np.abs(plane) - 0.6)
        tone = unit(plane, sharpness if kind == "blobs" else 0.8)
        return tone, unit(noise(random, side, 1, *band, stretch, angle))

    return draw


def voronoi(random: Random) -> Draw:
    """Cells around jittered points: flat, domed, cracked or veined."""
    ground, spacing = Ground.make(random), log_uniform(random, 5, 36)
    jitter, kind = random.uniform(0.3, 1), random.choice(["flat", "dome", "cracks", "stained"])
    width, metric = random.uniform(0.04, 0.3), random.choice([1.0, 2.0, 4.0])

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        u, v = (plane / spacing for plane in ground(random, side))
        i, j = np.floor(u), np.floor(v)
        table = random.random((4, 64, 64), dtype=np.float32)
        first, second = np.full_like(u, 9), np.full_like(u, 9)
        tone, hue = np.zeros_like(u), np.zeros_like(u)
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                a, b = (i + di).astype(int) % 64, (j + dj).astype(int) % 64
                x = np.abs(i + di + 0.5 + jitter * (table[0][a, b] - 0.5) - u)
                y = np.abs(j + dj + 0.5 + jitter * (table[1][a, b] - 0.5) - v)
                distance = (x**metric + y**metric) ** (1 / metric)
                nearer = distance < first
                second = np.where(nearer, first, np.minimum(second, distance))
                first = np.where(nearer, distance, first)
                tone = np.where(nearer, table[2][a, b], tone)
                hue = np.where(nearer, table[3][a, b], hue)
        edge = np.clip((second - first) / width, 0, 1)
        if kind == "dome":
            tone = 1 - first
        elif kind == "cracks":
            tone = edge
        elif kind == "stained":
            tone = tone * edge
        return tone.clip(0, 1), hue

    return draw


def lattices(random: Random) -> Draw:
    """Bricks, dots, checks, crosses, scales and weaves, each cell with a tone of its own."""
    ground = Ground.make(random)
    kind = random.choice(["bricks", "dots", "checks", "crosses", "scales", "weave"])
    size, aspect = log_uniform(random, 5, 30), random.choice([1.0, random.uniform(1, 3)])
    gap, vary, soft = random.uniform(0.05, 0.35), random.uniform(0, 0.8), log_uniform(random, 3, 20)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        u, v = ground(random, side)
        v = v / size
        j = np.floor(v)
        shift = {"bricks": 0.5, "scales": 0.5, "dots": 0.5}.get(str(kind), 0.0)
        u = u / (size * aspect) + shift * (j % 2)
        i = np.floor(u)
        own, hue = cells(random, i, j, 2)
        x, y = np.abs(u - i - 0.5), np.abs(v - j - 0.5)
        if kind == "dots":
            inside = 0.5 - gap - np.hypot(x, y)
        elif kind == "crosses":
            inside = gap / 2 - np.minimum(x, y)
        elif kind == "scales":
            inside = 0.55 - np.hypot(x, (v - j) * 0.6)
        elif kind == "checks":
            inside = ((i + j) % 2) - 0.5
        elif kind == "weave":
            inside = np.where((i + j) % 2 > 0, 0.5 - gap - x, 0.5 - gap - y) * 0.6
        else:
            inside = 0.5 - gap / 2 - np.maximum(x, y)
        tone = unit(inside.astype(np.float32), soft)
        return tone * (1 - vary) + vary * tone * own, hue

    return draw


def strokes(random: Random) -> Draw:
    """Brush strokes along a flow, each with a tone near that of a hidden picture, and bristles."""
    length, width = log_uniform(random, 5, 50), log_uniform(random, 1, 8)
    angle, swing, turn = (
        random.uniform(0, 2 * np.pi),
        random.choice([0.0, random.uniform(0.2, 3)]),
        random.uniform(0.6, 4),
    )
    spread, scatter, bristle = (
        random.uniform(0.05, 0.35),
        random.uniform(0, 0.4),
        random.choice([0.0, random.uniform(0.1, 0.3)]),
    )
    cover, slope = random.uniform(1, 2.5), random.uniform(1, 2)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        flow = angle + swing * noise(random, side, 2, high=turn)
        tone = unit(noise(random, side, slope, high=6), 0.9)
        hue = unit(noise(random, side, slope, high=6))
        canvas, steps = Canvas(tone, hue), 5
        count = int(min(cover * side * side / (length * width), 1400))
        place = random.uniform(0, side, (count, 2))
        own = np.stack(
            [plane[place[:, 1].astype(int), place[:, 0].astype(int)] for plane in (tone, hue)]
        )
        own += spread * random.standard_normal(own.shape)
        offset = scatter * random.standard_normal(count)
        path = [place]
        for _ in range(steps):
            x, y = path[-1].clip(0, side - 1).astype(int).T
            heading = flow[y, x] + offset
            path.append(path[-1] + length / steps * np.stack([np.cos(heading), np.sin(heading)], 1))
        lines = np.stack(path, 1)
        for k, points in enumerate(lines):
            canvas.line(points, own[0, k], own[1, k], width)
            if bristle:
                aside = points + 0.25 * width * np.array([1, -1])
                canvas.line(aside, own[0, k] + bristle, own[1, k], width / 3)
        return canvas.planes()

    return draw


def flows(random: Random) -> Draw:
    """Noise smeared along a flow (line integral convolution): hair, wood, water, van Gogh skies."""
    angle, swing, turn = random.uniform(0, np.pi), random.uniform(0, 3), random.uniform(0.6, 4)
    reach, grain, contrast = (
        random.integers(4, 12),
        log_uniform(random, 4, 40),
        log_uniform(random, 0.7, 4),
    )

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        flow = angle + swing * noise(random, side, 2, high=turn)
        source = noise(random, side, 0, high=grain)
        dx, dy = np.cos(flow), np.sin(flow)
        total = source.copy()
        for way in (-1, 1):
            y, x = np.mgrid[:side, :side].astype(np.float32)
            for _ in range(reach):
                i, j = y.astype(int) % side, x.astype(int) % side
                x, y = x + way * dx[i, j], y + way * dy[i, j]
                total += source[y.astype(int) % side, x.astype(int) % side]
        return unit(total / total.std(), contrast), unit(noise(random, side, 1.5, high=8))

    return draw


def leaves(random: Random) -> Draw:
    """Dead leaves: shapes of a power law of sizes over each other, shaded, outlined or plain."""
    kind, corners = (
        random.choice(["ellipse", "rectangle", "polygon", "star"]),
        random.integers(3, 8),
    )
    small, large = sorted(log_uniform(random, 2, 40) for _ in range(2))
    power, aspect = random.uniform(1, 3), random.choice([1.0, random.uniform(1, 4)])
    angle, free = random.uniform(0, np.pi), random.choice([0.0, 0.3, np.pi])
    outline = random.choice([None, 0.0, 1.0], p=[0.6, 0.25, 0.15])
    inner = random.choice([0.0, random.uniform(0.2, 0.6)])
    fine = random.choice([gratings, noises])(random)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        canvas = Canvas(
            np.full((side, side), 0.5, np.float32), np.full((side, side), 0.5, np.float32)
        )
        count = int(min(6 * side * side / (3 * (small + 2) * (large + 2)), 700))
        sizes = (
            small**-power + random.random(count) * ((large + 1) ** -power - small**-power)
        ) ** (-1 / power)
        for size in sizes:
            turn = angle + free * random.uniform(-1, 1)
            n = {"ellipse": 16, "rectangle": 4, "polygon": int(corners), "star": 2 * int(corners)}[
                str(kind)
            ]
            theta = 2 * np.pi * (np.arange(n) + 0.5) / n
            radius = (
                size * np.where(np.arange(n) % 2, 0.45, 1.0) if kind == "star" else np.full(n, size)
            )
            shape = np.stack([aspect * radius * np.cos(theta), radius * np.sin(theta)], 1)
            rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            place = random.uniform(-size, side + size, 2)
            canvas.polygon(shape @ rotation + place, random.random(), random.random(), outline)
        tone, hue = canvas.planes()
        if inner:
            tone = tone + inner * (fine(random, side)[0] - 0.5)
        return tone.clip(0, 1), hue

    return draw


def rings(random: Random) -> Draw:
    """Circles or spirals around the centres of large cells."""
    ground, spacing, period = (
        Ground.make(random),
        log_uniform(random, 24, 90),
        log_uniform(random, 3, 16),
    )
    arms, sharpness = random.choice([0, 0, 1, 3]), log_uniform(random, 0.6, 5)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        u, v = ground(random, side)
        i, j = np.floor(u / spacing), np.floor(v / spacing)
        own, hue = cells(random, i, j, 2)
        x, y = u - (i + 0.5) * spacing, v - (j + 0.5) * spacing
        wave = np.sin(2 * np.pi * (np.hypot(x, y) / period + own) + arms * np.arctan2(y, x))
        return unit(wave, sharpness), hue

    return draw


def hatchings(random: Random) -> Draw:
    """Engraver's lines, once or crossed, whose width follows a hidden picture."""
    ground, period = Ground.make(random), log_uniform(random, 3, 10)
    cross, depth, soft = (
        random.choice([0.0, random.uniform(0.4, 1.6)]),
        random.uniform(0.3, 0.7),
        log_uniform(random, 3, 12),
    )
    slope = random.uniform(1, 2)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        u, v = ground(random, side)
        dark = unit(noise(random, side, slope, high=5), 1.2) * depth
        ink = np.abs(np.sin(np.pi * u / period)) - dark
        if cross:
            second = np.abs(np.sin(np.pi * (np.cos(cross) * u + np.sin(cross) * v) / period))
            ink = np.minimum(ink, second - dark + 0.25)
        return unit(ink, soft), unit(noise(random, side, 2, high=3))

    return draw


def scribbles(random: Random) -> Draw:
    """Thin random curves, from long loops to the short signs of a script."""
    count, length, width = (
        random.integers(15, 140),
        log_uniform(random, 8, 90),
        random.uniform(0.6, 3),
    )
    bend, lined = log_uniform(random, 0.1, 1.5), random.choice([0.0, random.uniform(8, 20)])
    dark, back = random.choice([0.1, 0.9]), random.uniform(0.4, 0.6)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        ground = back + 0.1 * noise(random, side, 1.5)
        canvas, steps = Canvas(ground, unit(noise(random, side, 2, high=4))), 8
        for _ in range(count):
            place, heading = random.uniform(0, side, 2), random.uniform(0, 2 * np.pi)
            if lined:
                place[1] = np.round(place[1] / lined) * lined
            headings = heading + np.cumsum(bend * random.standard_normal(steps))
            turns = np.stack([np.cos(headings), np.sin(headings)], 1)
            points = place + np.cumsum(turns, 0) * length / steps
            canvas.line(points, dark + 0.1 * random.standard_normal(), random.random(), width)
        return canvas.planes()

    return draw


_FAMILIES = (
    gratings,
    noises,
    voronoi,
    lattices,
    strokes,
    flows,
    leaves,
    rings,
    hatchings,
    scribbles,
)
_SHARES = np.array([8, 12, 11, 8, 20, 11, 16, 4, 5, 5]) / 100


def mixtures(random: Random) -> Draw:
    """Two textures: one within large regions of the other, or a coarse one under a fine one."""
    first, second = _single(random), _single(random)
    regions = random.choice([leaves, noises, voronoi])(random) if random.random() < 0.6 else None
    share = random.uniform(0.3, 0.7)

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        (tone, hue), (other, other_hue) = first(random, side), second(random, side)
        if regions is None:
            return tone * (1 - share) + other * share, np.where(share > 0.5, other_hue, hue)
        # Regions are drawn small and enlarged: scenes have parts larger than their textures.
        mask, _ = regions(random, side // 2)
        mask = unit(np.kron(mask, np.ones((2, 2), np.float32)) - share, 6)[:side, :side]
        return tone * (1 - mask) + other * mask, hue * (1 - mask) + other_hue * mask

    return draw


def _single(random: Random) -> Draw:
    return random.choice(np.array(_FAMILIES, object), p=_SHARES)(random)  # type: ignore[no-any-return]


def program(seed: int) -> Draw:
    """The program that belongs to a number: a family, its parameters, light, grain and softness."""
    random = np.random.default_rng([seed, 1])
    inner = mixtures(random) if random.random() < 0.25 else _single(random)
    shade = random.choice([0.0, random.uniform(0.1, 0.4)])
    grain = random.choice([0.0, 0.0, random.uniform(0.02, 0.12)])
    soft = random.choice([1e9, 1e9, random.uniform(12, 30)])

    def draw(random: Random, side: int) -> tuple[Plane, Plane]:
        tone, hue = inner(random, side)
        if soft < 1e9:
            frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * 100
            tone = np.fft.irfft2(
                np.fft.rfft2(tone) * np.exp(-((frequency / soft) ** 2)), s=tone.shape
            )
        if shade:
            tone = tone + shade * noise(random, side, 2, high=1)
        if grain:
            tone = tone + grain * random.standard_normal(tone.shape)
        return tone.clip(0, 1).astype(np.float32), hue.clip(0, 1).astype(np.float32)

    return draw


def realisations(seed: int, count: int, side: int) -> NDArray[np.uint8]:
    """The first realisations of program `seed`: count x 2 (tone, hue) x side x side bytes."""
    draw = program(seed)
    drawn = [draw(np.random.default_rng([seed, 2, number]), side) for number in range(count)]
    return (255 * np.array(drawn) + 0.5).astype(np.uint8)


def main() -> None:
    """Draw pictures of programs that no network of this project was trained on."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=1_000_000_000, help="seed of the first")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--side", type=int, default=512, help="px")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.first, options.first + options.count):
        tone = realisations(seed, 1, options.side)[0, 0]
        Image.fromarray(tone).save(options.folder / f"{seed}.png")


if __name__ == "__main__":
    main()
