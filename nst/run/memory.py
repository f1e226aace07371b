"""Memory: whether to tile a picture, what to say when it runs out."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from nst.errors import InputError
from nst.free_memory import free, gib
from nst.objective.cost import Cost

log = logging.getLogger(__name__)

Memory = Literal["auto", "full", "tiled"]
# Sides of tiles to choose from. Larger ones gain next to nothing, smaller ones are mostly halo.
TILE_SIZES = (1024, 768, 512, 384, 256, 192, 128, 64)
# The share of free memory that a run may take; the rest is for longer histories of L-BFGS, and for
# runs beside it.
SHARE = 0.5
# The same where that is too little, with tiles of no more than so many px: they take more time, and
# leave more to the optimizer.
_MOST, _SMALL = 0.9, 256


class OutOfMemory(RuntimeError):
    """A run needs more memory than there is; the message says what would fit."""


def choose_tile_size(
    memory: Memory,
    tile_size: int | None,
    device: torch.device,
    height: int,
    width: int,
    cost: Cost,
    *,
    joint: bool = True,
    kept: int = 0,
) -> int | None:
    """Whether to tile a picture, and how.

    Args:
        memory: `full` never tiles, `tiled` always, `auto` where the whole picture would take more
            than `SHARE` of the memory that is free, or would not fit beside the optimizer.
        tile_size: longest side of a tile's core, px; None is the largest of `TILE_SIZES` with which
            the run stays within that share; or where none does, one that leaves most of the memory
            to the optimizer.
        device: where the run computes.
        height: of the picture, px.
        width: likewise.
        cost: of its evaluations.
        joint: see `nst.objective.Objective`; without it `auto` does not tile.
        kept: bytes that the optimizer takes, see `nst.optim.optimizers.vectors`.

    Returns:
        `tile_size` for `nst.objective.Objective`, None for whole pictures.
    """
    if memory == "full" or (memory == "auto" and not joint):
        return None
    room = free(device)
    whole = cost.needed(height, width)
    fits = room is None or (whole <= SHARE * room and whole + kept <= _MOST * room)
    if memory == "auto" and fits:
        return None
    if tile_size is None:
        tile_size = _largest_that_fits(room, height, width, cost, kept)
    if memory == "auto" and room is not None:
        log.info(
            "Tiled: %d x %d px would take %s of %s free; tile_size=%d takes %s",
            width,
            height,
            gib(whole),
            gib(room),
            tile_size,
            gib(cost.needed(height, width, tile_size)),
        )
    return tile_size


def _largest_that_fits(room: int | None, height: int, width: int, cost: Cost, kept: int) -> int:
    if room is None:
        return TILE_SIZES[0]
    needed = {size: kept + cost.needed(height, width, size) for size in TILE_SIZES}
    within = [size for size in TILE_SIZES if needed[size] <= SHARE * room]
    small = [size for size in TILE_SIZES if size <= _SMALL and needed[size] <= _MOST * room]
    return (within or small or TILE_SIZES[-1:])[0]


def check_fits(
    device: torch.device,
    height: int,
    width: int,
    cost: Cost,
    tile_size: int | None,
    *,
    joint: bool,
    kept: int,
    size: int,
) -> None:
    """Refuse a run that a CPU's memory cannot hold, and that the system would kill.

    A GPU's memory that runs out is an exception, see `explained`: of its run only the optimizer's
    part is asked for, which a history reaches after many evaluations.

    Args:
        device: where the run computes.
        height: of the picture, px.
        width: likewise.
        cost: of its evaluations.
        tile_size: see `nst.objective.Objective`.
        joint: likewise.
        kept: bytes that the optimizer takes.
        size: that was asked for, as `resize` means it.

    Raises:
        nst.errors.InputError: it takes more than what is free.
    """

    def needed(share: float) -> int:
        evaluation = cost.needed(round(share * height), round(share * width), tile_size)
        return int(share**2 * kept) + (evaluation if device.type == "cpu" else 0)

    room = free(device)
    if room is None or needed(1.0) <= room:
        return
    evaluation = cost.needed(height, width, tile_size)
    how = "as a whole" if tile_size is None else f"in tiles of {tile_size} px"
    less = []
    if device.type == "cpu" and tile_size is None:
        less.append("memory=auto" if joint else "loss.joint=true")
    smallest = TILE_SIZES[-1]
    if device.type == "cpu" and tile_size is not None and tile_size > smallest:
        less.append(f"tile_size={smallest}")
    if kept > evaluation:
        less.append("optimizer=lbfgs with optimizer.history_size=auto")
    if fitting := _largest_size(size, room, needed):
        less.append(f"size={fitting}")
    raise InputError(
        f"size={size}: {width} x {height} px {how} take {gib(evaluation)}, and the optimizer "
        f"{gib(kept)}, of which {gib(room)} are free"
        + (f"; {' or '.join(less)} takes less" if less else "")
    )


def _largest_size(size: int, room: float, needed: Callable[[float], int]) -> int:
    """The largest size below another, at least 16, that fits; 0 where none does.

    Args:
        size: the other one, px.
        room: bytes.
        needed: bytes for a picture whose sides are such a share of what they are.
    """
    sizes = range(16, size)
    count = bisect_right(sizes, room, key=lambda one: needed(one / size))
    return sizes[count - 1] if count else 0


def at_once(device: torch.device, each: int) -> int | None:
    """How many whole pictures fit into one evaluation, at least 1; None where nobody knows.

    Args:
        device: where the run computes.
        each: bytes that an evaluation of one takes.
    """
    room = free(device)
    return None if room is None else max(1, int(SHARE * room / each))


@contextmanager
def explained(
    device: torch.device, height: int, width: int, cost: Cost, size: int | None = None
) -> Iterator[None]:
    """Turn what is raised for lack of memory within the `with` block into an OutOfMemory.

    Args:
        device: where the run computes.
        height: of its picture, px.
        width: likewise.
        cost: of its evaluations.
        size: that was asked for, as `resize` means it; None is the longest side.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_exhausted(error):
            raise
        room, size = free(device), size or max(height, width)

        def whole(share: float) -> int:
            return cost.needed(round(share * height), round(share * width))

        # The rest is for the optimizer.
        fitting = _largest_size(size, 0.8 * room, whole) if room else 0
        smaller = f"size={fitting}" if fitting else "a smaller size"
        raise OutOfMemory(
            f"out of memory: {width} x {height} px need about "
            f"{gib(cost.needed(height, width))} on {device} as a whole; "
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
