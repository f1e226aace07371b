"""The content sample: a lake at the foot of snow mountains in late afternoon light.

A lighthouse and its cottage stand on a headland, a village on the far shore, a tree in front, and
a boat sails by. The land is a fractal height field seen in true perspective (one ray march per
image column), everything built on it is a list of lit polygons in world space, and the lake mirrors
a second view taken from below the water.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from samples.drawing import (
    SS,
    Array,
    Region,
    fbm,
    mix,
    noise,
    region_map,
    rgb,
    smooth,
    to_image,
)

Face = tuple[Array, Array]  # corners (n, 3) in metres and display colour (3,)
Thing = tuple[float, list[Face]]  # distance from the eye and faces, back to front

SIZE = (768, 576)
W, H = SIZE[0] * SS, SIZE[1] * SS
HORIZON, FOCAL, EYE = 0.56 * H, 1.0 * W, 5.0  # row, pixels, metres above the lake
SUN_DIR = np.array([-0.86, 0.40, -0.30], np.float32)  # low, on the left, a little behind the eye
SUN_DIR /= np.linalg.norm(SUN_DIR)
SUN = np.array([2.75, 1.90, 1.08], np.float32)
AMBIENT = np.array([0.30, 0.39, 0.56], np.float32)
SKY = 1e6  # metres: farther than anything
CAPE, VILLAGE = 200, 390  # metres: the ground of the cape and all houses are nearer, woods farther
HAZE = np.array([0.56, 0.66, 0.80], np.float32)


def develop(light: Array) -> Array:
    """Turn linear light into display values like film does, with a soft shoulder."""
    return (1 - np.exp(-1.15 * np.maximum(light, 0))) ** (1 / 2.2)


def lit(albedo: Array, normal: Array, sun: Array | float = 1.0) -> Array:
    """Shade a matt surface by the sun and by the sky above it; returns linear light."""
    direct = np.clip((normal * SUN_DIR).sum(-1), 0, None) * sun
    sky = 0.65 + 0.35 * normal[..., 1]
    return albedo * (direct[..., None] * SUN + sky[..., None] * AMBIENT)


def haze(light: Array, distance: Array | float) -> Array:
    """Fade light towards the colour of the air, blue first."""
    through = np.exp(-np.asarray(distance)[..., None] / rgb(17000, 13000, 9000))
    return light * through + HAZE * (1 - through)


# ---------------------------------------------------------------- the land


def land(x: Array, z: Array) -> Array:
    """Give the height of the ground over the lake: bank, headland, hills and mountains."""
    rough = fbm(x / 9, z / 9, 6)
    bank = 6.2 * smooth(1.15, 0.0, np.hypot((x + 11) / 13, (z - 13) / 12) + 0.2 * rough)
    cape = np.hypot((x - 38) / 33, (z - 88) / 21) + 0.16 * rough
    stones = fbm(x / 5, z / 5, 5, ridged=True) * smooth(0.55, 0.8, cape)
    headland = smooth(1.02, 0.60, cape) * (7.5 + 1.3 * stones + 0.5 * rough)
    side = np.abs(x / z + 0.05)  # the hills leave the middle open to the mountains
    shore = 9 * smooth(330, 400, z + 40 * fbm(x / 130, z / 130, 3) - 60 * (side - 0.2))
    hills = smooth(380, 1500, z) * (110 + 190 * fbm(x / 420 + 5, z / 420, 6))
    hills *= 0.30 + 1.25 * smooth(0.02, 0.42, side)
    crest = fbm(x / 2900 + 2.2, z / 2900 + 0.4, 9, ridged=True)
    massif = np.exp(-(np.hypot((x + 300) / 900, (z - 6300) / 1500) ** 2))
    massif += 0.75 * np.exp(-(np.hypot((x - 1900) / 700, (z - 6000) / 1300) ** 2))
    massif += 0.6 * np.exp(-(np.hypot((x + 2300) / 800, (z - 6000) / 1300) ** 2))
    peaks = crest * (330 + 420 * massif) + 480 * massif - 130
    return -3 + bank + headland + shore + hills + smooth(2300, 5200, z) * peaks


class Land:
    """The ground, sampled in steps along a fan of rays, one per image column."""

    def __init__(self) -> None:
        # steps grow with distance, but are fine where the ground is steep: cape and mountains
        knots, stops = (0, 250, 700, 780, 1300, 1950), (5, 62, 104, 330, 2300, 9500)
        self.z = np.exp(np.interp(np.arange(1950), knots, np.log(stops))).astype(np.float32)
        across = ((np.arange(W) - W / 2) / FOCAL).astype(np.float32)
        z, self.x = self.z[:, None], self.z[:, None] * across
        self.height = land(self.x, np.broadcast_to(z, self.x.shape))
        self.light = self.shade(np.broadcast_to(z, self.x.shape))

    def shade(self, z: Array) -> Array:
        """Colour the ground by slope and height, light it, and cast shadows."""
        x, h = self.x, self.height
        step_z, step_x = np.gradient(self.z)[:, None], z / FOCAL
        slope_x = np.gradient(h, axis=1) / step_x
        # a step along a ray also moves sideways: take that part out to get the slope in depth
        slope_z = (np.gradient(h, axis=0) - slope_x * np.gradient(x, axis=0)) / step_z
        lift = (h - EYE) / z * 90 + np.log(z) * 25  # about the row, so walls of rock get grain too
        spots = fbm(x / z * 90, lift, 6)
        rough = 0.9 * smooth(0.5, 1.1, np.hypot(slope_x, slope_z))
        slope_x = slope_x + rough * fbm(x / z * 55 + 9, lift * 0.6, 5)
        normal = np.stack([-slope_x, np.ones_like(h), -slope_z], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        flat, patch = normal[..., 1], fbm(x / 60, z / 60, 4)
        rock = mix(rgb(0.15, 0.135, 0.12), rgb(0.40, 0.35, 0.29), 0.5 + 0.9 * spots)
        grass = mix(rgb(0.10, 0.16, 0.04), rgb(0.30, 0.31, 0.08), 0.5 + 0.5 * spots + 0.4 * patch)
        wood = mix(rgb(0.035, 0.07, 0.035), rgb(0.10, 0.14, 0.05), 0.5 + 0.7 * spots)
        green = mix(grass, wood, smooth(330, 420, z) * smooth(0.22, 0.05, patch))
        ground = mix(rock, green, smooth(0.62, 0.8, flat + 0.12 * spots))
        ground = mix(ground, rock, smooth(330, 520, h + 160 * spots))
        ground = mix(ground, rgb(0.33, 0.28, 0.21) + 0 * ground, smooth(0.8, 0.3, h + 0.3 * spots))
        snow = smooth(520, 700, h + 150 * spots) * smooth(0.50, 0.66, flat + 0.1 * spots)
        ground = mix(ground, rgb(0.92, 0.93, 0.95) + 0 * ground, snow)
        # the sun comes from the left, so along each row a shadow is a running maximum
        tall = h.copy()
        for cx, cz, radius, top in ((19.5, 83, 3, 26), (32, 85, 5.5, 12), (-7.6, 17.5, 2.6, 9)):
            tall += np.where(np.hypot(x - cx, z - cz) < radius, top, 0)
        drop = x * (SUN_DIR[1] / -SUN_DIR[0])
        cover = np.maximum.accumulate(tall + drop, axis=1) - drop - h
        sun = 1 - smooth(0, 1, (cover - 0.05) / (0.4 + 0.006 * z))
        return haze(lit(ground, normal, sun), z)

    def view(self, eye: float, near: float) -> tuple[Array, Array, Array]:
        """Return light, distance and water mask seen from a height, leaving out nearer land."""
        rise = (np.maximum(self.height, 0) - eye) / self.z[:, None]
        if eye < 0:  # the mirrored eye looks up through the water, where no ground is in its way
            rise = np.where((self.height > 0) & (self.z[:, None] > near), rise, -1)
        skyline = np.maximum.accumulate(rise, axis=0)
        rows = ((HORIZON - np.arange(H) - 0.5) / FOCAL).astype(np.float32)
        first = np.stack([np.searchsorted(skyline[:, c], rows) for c in range(W)], 1)
        far, cols = np.clip(first, 1, len(self.z) - 1), np.arange(W)
        low, high = rise[far - 1, cols], rise[far, cols]
        t = np.clip((rows[:, None] - low) / np.maximum(high - low, 1e-9), 0, 1)
        light = mix(self.light[far - 1, cols], self.light[far, cols], t)
        depth = self.height[far - 1, cols] * (1 - t) + self.height[far, cols] * t
        open_sky = first == len(self.z)
        distance = np.where(open_sky, SKY, self.z[far - 1] * (1 - t) + self.z[far] * t)
        return light, distance, (depth < 0) & ~open_sky


def sky() -> Array:
    """Paint the sky: blue above, warm near the ground, with clouds lit from the left."""
    row, col = np.mgrid[0:H, 0:W].astype(np.float32)
    up = np.clip((HORIZON - row) / FOCAL, 0.0, None)
    x = (col - W / 2) / FOCAL
    air = mix(rgb(1.25, 0.92, 0.62), rgb(0.36, 0.55, 0.86), smooth(-0.03, 0.27, up))
    air = mix(air, rgb(0.07, 0.21, 0.56), smooth(0.15, 0.62, up))
    # clouds hang on a flat ceiling, hence the division by the elevation
    ceiling = 0.34 / (up + 0.14)
    u, v = x * ceiling * 4.6 + 3.0, ceiling * 4.2

    def cover(u: Array, v: Array) -> Array:
        bend = noise(u * 0.9 + 9, v * 0.9)
        return fbm(u + 0.5 * bend, v + 0.4 * bend, 7) + 0.15 * fbm(u * 4, v * 4, 4)

    thick = cover(u, v)
    shadow = smooth(-0.30, 0.42, cover(u - 0.20, v - 0.16) - thick * 0.55)
    cloud = mix(rgb(2.3, 1.92, 1.5), rgb(0.42, 0.44, 0.56), shadow)
    cloud = mix(cloud, air, 0.55 * smooth(0.12, 0.0, up))
    return mix(air, cloud, 0.96 * smooth(0.02, 0.42, thick) * smooth(-0.02, 0.05, up))


# ---------------------------------------------------------------- things on it


def face(points: Sequence[Sequence[float]], albedo: Array, normal: Sequence[float]) -> Face:
    """Light one polygon and fade it by its distance."""
    corners, n = np.array(points, np.float32), np.array(normal, np.float32)
    light = haze(lit(albedo, n / np.sqrt(n @ n)), float(corners[0, 2]))
    return corners, develop(light.reshape(3))


def lighthouse(x: float, y: float, z: float) -> Thing:
    """Build a round tower of lit strips: bands of red and white, gallery, lantern and cap."""
    white, red, dark = rgb(0.86, 0.84, 0.80), rgb(0.62, 0.07, 0.05), rgb(0.07, 0.07, 0.08)
    edge = np.linspace(0.6, 18, 6)
    girth = np.interp(edge, [0, 18], [3.1, 2.0])
    # each ring: bottom and top height, bottom and top radius, colour
    rings = [(-2.0, 0.6, 3.5, 3.4, 0.4 * white)]
    rings += [(*edge[i : i + 2], *girth[i : i + 2], (white, red)[i % 2]) for i in range(5)]
    rings += [
        (17.7, 18.3, 2.1, 2.9, dark),
        (18.3, 19.2, 2.9, 2.9, 0.5 * white),
        (18.4, 21.0, 1.6, 1.6, rgb(1.0, 0.72, 0.25)),
        (21.0, 21.3, 2.1, 2.1, dark),
        (21.3, 23.0, 1.9, 0.25, red),
        (23.0, 24.3, 0.12, 0.06, dark),
    ]
    faces, step = [], np.pi / 40
    for low, high, r0, r1, albedo in rings:
        for k in range(40):
            a, b = (k - 20) * step, (k - 19) * step
            tone = dark if r0 == r1 == 1.6 and k % 6 == 0 else albedo  # bars of the lantern
            quad = [
                (x + r * np.sin(t), y + h, z - r * np.cos(t))
                for t, h, r in ((a, low, r0), (b, low, r0), (b, high, r1), (a, high, r1))
            ]
            faces.append(face(quad, tone, (np.sin(a), (r0 - r1) / (high - low), -np.cos(a))))
    for h in (4.0, 8.6, 13.4):
        pane = [(x + s, y + h + t, z) for s, t in ((0.1, 0), (0.8, 0), (0.8, 1.5), (0.1, 1.5))]
        faces.append(face(pane, dark, (0, 0, -1)))
    return z, faces


def house(x: float, y: float, z: float, size: Sequence[float], turn: float, tone: float) -> Thing:
    """Build a white gabled house with a red roof; turn shows its left gable."""
    length, width, height = size
    along = np.array([np.cos(turn), 0, np.sin(turn)])
    back, up = np.array([-np.sin(turn), 0, np.cos(turn)]), np.array([0, 1.0, 0])
    wall, roof = tone * rgb(0.84, 0.80, 0.72), tone * rgb(0.50, 0.11, 0.06)
    faces, glass = [], rgb(0.05, 0.07, 0.10)

    def add(points: Sequence[Sequence[float]], albedo: Array, normal: Array) -> None:
        corners = [(x, y, z) + a * along + b * up + c * back for a, b, c in points]
        faces.append(face(corners, albedo, normal))

    def front(a: float, b: float, w: float, h: float, albedo: Array, depth: float = 0) -> None:
        corners = ((a, b), (a + w, b), (a + w, b + h), (a, b + h))
        add([(*corner, depth) for corner in corners], albedo, -back)

    ridge, slope, over = height * 1.75, 1.5 * height / width, 0.06 * length
    front(0, -3, length, height + 3, wall)
    add(
        [(0, -3, 0), (0, height, 0), (0, ridge, width / 2), (0, height, width), (0, -3, width)],
        wall,
        -along,
    )
    for c in (0.28 * width, 0.62 * width):
        pane = ((0.3, 0), (0.8, 0), (0.8, 1), (0.3, 1))
        add([(0, b * height, c + d) for b, d in pane], glass, -along)
    count = round(length / 2.6)
    for k in range(count):
        a = (k + 0.5) * length / count
        if k == count // 2:
            front(a - 0.55, 0, 1.1, 0.7 * height, rgb(0.16, 0.07, 0.04))  # the door
        else:
            front(a - 0.65, 0.3 * height, 1.3, 0.5 * height, wall * 1.1)
            front(a - 0.5, 0.34 * height, 0.44, 0.42 * height, glass)
            front(a + 0.06, 0.34 * height, 0.44, 0.42 * height, glass)
    front(0.68 * length, ridge - 0.3, 0.1 * length, 0.4 * height, 0.6 * roof + 0.05, width / 2)
    for k in range(12):  # rows of tiles, each a little lighter or darker
        near, far = np.array([k, k + 1]) / 12 * (width / 2 + over) - over
        row = [(-over, near), (length + over, near), (length + over, far), (-over, far)]
        add(
            [(a, height + slope * c, c) for a, c in row],
            roof * (0.86 + 0.07 * (k * 7 % 5)),
            slope * -back + up,
        )
    return z, faces


def boat(x: float, z: float) -> Thing:
    """Build a sloop heading left: hull, mast, and two sails bellied by the wind."""
    faces: list[Face] = []

    def add(points: Sequence[Sequence[float]], albedo: Array, normal: Sequence[float]) -> None:
        faces.append(face([(x + a, b, z) for a, b in points], albedo, normal))

    def sail(tack: Array, head: Array, clew: Array, albedo: Array) -> None:
        up = np.linspace(0, 1, 6)[:, None]
        bulge = (1 - up) * (1 + 0.22 * np.sin(np.pi * up))
        for s in np.arange(24) / 24:  # strips from luff to leech
            sides = [tack + (head - tack) * up + (clew - tack) * bulge * t for t in (s, s + 0.045)]
            add([*sides[0], *sides[1][::-1]], albedo, (2.1 * (s - 0.62), 0.1, -1))

    add([(0.1, 0.3), (0.24, 0.3), (0.6, 9.9), (0.52, 9.9)], rgb(0.3, 0.2, 0.12), (0, 0, -1))
    sail(rgb(0.3, 1.4), rgb(0.62, 9.5), rgb(3.5, 1.3), rgb(0.93, 0.88, 0.78))
    sail(rgb(-3.1, 0.85), rgb(0.43, 8.6), rgb(-0.1, 1.25), rgb(0.78, 0.19, 0.06))
    sheer = [(a, 0.6 + 0.018 * (a - 0.8) ** 2) for a in np.linspace(-3.5, 3.4, 12)]
    keel, rail = [(3.2, 0), (2.5, -0.25), (-2.1, -0.25)], [(a, b - 0.2) for a, b in sheer[::-1]]
    add([*sheer, *keel, (-2.8, 0)], rgb(0.05, 0.09, 0.2), (-0.3, 0, -1))
    add([*sheer, *rail], rgb(0.9, 0.86, 0.78), (-0.3, 0, -1))
    return z, faces


def conifer(rng: np.random.Generator, x: float, y: float, z: float, tall: float) -> Thing:
    """Build a fir from tiers of drooping twigs, lit on its left side."""
    tint, faces = rng.uniform(0.75, 1.25), []
    tiers, twigs = (18, 14) if z < 200 else (7, 3)
    for level in np.linspace(0.0, 1, tiers):
        reach = 0.21 * tall * (1 - level) ** 0.85 + 0.01 * tall
        for side in np.linspace(-1, 1, twigs):
            tip, base = side * reach * rng.uniform(0.75, 1.15), y + tall * level
            wide, drop = 0.05 * tall * (1.1 - level), rng.uniform(0.03, 0.09) * tall
            spray = [
                (x + 0.3 * tip - wide, base, z),
                (x + 0.2 * tip, base + drop, z),
                (x + 0.3 * tip + wide, base, z),
                (x + tip, base - drop, z),
            ]
            tone = tint * rgb(0.055, 0.10, 0.04) * rng.uniform(0.6, 1.5)
            faces.append(face(spray, tone, (1.2 * side, 0.5, -0.6)))
    return z, faces


def tree(rng: np.random.Generator, x: float, y: float, z: float) -> Thing:
    """Grow a broad tree: limbs that fork at random, and leaves around the outer twigs."""
    wood: list[Face] = []
    leaves: list[Face] = []
    crown = np.array([x + 0.6, y + 7.2, z])

    def limb(start: Array, heading: Array, length: float, girth: float, depth: int) -> None:
        end = start + heading * length
        side = np.array([heading[1], -heading[0], 0.0])
        for k in range(4):  # across the limb, lit like a cylinder
            a, b = k / 2 - 1, (k + 1) / 2 - 1
            quad = [
                start + side * girth * a,
                start + side * girth * b,
                end + side * girth * 0.7 * b,
                end + side * girth * 0.7 * a,
            ]
            tone = rgb(0.20, 0.14, 0.10) * rng.uniform(0.7, 1.1) * (0.5 + 0.1 * depth)
            wood.append(face(quad, tone, side * (a + b) / 2 + np.array([0, 0, -0.5])))
        if depth == 0:
            for p in end + rng.normal(0, 0.36, (50, 3)):
                leaf(p)
            return
        for _ in range(2 if depth > 4 else 3 if depth > 1 else 4):
            turn = heading + rng.normal(0, 0.62 - 0.05 * depth, 3) * (1, 0.7, 1) + (0.03, 0.16, 0)
            limb(
                end,
                turn / np.linalg.norm(turn),
                length * rng.uniform(0.62, 0.86),
                girth * 0.66,
                depth - 1,
            )

    def leaf(p: Array) -> None:
        spin, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.045, 0.085)
        u = np.array([np.cos(spin), np.sin(spin), 0]) * size
        v = np.array([-u[1], u[0], 0]) * 0.5
        tone = mix(rgb(0.13, 0.22, 0.04), rgb(0.46, 0.38, 0.06), rng.uniform(0, 1) ** 2)
        out = (p - crown) / 2.5 + rng.normal(0, 0.45, 3)
        inner = np.clip(np.linalg.norm((p - crown) / (3.2, 2.6, 3.2)), 0.35, 1.0)
        leaves.append(face([p - u, p + v, p + u, p - v], tone * inner, out))

    limb(np.array([x, y - 0.5, z]), np.array([0.10, 0.99, 0.0]), 2.9, 0.27, 5)
    leaves.sort(key=lambda f: -f[0][0, 2])
    return z, wood + leaves


def grass(rng: np.random.Generator, count: int) -> list[Thing]:
    """Scatter blades, and a few poppies, over the near bank."""
    spots = rng.uniform((-14, 7.5), (1.5, 27), (count, 2)).astype(np.float32)
    heights, thick = land(*spots.T), fbm(*spots.T / 2, 3)
    dull, bright, placed = rgb(0.05, 0.11, 0.02), rgb(0.30, 0.27, 0.07), []
    for (x, z), y, t in zip(spots, heights, thick, strict=True):
        if y < 0.45 + 0.3 * rng.uniform():
            continue
        top, bend = y + rng.uniform(0.14, 0.40) * (1 + t), rng.normal(0.05, 0.10)
        tone = mix(dull, bright, np.clip(0.35 + t + rng.normal(0, 0.2), 0, 1))
        blade = [(x - 0.012, y, z), (x + 0.012, y, z), (x + bend, top, z)]
        placed.append((z, [face(blade, tone, (-0.4, 0.8, -0.4))]))
        if rng.uniform() < 0.02:
            petals = [(x + bend + 0.05 * np.cos(a), top + 0.045 * np.sin(a), z) for a in range(7)]
            placed.append((z, [face(petals, rgb(0.75, 0.06, 0.03), (-0.4, 0.6, -0.5))]))
    return placed


def things(rng: np.random.Generator) -> list[Thing]:
    """Put everything in its place, the farthest first."""

    def ground(x: float, z: float) -> float:
        return float(land(np.array([x], np.float32), np.array([z], np.float32))[0])

    placed = [
        lighthouse(19.5, ground(19.5, 83) - 0.5, 83),
        boat(-3.5, 48),
        house(28, ground(32, 84) - 0.2, 81, (11, 7, 3.8), 0.35, 1.0),
        tree(np.random.default_rng(2), -7.6, ground(-7.6, 17.5), 17.5),
    ]
    for x, z, turn, tone in (
        (-92, 372, 0.5, 1.0),
        (-66, 380, 0.3, 0.8),
        (-46, 366, 0.6, 1.0),
        (-20, 378, 0.2, 0.9),
        (4, 370, 0.45, 0.75),
        (22, 384, 0.3, 1.0),
    ):
        placed.append(house(x, ground(x, z), z, (16, 11, 6), turn, tone))
    firs = [(27, 97, 11), (30, 99, 13), (44, 95, 14), (47, 91, 12), (41, 98, 10)]
    for side, depth, tall in rng.uniform((-0.66, 0, 9), (0.66, 1, 17), (850, 3)):
        z = 395 + 850 * depth**2
        firs.append((side * z, z, tall))
    placed += [conifer(rng, x, ground(x, z) - 0.3, z, tall) for x, z, tall in firs]
    return sorted(placed + grass(rng, 26000), key=lambda thing: -thing[0])


def draw_things(placed: list[Thing], eye: float, near: float) -> tuple[Array, Array]:
    """Project the things from a height; return their colours and their distance per pixel."""
    colour, depth = Image.new("RGB", (W, H)), Image.new("F", (W, H), 2 * SKY)
    paint, measure = ImageDraw.Draw(colour), ImageDraw.Draw(depth)
    for distance, faces in placed:
        for corners, tone in faces if distance > near else []:
            px = W / 2 + FOCAL * corners[:, 0] / corners[:, 2]
            py = HORIZON - FOCAL * (corners[:, 1] - eye) / corners[:, 2]
            points = list(zip(px.tolist(), py.tolist(), strict=True))
            paint.polygon(points, tuple((255 * tone).astype(int).tolist()))
            measure.polygon(points, float(distance))
    return np.asarray(colour, np.float32) / 255, np.asarray(depth)


def look(
    ground: Land, placed: list[Thing], backdrop: Array, eye: float, near: float = 0
) -> tuple[Array, NDArray[np.intp]]:
    """Return the picture seen from a height, and which region each of its pixels lies in."""
    light, distance, water = ground.view(eye, near)
    picture = np.where((distance == SKY)[..., None], backdrop, develop(light))
    colour, depth = draw_things(placed, eye, near)
    row, col = np.mgrid[0:H, 0:W].astype(np.float32) / (1.6 * SS)
    colour = colour * (1 + 0.10 * fbm(col, row * 0.6, 2))[..., None]  # nothing is quite even
    front = depth < distance * 1.03
    region = np.select(
        [front & (depth < VILLAGE), front, water, distance == SKY, distance < CAPE],
        [Region.NEAR, Region.LAND, Region.WATER, Region.SKY, Region.NEAR],
        Region.LAND,
    )
    return np.where(front[..., None], colour, picture), region


def ripples(x: Array, z: Array) -> Array:
    """Give the slope of the waves, leaving out those too small to be seen from afar."""
    calm = 0.35 + 0.65 * smooth(-0.25, 0.3, fbm(x / 25, z / 50, 3))
    blur, slope = z * z / (FOCAL * EYE) + z / FOCAL, np.zeros_like(x)
    for k, wave in enumerate((9.0, 4.5, 2.2, 1.1, 0.55, 0.27)):
        seen = np.clip(wave / (2.5 * blur) - 0.4, 0, 1)
        slope += seen * noise(x / wave / 2.2 + 7 * k, z / wave + 3 * k) * (0.7 + 0.3 * calm)
    return slope * calm


def draw() -> dict[str, Image.Image]:
    """Render the lake, the mask of its sky and the map of its regions."""
    ground, placed = Land(), things(np.random.default_rng(11))
    backdrop = develop(sky())
    picture, region = look(ground, placed, backdrop, EYE)
    # water mirrors only what lies beyond it: one view for before the cape, one for behind it
    for near, far in ((30, 115), (115, SKY)):
        mirror, _ = look(ground, placed, backdrop, -EYE, near)
        row, col = np.nonzero(region == Region.WATER)
        z = FOCAL * EYE / np.maximum(row + 0.5 - HORIZON, 0.5)
        here = (z < far) & (z >= (near if far == SKY else 0))
        row, col, z = row[here], col[here], z[here].astype(np.float32)
        slope = ripples(((col - W / 2) / FOCAL * z).astype(np.float32), z)
        # the mirrored eye sees upside down what the lake shows; waves tilt the mirror
        up, side = 2 * HORIZON - row + slope * 0.011 * FOCAL, np.clip(col + slope * 4, 0, W - 1)
        seen = np.mean(
            [
                mirror[np.clip(up + d, 0, H - 1).astype(int), side.astype(int)]
                for d in (-5, -2, 0, 3, 6)
            ],
            axis=0,
        )
        grazing = 1 - np.clip((row - HORIZON) / FOCAL - 0.25 * slope, 0, 1)
        deep = mix(rgb(0.07, 0.20, 0.25), rgb(0.12, 0.34, 0.38), smooth(-0.4, 0.4, slope))
        picture[row, col] = mix(deep, seen * rgb(0.93, 0.97, 1.0), 0.38 + 0.56 * grazing**3)
    content = to_image(mix(picture, smooth(0, 1, picture), np.float32(0.3)), SIZE)
    blocks = region.reshape(SIZE[1], SS, SIZE[0], SS)
    shares = np.stack([(blocks == r).mean((1, 3)) for r in Region], -1)
    sky_mask = Image.fromarray((255 * shares[..., Region.SKY]).round().astype(np.uint8))
    return {"content.jpg": content, "sky.png": sky_mask, "regions.png": region_map(shares)}
