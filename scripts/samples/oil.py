"""The first style sample: an abstract oil painting.

Several thousand brush strokes, painted from broad to fine along a flow with vortices, each a bundle
of bristles that leave colour and a ridge of paint.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from samples.drawing import SS, Array, Region, fbm, region_map, smooth, to_image

SIZE = (768, 768)
PALETTE = np.array(
    [
        [0.04, 0.05, 0.22],
        [0.07, 0.12, 0.46],
        [0.10, 0.25, 0.66],
        [0.06, 0.46, 0.56],
        [0.36, 0.68, 0.62],
        [0.95, 0.89, 0.70],
        [0.98, 0.74, 0.22],
        [0.95, 0.46, 0.10],
        [0.80, 0.14, 0.13],
        [0.36, 0.04, 0.14],
    ],
    np.float32,
)
# centre (in picture widths), radius, and strength: above zero turns warm, below turns dark
VORTICES = (
    (0.64, 0.40, 0.25, 1.15),
    (0.20, 0.68, 0.19, -0.62),
    (0.88, 0.86, 0.15, 0.75),
    (0.20, 0.20, 0.15, 0.70),
    (0.92, 0.10, 0.17, -0.60),
    (0.50, 0.86, 0.11, -0.5),
)
# strokes, width and length in pixels of the final picture: broad underpainting to fine accents
LAYERS = ((900, 38, 190), (1900, 24, 130), (2600, 16, 95), (1300, 10, 62))
# levels of the stream function where dark blue, blue, light and warm colours meet
BANDS = (-0.42, 0.0, 0.40)


def stream(x: Array, y: Array) -> Array:
    """Give the stream function: paint flows along its contours, and it picks the colour."""
    total = 0.30 * np.sin(2.2 * x - 5.0 * y + 1.2 * np.sin(4 * x)) - 0.12
    wave = fbm(x * 2.6 + 4, y * 2.6, 3)
    total += 0.18 * wave
    x, y = x + 0.09 * wave, y + 0.09 * fbm(x * 2.6, y * 2.6 + 9, 3)  # no vortex is quite round
    for cx, cy, radius, strength in VORTICES:
        total += strength * np.exp(-((np.hypot(x - cx, y - cy) / radius) ** 2))
    return total


def tint(level: Array) -> Array:
    """Look up the palette by the stream function, with bands of light and dark in it."""
    place = 0.43 + 0.46 * level + 0.11 * np.sin(14 * level)
    stops = np.linspace(0, 1, len(PALETTE))
    return np.stack([np.interp(place, stops, PALETTE[:, k]) for k in range(3)], -1)


def trace(start: Array, length: Array, points: int) -> Array:
    """Follow the flow from each start; returns (strokes, points, 2) in picture widths."""
    path, tiny = [start], 1e-3
    for _ in range(points - 1):
        x, y = path[-1].T
        along = np.stack(
            [stream(x, y + tiny) - stream(x, y - tiny), stream(x - tiny, y) - stream(x + tiny, y)],
            -1,
        )
        along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-6
        path.append(path[-1] + along * length[:, None] / points)
    return np.stack(path, 1)


def draw() -> dict[str, Image.Image]:
    """Paint the strokes, then light the relief they leave; map the regions by the palette."""
    rng, side = np.random.default_rng(5), SIZE[0] * SS
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    ground = (255 * tint(stream(x, y))).astype(np.uint8)  # shows wherever no stroke falls
    canvas, relief = Image.fromarray(ground), Image.new("F", (side, side), 0.4)
    paint, emboss = ImageDraw.Draw(canvas), ImageDraw.Draw(relief)
    for count, width, length in LAYERS:
        start = rng.uniform(-0.08, 1.05, (count, 2))
        paths = trace(start, length / SIZE[0] * rng.uniform(0.6, 1.3, count), 14)
        level = stream(*paths[:, 7].T) + rng.normal(0, 0.09, count)
        colours = tint(level) * rng.uniform(0.78, 1.2, (count, 1))
        accent = rng.uniform(size=count) < 0.05  # a few strokes of the opposite colour
        colours[accent] = tint(0.35 - level[accent])
        seconds = tint(level + rng.choice([-0.22, 0.22], count))
        widths = width * SS * rng.uniform(0.7, 1.2, count)
        for stroke in zip(paths * side, widths, colours, seconds, strict=True):
            brush(rng, paint, emboss, *stroke)
    style = to_image(impasto(canvas, relief), SIZE)
    return {"style.jpg": style, "style_regions.png": regions()}


def regions() -> Image.Image:
    """Map dark blue to land, blue to water, the light bands to sky and the warm ones to near."""
    y, x = (np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32) + 0.5) / SIZE[0]
    bands = np.digitize(stream(x, y), BANDS)
    order = np.array([Region.LAND, Region.WATER, Region.SKY, Region.NEAR])
    return region_map(order[bands][..., None] == np.array([*Region]))


def brush(
    rng: np.random.Generator,
    paint: ImageDraw.ImageDraw,
    emboss: ImageDraw.ImageDraw,
    path: Array,
    width: float,
    colour: Array,
    second: Array,
) -> None:
    """Drag one brush: each bristle has its own shade, height, start and end."""
    way = np.gradient(path, axis=0)
    across = np.stack([-way[:, 1], way[:, 0]], -1)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-6
    across *= width * (1 - 0.35 * np.linspace(-1, 1, len(path)) ** 4)[:, None]  # slim at the ends
    body, load = rng.uniform(0.3, 0.7), rng.uniform(0, 1)
    for offset in np.linspace(-0.5, 0.5, max(5, round(width / 2.4))):
        late = int(2.5 * (2 * offset) ** 4)  # the outer bristles touch down late and lift early
        touch, lift = late + rng.integers(0, 2), late + rng.integers(0, 3)
        points = (path + across * offset)[touch : len(path) - lift].ravel().tolist()
        streak = 0.30 * load * np.sin(3 * offset + 6 * load) + rng.normal(0.12, 0.16)
        shade = (colour + (second - colour) * np.clip(streak, 0, 0.7)) * rng.normal(1, 0.05)
        paint.line(points, tuple((255 * np.clip(shade, 0, 1)).astype(int).tolist()), 4)
        emboss.line(points, body + 0.35 * abs(2 * offset) ** 3 + rng.normal(0, 0.16), 4)


def impasto(canvas: Image.Image, relief: Image.Image) -> Array:
    """Light the ridges of paint from the upper left, with a slight gloss."""
    height = np.asarray(relief)
    for axis in (0, 1, 0, 1):  # wet paint runs together a little
        height = (np.roll(height, 1, axis) + 2 * height + np.roll(height, -1, axis)) / 4
    fall = -np.gradient(height, axis=0) - np.gradient(height, axis=1)
    colour = np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.7)), np.float32) / 255
    light = np.clip(1 - 1.3 * fall, 0.5, 1.4)[..., None]
    gloss = 0.35 * smooth(0.10, 0.5, -fall)[..., None]
    return colour * light + gloss * (1 - colour)
