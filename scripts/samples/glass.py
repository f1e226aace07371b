"""The second style sample: a leaded window of a red sun over hills and a river.

The picture is cut into parts (rings of light around the sun, hills, river), each part into pieces
of about one size by Lloyd's algorithm in coordinates that follow the part. Every piece is a sheet
of streaked, hammered glass of its own colour, and lead lies where two of them meet.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from samples.drawing import SS, Array, fbm, mix, noise, rgb, smooth, to_image

Labels = NDArray[np.intp]

SIZE = (768, 768)
SIDE = SIZE[0] * SS
COARSE = 4  # pieces are laid out on every fourth pixel
SUN = (0.60, 0.362)  # in picture widths
RINGS = (0.024, 0.066, 0.120, 0.186, 0.264, 0.356, 0.468, 0.606)  # radii of light around it
LEAD, SEAM = 3.2, 1.9  # half the width of the lead between parts, and within one, in pixels
# the sheets each part is cut from: what stands twice is taken twice as often
SKY = (
    ("f0e2b4",),
    ("fad982", "f7e09a"),
    ("fcc545", "fdd368", "f5b235"),
    ("f39a27", "f8b03a", "e98520"),
    ("e5611f", "ee7a26", "d64a1a"),
    ("cf2f1f", "de4223", "b3221d"),
    ("a01a22", "b82825", "821424"),
    ("6d1230", "861a2c", "521030", "6d1230", "861a2c", "7a1428", "6d1230", "1b6a75"),
    ("0f5360", "176c78", "0d3f4d", "0f5360", "6d1230"),
)
HILLS = (
    ("2a8f93", "43a9a6", "1d7a82", "74bdb0"),
    ("11606b", "177480", "0d4b58", "11606b", "177480", "0d4b58", "11606b", "d08a2c"),
    ("c98229", "dc9e3a", "ab5c1c", "e6ba58", "c98229"),
    ("96241e", "b23524", "741a22", "96241e", "b23524", "741a22", "d86a28"),
    ("0d4552", "125864", "0a3441", "0d4552", "125864", "0a3441", "0d4552", "125864", "d99c38"),
)
RIVER = ("86c4ba", "5fb0aa", "b5d9c6", "3f9797", "e6c67c")


def hexes(*codes: str) -> Array:
    """Read colours written like those of a web page."""
    return np.array([[int(c[k : k + 2], 16) for k in (0, 2, 4)] for c in codes], np.float32) / 255


def ridge(k: int, x: Array) -> Array:
    """Give the height of the crest of a hill, the farthest first."""
    base = (0.560, 0.640, 0.725, 0.815, 0.905)[k]
    wave = 0.050 * np.sin((7.0, 5.2, 4.6, 5.0, 4.2)[k] * x + (0.4, 2.9, 0.2, 3.4, 1.2)[k])
    return base + wave + 0.016 * np.sin(13 * x + 2.1 * k)


def parts(x: Array, y: Array) -> tuple[Labels, Array]:
    """Number the part at each point and give it coordinates in which pieces are to be round."""
    dx, dy = x - SUN[0], y - SUN[1]
    radius = np.hypot(dx, dy) + 0.016 * noise(x * 5, y * 5) * smooth(0.02, 0.2, np.hypot(dx, dy))
    part = np.digitize(radius, RINGS)
    middle = np.array([0.01, *(np.array(RINGS[1:]) + RINGS[:-1]) / 2, 0.72], x.dtype)[part]
    along = middle / np.maximum(np.hypot(dx, dy), 1e-6)
    # pieces point away from the sun, and grow
    grow = np.linspace(1.15, 0.75, len(SKY), dtype=x.dtype)[part][..., None]
    place = np.stack([0.60 * radius, dx * along, dy * along], -1) * grow
    for k in range(len(HILLS)):
        below = y - ridge(k, x)
        part = np.where(below > 0, len(SKY) + k, part)
        here = np.stack([0.62 * x, 0.95 * below, 0 * x], -1)  # and lie along the hills
        place = np.where((below > 0)[..., None], here, place)
        if k == 3:  # the river runs over all hills but the nearest
            near = np.clip((y - 0.60) / 0.40, 0, 1)
            bend = x - 0.47 - 0.13 * np.sin(9.5 * near**0.75 + 0.6) * (0.35 + 0.65 * near)
            water = (np.abs(bend) < 0.008 + 0.115 * near**1.1) & (y > ridge(1, x))
            part = np.where(water, len(SKY) + len(HILLS), part)
            here = np.stack([0.45 * bend, 0.95 * y, 0 * x], -1)
            place = np.where(water[..., None], here, place)
    return part, place


def nearest(place: Array, seeds: Array) -> Labels:
    """Find the seed that is nearest to each place."""
    half = (seeds**2).sum(-1) / 2
    chunks = np.array_split(place, max(1, len(place) // 50000))
    return np.concatenate([(half - chunk @ seeds.T).argmin(1) for chunk in chunks])


def cut(rng: np.random.Generator, x: Array, y: Array, size: float) -> tuple[Labels, Labels]:
    """Cut every part into pieces of about one size; returns the parts and the pieces."""
    part, place = parts(x.astype(np.float32), y.astype(np.float32))
    # the layout is done in double precision, or another CPU's rounding might choose other seeds
    coarse_part, coarse_place = parts(x[::COARSE, ::COARSE], y[::COARSE, ::COARSE])
    pieces, count = np.zeros_like(part), 0
    for k in range(coarse_part.max() + 1):
        coarse = coarse_place[coarse_part == k]
        number = max(1, round(len(coarse) * (COARSE / SIDE / size) ** 2))
        seeds, far = coarse[rng.integers(len(coarse), size=1)], np.full(len(coarse), np.inf)
        for _ in range(number - 1):  # each seed is the place that is farthest from those before
            far = np.minimum(far, ((coarse - seeds[-1]) ** 2).sum(-1))
            seeds = np.concatenate([seeds, coarse[far.argmax()][None]])
        for _ in range(5):  # Lloyd: each seed moves to the middle of its piece
            owner = nearest(coarse, seeds)
            total = [np.bincount(owner, coarse[:, axis], number) for axis in range(3)]
            seeds = np.stack(total, -1) / np.bincount(owner, minlength=number)[:, None]
        inside = part == k
        pieces[inside] = count + nearest(place[inside], seeds.astype(np.float32))
        count += number
    return part, pieces


def distance(labels: Labels, reach: int) -> Array:
    """Measure how far each pixel is from the nearest change of label, as far as it reaches."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    square = np.where(edge, np.float32(0), np.float32(reach**2))
    for axis in (0, 1):
        lines = np.swapaxes(square, 0, axis)
        padded = np.pad(lines, ((reach, reach), (0, 0)), mode="edge")
        best = lines.copy()
        for d in range(-reach, reach + 1):
            np.minimum(best, padded[reach + d : reach + d + SIDE] + np.float32(d * d), out=best)
        square = np.swapaxes(best, 0, axis)
    return np.sqrt(square)


def draw() -> dict[str, Image.Image]:
    """Cut the glass, colour it, lead it."""
    rng = np.random.default_rng(3)
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    part, pieces = cut(rng, x, y, 0.037)
    x, y = x.astype(np.float32), y.astype(np.float32)
    glass = sheets(rng, part, pieces, x, y)
    wide = SEAM * SS * (1 + 0.35 * noise(x * 30, y * 30))
    depth = np.maximum(wide - distance(pieces, 10), LEAD * SS - distance(part, 10))
    for axis in (0, 1):
        depth = (np.roll(depth, 1, axis) + 2 * depth + np.roll(depth, -1, axis)) / 4
    lead = smooth(-1, 1, depth)
    # lead is round: lit where it faces the light from the upper left
    lit = -np.gradient(depth, axis=0) - np.gradient(depth, axis=1)
    metal = rgb(0.075, 0.065, 0.07) * (1 - 0.9 * lit[..., None])
    return {"style_2.jpg": to_image(mix(glass, metal, lead), SIZE)}


def sheets(rng: np.random.Generator, part: Labels, pieces: Labels, x: Array, y: Array) -> Array:
    """Colour every piece like a sheet of streaked, hammered glass with light behind it."""
    count = pieces.max() + 1
    owner = np.zeros(count, np.intp)
    owner[pieces.ravel()] = part.ravel()
    stock = [hexes(*codes) for codes in (*SKY, *HILLS, RIVER)]
    colours = np.array([stock[k][rng.integers(len(stock[k]))] for k in owner])
    colours *= rng.uniform(0.82, 1.18, (count, 1))
    turn = rng.uniform(0, 2 * np.pi, count).astype(np.float32)[pieces]
    along = x * np.cos(turn) + y * np.sin(turn) + pieces
    across = y * np.cos(turn) - x * np.sin(turn) - pieces
    streak = fbm(6 * along, 34 * across, 3)
    hammered = fbm(70 * x, 70 * y, 2)
    fall = np.gradient(hammered, axis=0) + np.gradient(hammered, axis=1)
    edge = Image.fromarray(np.uint8(255 * (distance(pieces, 2) < 1)))
    soot = np.asarray(edge.filter(ImageFilter.GaussianBlur(5.5 * SS)), np.float32) / 255
    light = 1.26 - 3.1 * soot + 0.26 * streak + 0.8 * fall
    glass = np.clip(colours[pieces] * light[..., None], 0, 1)
    return mix(glass, 1 - 0.7 * (1 - glass), smooth(0.2, 1.0, streak))  # milky streaks
