"""Draw the sample pictures of the package from formulas alone.

Every random number comes from a generator with a fixed seed, so each run draws the same pixels.

Usage: ``python scripts/make_samples.py [--out DIR]``
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from samples import glass, ink, lake, oil

JPEG = {
    "content.jpg": {"quality": 94, "subsampling": 0},
    "style.jpg": {"quality": 90, "subsampling": 0},
    "style_2.jpg": {"quality": 79, "subsampling": 0},
    "style_3.jpg": {"quality": 73, "subsampling": 2},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Draw all pictures into a folder."""
    samples = Path(__file__).resolve().parent.parent / "nst" / "samples"
    parser = argparse.ArgumentParser(description="Draw the sample pictures.")
    parser.add_argument("--out", type=Path, default=samples, help="folder (default: %(default)s)")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for module in (lake, oil, glass, ink):
        for name, picture in module.draw().items():
            picture.save(out / name, optimize=True, **JPEG.get(name, {}))
            print(f"{out / name}: {(out / name).stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
