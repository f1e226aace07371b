"""The sample pictures are what their script draws."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from support import REPOSITORY

SAMPLES = REPOSITORY / "nst" / "samples"


def test_script_draws_the_committed_pictures(tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "make_samples.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, timeout=280)
    for name in ("content.jpg", "style.jpg"):
        with Image.open(tmp_path / name) as drawn, Image.open(SAMPLES / name) as kept:
            assert drawn.size == kept.size
            assert max(kept.size) == 768
            difference = np.asarray(drawn).astype(int) - np.asarray(kept)
        # Not the bytes: another CPU or JPEG encoder may round the last bit otherwise.
        assert np.abs(difference).mean() < 0.5
