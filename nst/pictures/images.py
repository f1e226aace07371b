"""The only place that reads or writes pictures, and their way to and from tensors.

A picture is a PIL image, 8-bit sRGB. An image tensor is 1 x 3 x H x W float32 in
ImageNet-normalised space: (rgb - mean) / std for rgb in [0, 1].
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageOps,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    features,
)
from torch import Tensor

from nst.errors import InputError
from nst.files import atomic_write

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Picture = str | Path | Image.Image | Tensor
Resize = Literal["fit", "stretch", "short", "height"]
Alpha = Literal["keep", "drop"]

# The folder of the pictures that come with the package, `content.jpg` and `style.jpg` among them.
SAMPLES = Path(__file__).resolve().parents[1] / "samples"
# px on the longest side, which is what the formats hold.
LARGEST_SIDE = 65535
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# How far a tensor picture may be outside of [0, 1]: resizing overshoots a little.
_OVERSHOOT = 0.01
# The brightest value of a floating-point picture whose white is 1, rather than 255.
_BRIGHT = 16.0
_PHOTOMETRIC = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION

MAX_MEGAPIXELS = 90.0
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM") + (
    ("AVIF",) if features.check("avif") else ()
)
# What is written, by suffix, and how: as good as the format gets within reason.
WRITTEN: dict[str, dict[str, Any]] = {
    # Painted pictures hardly get smaller with more effort: at 512 px by 4 to 9 % in 35 or 60 ms in
    # place of 25, and a GPU makes an evaluation in 3 ms.
    ".png": {"format": "PNG", "compress_level": 1},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95},
    ".tiff": {"format": "TIFF", "compression": "tiff_lzw"},
}


# The brands of HEIF files with still pictures, as phones write them.
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx"})
_HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_LIMIT = RLock()


class ImageError(InputError):
    """A picture that cannot be read or is not usable; the message names the file."""


def suffixes() -> frozenset[str]:
    """Suffixes of files that `load` reads, in lower case; those of HEIF, an extra, among them."""
    known = Image.registered_extensions().items()
    return _HEIF_SUFFIXES | {suffix for suffix, kind in known if kind in FORMATS}


def load(source: Picture, max_megapixels: float | None = MAX_MEGAPIXELS) -> Image.Image:
    """Read a picture as 8-bit sRGB, upright.

    EXIF orientation is applied, a colour profile converted to sRGB, 16-bit greyscale scaled to 8,
    palettes expanded and transparency composited on white. Of an animation the first frame is
    taken and CMYK converted, each with a warning in the log.

    Args:
        source: a path, a PIL image, or a tensor 3 x H x W or 1 x 3 x H x W in [0, 1].
        max_megapixels: of files; a small file can claim to hold a picture that fills the memory.
            None for any number.

    Returns:
        A PIL image in mode RGB.

    Raises:
        ImageError: no such file, not a picture in one of `FORMATS`, or damaged data.
    """
    if isinstance(source, Tensor):
        return _from_unit_tensor(_checked(source))
    if not isinstance(source, str | Path | Image.Image):
        raise ImageError(
            f"a picture must be a path, a PIL image or a tensor, not {type(source).__name__}"
        )
    return _read(source, lambda picture: _to_srgb(picture, _name(source)), max_megapixels)


def transparency(
    source: Picture, max_megapixels: float | None = MAX_MEGAPIXELS
) -> Image.Image | None:
    """The alpha channel of a picture, upright, mode L; None where it is opaque everywhere.

    Raises:
        ImageError: as `load`.
    """
    if isinstance(source, Tensor):
        return None

    def alpha(picture: Image.Image) -> Image.Image | None:
        if not picture.has_transparency_data:
            return None
        channel = ImageOps.exif_transpose(picture).convert("RGBA").getchannel("A")
        return channel if channel.getextrema()[0] != 255 else None

    return _read(source, alpha, max_megapixels)


def to_tensor(picture: Image.Image, size: int | tuple[int, int], resize: Resize = "fit") -> Tensor:
    """Resize a picture and bring it to an image tensor.

    The filter is Pillow's antialiased bilinear one, as torchvision's `Resize` uses for pictures.

    Args:
        picture: mode RGB.
        size: an (H, W) pair to stretch to, or one number that `resize` interprets.
        resize: see `target_size`.

    Returns:
        1 x 3 x H x W float32, ImageNet-normalised.
    """
    height, width = target_size(picture, size, resize)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).to(torch.float32).div(255)
    mean, std = statistics(pixels)
    return ((pixels - mean) / std)[None].contiguous()


def target_size(
    picture: Image.Image, size: int | tuple[int, int], resize: Resize = "fit"
) -> tuple[int, int]:
    """The (H, W) to which `to_tensor` would resize a picture.

    Args:
        picture: of any mode.
        size: an (H, W) pair, or one number that `resize` interprets, px.
        resize: what becomes `size`. `fit`: the longer side, the other is rounded; `short`: the
            shorter side, the other is rounded down, as by torchvision's `Resize` of one number;
            `height`: the height, likewise. These keep the aspect. `stretch`: both sides.
    """
    if isinstance(size, tuple):
        return size
    if resize == "stretch":
        return size, size
    width, height = picture.size
    if resize == "fit":
        longest = max(width, height)
        return max(1, round(height * size / longest)), max(1, round(width * size / longest))
    given = height if resize == "height" else min(width, height)
    return max(1, height * size // given), max(1, width * size // given)


def size_of(height: int, width: int, resize: Resize) -> int:
    """The size for which `target_size` makes a picture of this height and width, px."""
    if resize == "height":
        return height
    return min(height, width) if resize == "short" else max(height, width)


def to_unit_tensor(image: Tensor) -> Tensor:
    """Image tensor 1 x 3 x H x W to 3 x H x W on the CPU in [0, 1]: denormalised and clamped."""
    pixels = image.detach()[0].to("cpu", torch.float32)
    mean, std = statistics(pixels)
    return (pixels * std).add_(mean).clamp_(0, 1)


def to_picture(image: Tensor) -> Image.Image:
    """Image tensor 1 x 3 x H x W to a PIL image: denormalised, clamped, rounded to 8 bits."""
    return _from_unit_tensor(to_unit_tensor(image))


def clipped(image: Tensor) -> float:
    """Share in [0, 1] of the pixels that `to_picture` clips.

    Of those some channel is further outside [0, 1] than rounding to 8 bits goes anyway.

    Args:
        image: 1 x 3 x H x W.
    """
    pixels = image.detach()[0]
    mean, std = statistics(pixels)
    values = pixels * std + mean
    outside = (values < -0.5 / 255) | (values > 1 + 0.5 / 255)
    return outside.any(0).float().mean().item()


def save(picture: Image.Image, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write a picture whole or not at all, in the format that the file's suffix names.

    Args:
        picture: mode RGB, or RGBA where the format has transparency (else on white).
        path: ends in one of `WRITTEN`.
        about: goes with the picture: as text chunks of a PNG, else in the EXIF entries Software
            (the key `Software`) and ImageDescription (all others).

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    atomic_write(path, encoded(picture, path.suffix.lower(), about))


def as_saved(picture: Image.Image, suffix: str) -> Image.Image:
    """What `load` reads of a picture that `save` has written: what JPEG and WebP lose is lost.

    Args:
        picture: mode RGB.
        suffix: one of `WRITTEN`.
    """
    with _pillow_without_limit(), Image.open(io.BytesIO(encoded(picture, suffix))) as file:
        return load(file)


def encoded(picture: Image.Image, suffix: str, about: Mapping[str, str] | None = None) -> bytes:
    """What `save` writes into a file with this suffix."""
    options = dict(WRITTEN[suffix])
    if suffix == ".jpg" and picture.mode == "RGBA":
        picture = _on_white(picture)
    if about and suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        for key, value in about.items():
            chunks.add_itxt(key, value)
        options["pnginfo"] = chunks
    elif about:
        rest = "\n".join(f"{key}: {value}" for key, value in about.items() if key != "Software")
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = about.get("Software", "")
        exif[ExifTags.Base.ImageDescription] = rest
        options["exif"] = exif
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def _name(source: str | Path | Image.Image) -> str:
    return "the picture" if isinstance(source, Image.Image) else str(source)


def _read(
    source: str | Path | Image.Image,
    use: Callable[[Image.Image], _T],
    max_megapixels: float | None,
) -> _T:
    """What `use` makes of an opened picture, with all that can go wrong as an ImageError."""
    name = _name(source)
    try:
        with _pillow_without_limit(), warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            if isinstance(source, Image.Image):
                used = use(source)
            else:
                with _open(source) as picture:
                    megapixels = picture.width * picture.height / 1e6
                    if max_megapixels is not None and megapixels > max_megapixels:
                        raise ImageError(
                            f"{name}: has {picture.width} x {picture.height} px, more than "
                            f"max_megapixels={max_megapixels:g} (max_megapixels=null: no limit)"
                        )
                    used = use(picture)
        for text in dict.fromkeys(str(complaint.message) for complaint in complaints):
            log.warning("%s: %s", name, " ".join(text.split()))  # of damaged metadata
        return used
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture") from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture ({', '.join(FORMATS)} can be read)") from None
    except Exception as error:
        # Decoders raise whatever befalls them on damaged data: OSError, SyntaxError, struct.error,
        # KeyError, zlib.error, ...
        raise ImageError(f"{name}: damaged or unusable picture ({_brief(error)})") from error


def _open(path: str | Path) -> Image.Image:
    """Open a file in one of `FORMATS`, or HEIF where pillow-heif is there."""
    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            start = file.read(12)
        if start[4:8] != b"ftyp" or start[8:12] not in _HEIF:
            raise
    try:
        # Its class alone: registering it would add the format to Pillow for the whole program.
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            f"{path}: is a HEIC picture, and to read these is an extra: pip install -e '.[heif]'"
        ) from None
    opened: Image.Image = HeifImageFile(path)  # type: ignore[no-untyped-call]
    return opened


@contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Set Pillow's own limit aside, which is the whole program's and can only be told to fail.

    One thread at a time, as warnings are the whole program's too.
    """
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _to_srgb(picture: Image.Image, name: str) -> Image.Image:
    picture.load()
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        log.warning("%s: has %d frames, the first is taken", name, frames)
    if picture.mode == "CMYK":
        log.warning("%s: CMYK colours, made for print; converted to sRGB", name)
    profile = picture.info.get("icc_profile")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F" or upright.mode.startswith("I"):
        grey = _scale_deep_grey(upright, _bits(picture), name)
        return (ImageOps.invert(grey) if _tag(picture, _PHOTOMETRIC) == 0 else grey).convert("RGB")
    if profile:
        upright = _apply_profile(upright, profile)
    if upright.has_transparency_data:
        return _on_white(upright.convert("RGBA"))
    return upright.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _scale_deep_grey(picture: Image.Image, bits: int, name: str) -> Image.Image:
    """Greyscale of more than 8 bits to mode L; Pillow's own `convert` would clip it at 255.

    Args:
        picture: mode F, or I in one of its kinds.
        bits: see `_bits`; Pillow does not scale 12 up to 16.
        name: for the log.
    """
    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite")
    lowest, highest = float(values.min()), float(values.max())
    if picture.mode == "F":
        # By convention in [0, 1], which resampling and bright lights go beyond; or in the range of
        # the integers that it was made from.
        white = 1.0 if highest <= _BRIGHT else max(255.0, highest)
        if white > 255:
            log.warning("%s: floating-point values up to %.4g, taken as white", name, highest)
        elif white == 1 < highest:
            log.warning("%s: has values up to %.4g; 1 is taken as white", name, highest)
    elif bits <= 16:
        white = 2.0**bits - 1
    else:
        # Nobody means all of 32 bits: what was meant is the range that the values come from.
        levels = (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
        white = next(level for level in levels if highest <= level)
        log.warning("%s: 32-bit values up to %.0f; %.0f is taken as white", name, highest, white)
    if lowest < 0:
        log.warning("%s: has values down to %.6g; those below 0 are taken as black", name, lowest)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):  # of a PNG: one transparent value
        values[values == clear] = white
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8))


def _bits(picture: Image.Image) -> int:
    """Bits of each value of a deep greyscale picture as its file says; 32 where nothing does.

    Of signed values, without the sign.
    """
    if bits := _tag(picture, TiffImagePlugin.BITSPERSAMPLE):
        signed = _tag(picture, TiffImagePlugin.SAMPLEFORMAT) == 2
        return bits - 1 if signed and bits <= 16 else bits
    # Pillow's mode for 16-bit PNG and PGM files is I, or I;16.
    deep = picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM"))
    return 32 if deep else 16


def _tag(picture: Image.Image, tag: int) -> int | None:
    """The first value of a TIFF's tag; None where there is none."""
    value = getattr(picture, "tag_v2", {}).get(tag)
    return int(value[0] if isinstance(value, tuple) else value) if value is not None else None


def _apply_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert from an embedded ICC profile to sRGB; an unusable profile is left out of account."""
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
    opaque = {"RGBA": "RGB", "LA": "L", "P": "RGB"}.get(picture.mode, picture.mode)
    if picture.mode == "P" and picture.has_transparency_data:
        alpha = picture.convert("RGBA").getchannel("A")
    try:
        converted = ImageCms.profileToProfile(
            picture.convert(opaque),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        # A profile for another colour model than the picture's, or garbage: viewers ignore it too.
        return picture
    if converted is None:  # only for in-place conversion
        return picture
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _checked(pixels: Tensor) -> Tensor:
    """A tensor that somebody gave as a picture, 3 x H x W in [0, 1]."""
    if pixels.layout != torch.strided or pixels.is_meta:
        raise ImageError(f"a tensor picture must hold its values, not be {pixels.layout} or meta")
    pixels = pixels.detach()
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    right = pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.numel() > 0
    if not right or not pixels.is_floating_point():
        raise ImageError(
            "a tensor picture must be floating point, 3 x H x W or 1 x 3 x H x W in [0, 1], "
            f"not {tuple(pixels.shape)} of {pixels.dtype}"
        )
    if not pixels.isfinite().all():
        raise ImageError("a tensor picture has values that are not finite")
    low, high = (float(end) for end in pixels.aminmax())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(
            f"a tensor picture must be in [0, 1], not in [{low:.4g}, {high:.4g}] "
            "(divide 8-bit values by 255)"
        )
    return pixels


def _from_unit_tensor(pixels: Tensor) -> Image.Image:
    scaled = pixels.detach().to("cpu", torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(scaled.permute(1, 2, 0).numpy())


def statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation, 3 x 1 x 1, in a tensor's type and on its device."""
    return like.new_tensor(MEAN)[:, None, None], like.new_tensor(STD)[:, None, None]


def _brief(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
