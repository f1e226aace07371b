"""Small copies of the runs' pictures, for the contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst.pictures.images import ImageError, load

Picture = npt.NDArray[np.uint8]


def thumbnail(path: Path, pixels: int) -> Picture | None:
    """Return the picture at ``path`` as HxWx3, its longest side at most ``pixels``.

    ``None`` where there is no picture or it cannot be read: the sheet shows a grey tile.
    """
    try:
        picture = load(path)
    except ImageError:
        return None
    picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return np.asarray(picture)
