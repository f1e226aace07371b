"""The sample pictures are what their script draws, and their maps fit them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samples.drawing import COLOURS, Region
from support import REPOSITORY

SAMPLES = REPOSITORY / "nst" / "samples"


def pixels(name: str) -> np.ndarray:
    with Image.open(SAMPLES / name) as picture:
        return np.asarray(picture)


@pytest.mark.slow
def test_script_draws_the_committed_pictures(tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "make_samples.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, timeout=280)
    names = {path.name for path in SAMPLES.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in sorted(names):
        with Image.open(tmp_path / name) as drawn, Image.open(SAMPLES / name) as kept:
            assert (drawn.size, drawn.mode) == (kept.size, kept.mode), name
            assert max(kept.size) == 768, name
            difference = np.asarray(drawn).astype(int) - np.asarray(kept)
        # Not the bytes: another CPU or JPEG encoder may round the last bit otherwise.
        assert np.abs(difference).mean() < 0.5, name


@pytest.mark.parametrize(
    ("name", "of"), [("regions.png", "content.jpg"), ("style_regions.png", "style.jpg")]
)
def test_map_gives_each_pixel_one_of_four_colours(name: str, of: str) -> None:
    regions = pixels(name)
    assert regions.shape == pixels(of).shape
    shares = [(regions == colour).all(-1).mean() for colour in COLOURS.values()]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.12


def test_sky_is_the_same_in_mask_and_map() -> None:
    mask = pixels("sky.png")
    sky = (pixels("regions.png") == COLOURS[Region.SKY]).all(-1)
    assert mask.shape == sky.shape
    assert sky[mask > 128].all()
    assert not sky[mask < 64].any()
    assert 0 < ((mask > 0) & (mask < 255)).mean() < 0.05  # its edge is soft


def test_map_of_the_style_follows_its_colours() -> None:
    """Near is the warmest part of the painting, sky the lightest and land the darkest."""
    style, regions = pixels("style.jpg").astype(float), pixels("style_regions.png")
    mean = {r: style[(regions == colour).all(-1)].mean(0) for r, colour in COLOURS.items()}
    warmth = {r: red - blue for r, (red, _, blue) in mean.items()}
    light = {r: colour.sum() for r, colour in mean.items()}
    assert max(warmth, key=warmth.__getitem__) == Region.NEAR
    assert max(light, key=light.__getitem__) == Region.SKY
    assert min(light, key=light.__getitem__) == Region.LAND
