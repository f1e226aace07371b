"""A run as a film: its intermediate images one after the other, and the result at the end.

An image is shown for a time in proportion to the square root of how much it differs from the next
one. With the same time for all, the first images, which change most, would flash by. In
proportion to the change itself they would take most of the film, and of the many late images, each
a little different, hardly any would be seen.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst.errors import InputError
from nst.files import atomic_file
from nst.pictures import images

Format = Literal["webp", "gif", "mp4"]

# Every time is a whole number of ticks, which all three formats can hold.
_TICK = 0.05  # s
# How long a film goes from the first image to the result, in ticks: at most, and for each image.
_LONGEST_FILM, _EACH = 100, 5
# How much longer the first image is shown, and how long the result, in ticks.
_FIRST, _LAST = 10, 40
# px on the longer side: a film is to be played, and WebP and GIF have all of it in memory at once.
_LONGEST_SIDE = 1024
# px on the longer side of the copies that images are compared by, and colours chosen from.
_SMALL = 128


def check(kind: Format) -> None:
    """Check that films of this format can be written.

    Raises:
        InputError: the library that does it is missing.
    """
    if kind == "mp4":
        try:
            import av

            av.codec.Codec("libx264", "w")
        except ImportError:
            raise InputError("a timelapse as mp4 is an extra: pip install -e '.[video]'") from None
        except ValueError as error:  # a build without it
            raise InputError(f"a timelapse as mp4 needs H.264, which PyAV lacks: {error}") from None


def path_of(folder: Path, kind: Format) -> Path:
    """Where a run's film is."""
    return folder / f"timelapse.{kind}"


def save(pictures: Sequence[Path], result: Image.Image, path: Path) -> None:
    """Write a film, whole or not at all.

    All frames have the size of the result, or less where that is more than 1024 px long. Those of
    mp4 have even sides.

    Args:
        pictures: files of the intermediate images, in order, of any size.
        result: what the film ends with, of any mode.
        path: ends in `.webp`, `.gif` or `.mp4`.

    Raises:
        nst.pictures.images.ImageError: an image cannot be read.
        OSError: the folder is missing or not writable, or the disk is full.
    """
    last = images.load(result)
    last.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BICUBIC)
    ticks = _ticks(_changes(pictures, last))
    shown = [(picture, own) for picture, own in zip(pictures, ticks, strict=True) if own]

    def frames() -> Iterator[Image.Image]:
        for picture, _ in shown:
            frame = images.load(picture, max_megapixels=None)
            yield frame.resize(last.size, Image.Resampling.BICUBIC)
        yield last

    write = {".webp": _write_webp, ".gif": _write_gif, ".mp4": _write_mp4}[path.suffix]
    with atomic_file(path) as file:
        write(file, frames(), [*(own for _, own in shown), _LAST])


def _changes(pictures: Sequence[Path], last: Image.Image) -> list[float]:
    """Mean absolute difference of each image from the next one, the last's from the result."""
    size = _small(last).size

    def values(picture: images.Picture) -> npt.NDArray[np.int16]:
        found = images.load(picture, max_megapixels=None).resize(size, Image.Resampling.BOX)
        return np.asarray(found, dtype=np.int16)

    every: list[images.Picture] = [*pictures, last]
    found = map(values, every)
    return [float(np.abs(after - before).mean()) for before, after in pairwise(found)]


def _ticks(changes: Sequence[float]) -> list[int]:
    """How long each image is shown; an image of 0 ticks is left out.

    Args:
        changes: of each image to the next.
    """
    if not changes:
        return []
    shares = np.sqrt(changes) + 1e-3  # so that there is something to divide where nothing changed
    ends = np.cumsum(shares) / shares.sum()
    count = min(_LONGEST_FILM, _EACH * len(changes))
    middles = (np.arange(count) + 0.5) / count
    found = np.bincount(np.searchsorted(ends, middles), minlength=len(changes))
    found[0] += _FIRST
    return [int(own) for own in found]


def _small(frame: Image.Image) -> Image.Image:
    copy = frame.copy()
    copy.thumbnail((_SMALL, _SMALL))
    return copy


def _write_animation(
    file: BinaryIO,
    kind: str,
    frames: Iterator[Image.Image],
    ticks: Sequence[int],
    **options: object,
) -> None:
    """Write frames in a format of Pillow's, to be repeated for ever."""
    first, *others = frames
    first.save(
        file,
        format=kind,
        save_all=True,
        append_images=others,
        duration=[round(1000 * _TICK * own) for own in ticks],
        loop=0,
        **options,
    )


def _write_webp(file: BinaryIO, frames: Iterator[Image.Image], ticks: Sequence[int]) -> None:
    _write_animation(file, "WEBP", frames, ticks, method=4)


def _write_gif(file: BinaryIO, frames: Iterator[Image.Image], ticks: Sequence[int]) -> None:
    """One palette for all frames: with one for each, what rests in the picture would flicker."""
    kept = list(frames)
    mosaic = np.concatenate([np.asarray(_small(frame)) for frame in kept])
    palette = Image.fromarray(mosaic).quantize(256)
    frames = (frame.quantize(palette=palette) for frame in kept)
    _write_animation(file, "GIF", frames, ticks)


def _write_mp4(file: BinaryIO, frames: Iterator[Image.Image], ticks: Sequence[int]) -> None:
    """H.264 at a constant rate, with the index in front, which browsers play while they load it."""
    import av

    # By its path: to put the index in front, the library opens the file once more.
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(file.name, "w", format="mp4", options=options) as container:
        # Without mbtree, which small pictures are not always the same with, and on one thread: the
        # same bytes however many cores there are.
        how = {"crf": "20", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=round(1 / _TICK), options=how)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # Players guess where a film does not say: numbers of ITU-T H.273, for sRGB by BT.709's
        # matrix in the narrow range.
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 1, 13, 1
        context.color_range = 1
        at = 0
        for frame, own in zip(frames, ticks, strict=True):
            # Of colours there is a value for two by two pixels.
            width, height = (max(2, side - side % 2) for side in frame.size)
            if at == 0:
                stream.width, stream.height = width, height
            cropped = np.asarray(frame.crop((0, 0, width, height)))
            even = av.VideoFrame.from_ndarray(cropped, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709"
            )
            for _ in range(own):
                even.pts = at
                container.mux(stream.encode(even))
                at += 1
        container.mux(stream.encode())
