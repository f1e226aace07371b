"""Memory: how much a run needs, and what to say when there is not enough."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nst.weights import BLOCKS, convolutions


class OutOfMemory(RuntimeError):
    """A run needs more memory than there is; the message says what would fit."""


@contextmanager
def explained(device: torch.device, height: int, width: int) -> Iterator[None]:
    """Turn what is raised for lack of memory within the `with` block into an OutOfMemory.

    Args:
        device: where the run computes.
        height: of its picture, px.
        width: likewise.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_exhausted(error):
            raise
        room, aspect = free(device), max(height, width) / min(height, width)
        fits = f"; size={fitting_size(room, aspect)} would fit" if room else ""
        raise OutOfMemory(
            f"out of memory: {width} x {height} px need about "
            f"{per_pixel() * height * width / 2**30:.1f} GiB on {device}{fits}"
        ) from error


def per_pixel() -> int:
    """Bytes that one evaluation holds for each pixel of the picture, in float32, to conv5_1.

    Each convolution keeps its input for the backward pass, each ReLU its output (the input of the
    next), and the gradient of the largest layer is there beside them, twice while it is passed on.
    """
    total = 0.0
    for name, _, _, outputs in convolutions():
        total += outputs / 4 ** (int(name[4]) - 1)
        if name == "conv5_1":
            break
    widest = BLOCKS[0][0]
    return int(4 * (2 * total + 2 * widest))


def free(device: torch.device) -> int | None:
    """Bytes to be had on a device; None where that cannot be found out."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def fitting_size(available: int, aspect: float) -> int:
    """The longest side in px of a picture that fits.

    Args:
        available: bytes.
        aspect: longer by shorter side.
    """
    return max(16, int((0.8 * available / per_pixel() * aspect) ** 0.5) // 16 * 16)


def _is_exhausted(error: BaseException) -> bool:
    """Whether an error is one of torch's or Python's several ways to say that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = (
        "not enough memory",
        "can't allocate memory",
        "out of memory",
        "Cannot allocate memory",
    )
    return any(word in str(error) for word in words)
