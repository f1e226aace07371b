"""Letters of all scripts in the figures, as far as the system has fonts for them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font


@contextmanager
def fonts_for(lines: Iterable[str]) -> Iterator[None]:
    """Let matplotlib write ``lines``; a letter that no font of the system has is a box."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with mpl.rc_context({"font.family": _families(set("".join(lines)))}), warnings.catch_warnings():
        # Said for every letter: that none has it, or only one without bold letters.
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def _families(letters: set[str]) -> list[str]:
    """Return the usual font, and others for the letters that it lacks."""
    usual = mpl.rcParamsDefault["font.sans-serif"][0]
    # The last resort has boxes for all letters, which matplotlib draws anyway.
    real = (font for font in fontManager.ttflist if not font.name.startswith("Last Resort"))
    fonts = sorted(real, key=lambda font: (font.name != usual, font.weight != 400))
    missing = {ord(letter) for letter in letters if letter.isprintable()}
    families = [usual]
    for font in fonts:
        if not missing:
            break
        try:
            found = missing & FT2Font(font.fname).get_charmap().keys()
        except (OSError, RuntimeError):  # a font that cannot be read any more
            continue
        if found and font.name not in families:
            families.append(font.name)
        missing -= found
    return families
