"""The third style sample: dahlias in pen and ink, hatched, with a few muted washes.

Petals and leaves are laid over each other from back to front. Each covers what lies under it, is
hatched along its own length, more so on the side away from the light, and again across where it is
darkest; behind them all the paper is hatched in three directions.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.drawing import Array, fbm, mix, noise, rgb

Wash = tuple[float, ...]  # the share of red, green and blue that it lets through

SIZE = (768, 768)
FINE = 4  # the pen's lines are about one pixel wide: they are drawn at four times the size
LIGHT = np.array([-0.6, -0.8])  # where the light comes from, in the plane of the picture
GOLDEN = np.pi * (3 - 5**0.5)
PAPER, INK = rgb(0.968, 0.938, 0.865), rgb(0.135, 0.115, 0.125)
NIGHT, SAGE = (0.80, 0.82, 0.85), (0.86, 0.885, 0.80)
ROSE, OCHRE, BLANK = (0.94, 0.80, 0.76), (0.95, 0.87, 0.70), (0.985, 0.985, 0.985)
# centre and radius in pixels, petals, tilt (how flat it looks, and towards where), wash
FLOWERS = (
    (700, 60, 114, 84, 0.80, 2.4, OCHRE),
    (58, 92, 122, 88, 0.80, 0.8, BLANK),
    (392, 38, 98, 72, 0.74, 1.5, ROSE),
    (36, 432, 104, 76, 0.76, 0.1, OCHRE),
    (735, 640, 128, 92, 0.78, 3.6, ROSE),
    (408, 735, 114, 84, 0.78, 4.7, BLANK),
    (112, 700, 132, 94, 0.80, 5.4, ROSE),
    (598, 296, 155, 110, 0.88, 2.8, BLANK),
    (300, 340, 205, 135, 0.94, 1.2, ROSE),
    (520, 565, 145, 104, 0.90, 4.2, OCHRE),
)


class Sheet:
    """The paper: a layer of ink and a layer of wash; places are in pixels of the final picture."""

    def __init__(self) -> None:
        self.ink = Image.new("L", (SIZE[0] * FINE, SIZE[1] * FINE), 0)
        self.wash = Image.new("RGB", SIZE, "white")
        self._pen, self._brush = ImageDraw.Draw(self.ink), ImageDraw.Draw(self.wash)

    def cover(self, outline: Array, wash: Wash, weight: float) -> None:
        """Lay a shape over what is there: its wash, no ink, and a contour of about a weight."""
        self.tint(outline, wash)
        fine = outline * FINE
        out = fine - fine.mean(0)
        out /= np.linalg.norm(out, axis=1, keepdims=True) + 1e-6
        heavy = weight * FINE * (1 - 0.6 * out @ LIGHT)  # the pen presses in the shade
        self._pen.polygon((fine + out * heavy[:, None]).ravel().tolist(), 255)
        self._pen.polygon(fine.ravel().tolist(), 0)

    def tint(self, outline: Array, wash: Wash) -> None:
        """Wash a shape."""
        self._brush.polygon(outline.ravel().tolist(), tuple(int(255 * c) for c in wash))

    def strokes(self, paths: Array, widths: Array) -> None:
        """Draw lines (n, points, 2) with the width that each has at each point."""
        way = np.gradient(paths, axis=1)
        across = np.stack([-way[..., 1], way[..., 0]], -1)
        across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-6
        across *= np.broadcast_to(widths, paths.shape[:2])[..., None] / 2
        shapes = np.concatenate([paths + across, (paths - across)[:, ::-1]], 1) * FINE
        for shape in shapes.reshape(len(shapes), -1).tolist():
            self._pen.polygon(shape, 255)


@dataclass(frozen=True)
class Blade:
    """A petal or a leaf: a bent axis from its base, and how wide it is along that."""

    base: Array
    heading: float
    length: float
    width: float  # half of it, where it is widest
    bend: float
    belly: float  # below 1 it is widest towards the base, above 1 towards the tip
    centre: Array
    warp: Array  # of the plane about the centre: how a flower looks from the side

    def at(self, s: Array, q: Array | float) -> Array:
        """Give the place at s from base (0) to tip (1) and q from one margin (-1) to the other."""
        turn = self.heading + self.bend * s
        along = np.stack([np.cos(turn), np.sin(turn)], -1)
        across = np.stack([-np.sin(turn), np.cos(turn)], -1)
        half = self.width * np.sin(np.pi * np.clip(s, 0, 1) ** self.belly) ** 0.75
        place = self.base + along * (self.length * s)[..., None] + across * (half * q)[..., None]
        return self.centre + (place - self.centre) @ self.warp

    def between(self, s: Array, q: float) -> Array:
        """Give the outline of what lies within q of the axis."""
        return np.concatenate([self.at(s, -q), self.at(s, q)[::-1]])


def petal(rng: np.random.Generator, sheet: Sheet, blade: Blade, wash: Wash, dim: float) -> None:
    """Draw one petal, a channel open to the viewer."""
    sheet.cover(blade.between((1 - np.cos(np.linspace(0, np.pi, 18))) / 2, 1), wash, 0.55)
    sheet.tint(blade.between(np.linspace(0, 0.55, 8), 0.8), tuple(c**1.9 for c in wash))
    way = np.array([np.cos(blade.heading), np.sin(blade.heading)]) @ blade.warp
    side = np.array([-way[1], way[0]])
    count = max(7, round(blade.width * 2 / 2.1))
    q = np.linspace(-0.92, 0.92, count) + rng.normal(0, 0.03, count)
    tone = dim - 0.22 * way @ LIGHT
    dark = np.clip(tone + 0.34 * q * (side @ LIGHT), 0.02, 1)
    reach = np.clip(0.50 + 0.62 * dark + rng.normal(0, 0.06, count), 0.4, 0.96)
    t = np.linspace(0, 1, 9)
    paths = blade.at(0.02 + t * reach[:, None], q[:, None])
    sheet.strokes(paths, (0.75 + 0.8 * dark)[:, None] * (1 - t) ** 0.55 + 0.10)
    # a few short lines come back from the tip
    tips = np.array([-0.5, 0.1, 0.55]) + rng.normal(0, 0.1, 3)
    start = rng.uniform(0.06, 0.16, 3)
    sheet.strokes(blade.at(0.95 - t * start[:, None], tips[:, None]), 0.55 * (1 - t) + 0.1)
    if tone > 0.36:  # in the shade also across, from the margin that is darker
        rows = np.arange(0.12, 0.80, 2.4 / blade.length)
        low = -0.1 + rng.normal(0, 0.12, len(rows)) + 0.6 * np.maximum(rows - 0.4, 0)
        across = np.sign(side @ LIGHT) * (low[:, None] + (0.94 - low)[:, None] * t)
        sheet.strokes(blade.at(rows[:, None] + 0.06 * t, across), 0.15 + 0.7 * t)


def dahlia(
    rng: np.random.Generator,
    sheet: Sheet,
    x: float,
    y: float,
    radius: float,
    petals: int,
    flat: float,
    towards: float,
    wash: Wash,
) -> None:
    """Draw a flower from its outer petals to its heart, each a golden angle from the last."""
    c, s = np.cos(towards), np.sin(towards)
    turn = np.array([[c, s], [-s, c]])
    warp, centre = turn.T @ np.diag([flat, 1]) @ turn, np.array([x, y], float)
    for k in reversed(range(petals)):
        t = ((k + 0.5) / petals) ** 0.5
        heading = k * GOLDEN + rng.normal(0, 0.05)
        length = radius * (0.14 + 0.36 * t) * rng.uniform(0.93, 1.07)
        start = radius * (0.06 + 0.94 * t) - length
        base = centre + start * np.array([np.cos(heading), np.sin(heading)])
        width = radius * (0.045 + 0.09 * t) * rng.uniform(0.9, 1.1)
        blade = Blade(base, heading, length, width, rng.normal(0, 0.12), 1.25, centre, warp)
        petal(rng, sheet, blade, wash, 0.30 + 0.22 * (1 - t))


def leaf(rng: np.random.Generator, sheet: Sheet, x: float, y: float, heading: float) -> None:
    """Draw a leaf with its veins, one half of it in the shade."""
    base, length = np.array([x, y]), rng.uniform(95, 150)
    bend = rng.normal(0, 0.25)
    blade = Blade(base, heading, length, 0.25 * length, bend, 0.8, base, np.eye(2))
    sheet.cover(blade.between((1 - np.cos(np.linspace(0, np.pi, 18))) / 2, 1), SAGE, 0.6)
    t = np.linspace(0, 1, 10)
    side = np.array([-np.sin(heading), np.cos(heading)])
    for sign in (-1.0, 1.0):
        dark = 0.5 - 0.5 * sign * (side @ LIGHT)
        rows = np.arange(0.02, 0.86, 3.0 / length)
        rows += rng.normal(0, 0.003, len(rows))
        reach = np.clip(0.55 + 0.4 * dark + rng.normal(0, 0.1, len(rows)), 0.3, 0.97)
        paths = blade.at(rows[:, None] + 0.16 * t**1.2, sign * t * reach[:, None])
        sheet.strokes(paths, (0.45 + 0.7 * dark) * (1 - 0.75 * t))
        veins = np.arange(0.08, 0.80, 0.11)
        sheet.strokes(blade.at(veins[:, None] + 0.17 * t**1.2, sign * t), 1.5 * (1 - 0.7 * t))
        if dark > 0.5:  # the shaded half is hatched along its length too
            rows = np.arange(0.08, 0.95, 0.13)
            ends = 0.75 - 0.15 * rows
            sheet.strokes(blade.at(0.1 + t * ends[:, None], sign * rows[:, None]), 0.9 - 0.4 * t)
    sheet.strokes(blade.at(t, 0.0)[None], 2.2 * (1 - 0.8 * t))


def hatching(rng: np.random.Generator, sheet: Sheet) -> None:
    """Hatch the whole sheet in three directions, by hand: no line is quite straight."""
    half = SIZE[0] / 2
    sheet.tint(half + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), NIGHT)
    t = np.linspace(-1.46 * half, 1.46 * half, 40)
    for angle, gap in ((0.70, 4.6), (2.25, 4.8), (1.25, 6.2)):
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        lines = np.arange(t[0], t[-1], gap)[:, None]
        place = lines + 4 * noise(t / 70, lines / 40) + rng.normal(0, 0.8, lines.shape)
        paths = half + along * t[:, None] + across * place[..., None]
        sheet.strokes(paths, 1.45 + 0.6 * noise(t / 25 + 40, lines / 3))


def draw() -> dict[str, Image.Image]:
    """Draw the ground, then the leaves, then the flowers."""
    rng, sheet = np.random.default_rng(9), Sheet()
    hatching(rng, sheet)
    spots = np.mgrid[-20:800:62, -20:800:62].reshape(2, -1).T
    for spot in rng.permutation(spots):
        x, y = spot + rng.uniform(-26, 26, 2)
        leaf(rng, sheet, x, y, rng.uniform(0, 2 * np.pi))
    for flower in FLOWERS:
        dahlia(rng, sheet, *flower)
    return {"style_3.jpg": Image.fromarray((255 * develop(sheet)).round().astype(np.uint8))}


def develop(sheet: Sheet) -> Array:
    """Put wash and ink on the paper, each of them a little uneven."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32)
    fibre = 0.008 * fbm(x / 3, y / 3, 3) + 0.018 * fbm(x / 90, y / 90, 3)
    wash = np.asarray(sheet.wash.filter(ImageFilter.GaussianBlur(2.2)), np.float32) / 255
    pool = 1.0 + 0.45 * fbm(x / 45 + 3, y / 45, 4) + 0.10 * noise(x / 2.3, y / 2.3)
    wash = 1 - (1 - wash) * pool[..., None]
    paper = (PAPER + fibre[..., None]) * np.clip(wash, 0, 1)
    ink = np.asarray(sheet.ink.resize(SIZE, Image.Resampling.BOX), np.float32) / 255
    ink = ink * np.clip(0.95 + 0.25 * fbm(x / 12, y / 12, 3), 0, 1)
    return np.clip(mix(paper, INK + 0 * paper, ink), 0, 1)
