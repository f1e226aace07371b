"""Memory: whether to tile a picture, what to say when it runs out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch.optim import Optimizer

from nst.errors import InputError
from nst.free_memory import free, gib
from nst.objective.cost import NOTHING, Extra, fitting_size, needed

log = logging.getLogger(__name__)

Memory = Literal["auto", "full", "tiled"]
# Sides of tiles to choose from. Larger ones gain next to nothing, smaller ones are mostly halo.
TILE_SIZES = (1024, 768, 512, 384, 256, 192, 128, 64)
# The share of free memory that an evaluation may take; the optimizer's vectors need the rest.
SHARE = 0.5


class OutOfMemory(RuntimeError):
    """A run needs more memory than there is; the message says what would fit."""


def choose_tile_size(
    memory: Memory,
    tile_size: int | None,
    device: torch.device,
    height: int,
    width: int,
    precision: str,
    *,
    joint: bool = True,
    extra: Extra = NOTHING,
) -> int | None:
    """Whether to tile a picture, and how.

    Args:
        memory: `full` never tiles, `tiled` always, `auto` where the whole picture would take more
            than `SHARE` of the memory that is free.
        tile_size: longest side of a tile's core, px; None is the largest of `TILE_SIZES` that fits.
        device: where the run computes.
        height: of the picture, px.
        width: likewise.
        precision: of the network, see `nst.objective.Objective`.
        joint: likewise; without it `auto` does not tile.
        extra: what the style term takes more, see `nst.objective.cost.extra`.

    Returns:
        `tile_size` for `nst.objective.Objective`, None for whole pictures.

    Raises:
        nst.errors.InputError: an unknown `memory`, or a tile of less than 1 px.
    """
    if memory not in ("auto", "full", "tiled"):
        raise InputError(f"memory={memory}: must be auto, full or tiled")
    if tile_size is not None and tile_size < 1:
        raise InputError(f"tile_size must be at least 1, not {tile_size}")
    if memory == "full" or (memory == "auto" and not joint):
        return None
    room = free(device)
    whole = needed(height, width, precision, extra=extra)
    if memory == "auto" and (room is None or whole <= SHARE * room):
        return None
    if tile_size is None:
        fitting = (
            size
            for size in TILE_SIZES
            if room is None or needed(height, width, precision, size, extra) <= SHARE * room
        )
        tile_size = next(fitting, TILE_SIZES[-1])
    if memory == "auto" and room is not None:
        log.info(
            "Tiled: %d x %d px would take %s of %s free; tile_size=%d takes %s",
            width,
            height,
            gib(whole),
            gib(room),
            tile_size,
            gib(needed(height, width, precision, tile_size, extra)),
        )
    return tile_size


def check_history(
    optimizer: Optimizer,
    evaluations: int | None,
    device: torch.device,
    height: int,
    width: int,
    evaluation: int,
) -> None:
    """Check that an L-BFGS with a fixed `history_size` can have it in the full size.

    Args:
        optimizer: of the run; others than L-BFGS pass.
        evaluations: of its budget; no more pairs than that come together.
        device: where the run computes.
        height: of its picture, px.
        width: likewise.
        evaluation: bytes that an evaluation takes, see `nst.objective.cost.needed`.

    Raises:
        nst.errors.InputError: the history is larger than what is free.
    """
    size, room = optimizer.defaults.get("history_size"), free(device)
    if size is None or room is None:
        return
    kept = optimizer.defaults.get("history_dtype") or torch.float32
    pairs = size if evaluations is None else min(size, evaluations)
    history = 2 * pairs * 3 * height * width * kept.itemsize
    if history + evaluation > room:
        raise InputError(
            f"optimizer.history_size={size}: takes {gib(history)}, and an evaluation "
            f"{gib(evaluation)}, of which {gib(room)} are free; "
            f"optimizer=lbfgs optimizer.history_size=auto takes what fits"
        )


def at_once(
    device: torch.device, height: int, width: int, precision: str, extra: Extra = NOTHING
) -> int | None:
    """How many whole pictures fit into one evaluation, at least 1; None where nobody knows.

    Args:
        device: where the run computes.
        height: of each picture, px.
        width: likewise.
        precision: of the network.
        extra: what the terms of each take more.
    """
    room, each = free(device), needed(height, width, precision, extra=extra)
    return None if room is None else max(1, int(SHARE * room / each))


@contextmanager
def explained(
    device: torch.device,
    height: int,
    width: int,
    precision: str = "fp32",
    size: int | None = None,
    extra: Extra = NOTHING,
) -> Iterator[None]:
    """Turn what is raised for lack of memory within the `with` block into an OutOfMemory.

    Args:
        device: where the run computes.
        height: of its picture, px.
        width: likewise.
        precision: of the network.
        size: that was asked for, as `resize` means it; None is the longest side.
        extra: what its style term takes more, see `nst.objective.cost.extra`.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_exhausted(error):
            raise
        room, longest = free(device), max(height, width)
        smaller = "a smaller size"
        if room:
            fitting = fitting_size(room, longest / min(height, width), precision, extra)
            smaller = f"size={max(1, fitting * (size or longest) // longest)}"
        raise OutOfMemory(
            f"out of memory: {width} x {height} px need about "
            f"{gib(needed(height, width, precision, extra=extra))} on {device} as a whole; "
            f"set memory=tiled, with tiles a smaller tile_size, "
            f"for L-BFGS optimizer.history_size=auto, or {smaller}"
        ) from error


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
