"""Memory: whether to tile a picture, what to say when it runs out."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
# runs beside it. It takes more rather than tiles that are mostly halo: with their surroundings
# those of 384 px have 1.4 times as many pixels in all as those of 1024 px, those of 256 px 1.9
# times and those of 128 px 3.4 times.
SHARE, _MOST = 0.5, 0.9
# Shares, and the smallest tiles with which a run keeps to them.
_SHARES = ((SHARE, 384), (0.75, 256), (_MOST, TILE_SIZES[-1]))


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
    joint: bool,
    kept: int,
    size: int,
) -> int | None:
    """Whether to tile a picture, and how; what fits in no way is refused.

    On a CPU the system would kill such a run. A GPU's memory that runs out is an exception, see
    `explained`: of its run only the optimizer's part is asked for, which torch's L-BFGS reaches
    after many evaluations.

    Args:
        memory: `full` never tiles, `tiled` always, `auto` where the whole picture would take more
            than `SHARE` of the memory that is free, or would not fit beside the optimizer.
        tile_size: longest side of a tile's core, px; None is the largest of `TILE_SIZES` with which
            the run stays within that share, or within more where tiles would be small.
        device: where the run computes.
        height: of the picture, px.
        width: likewise.
        cost: of its evaluations.
        joint: see `nst.objective.Objective`; without it `auto` does not tile.
        kept: bytes that the optimizer takes, see `nst.optim.optimizers.vectors`.
        size: that was asked for, as `resize` means it.

    Returns:
        `tile_size` for `nst.objective.Objective`, None for whole pictures.

    Raises:
        nst.errors.InputError: the run takes more than what is free.
    """
    room, whole = free(device), cost.needed(height, width)
    fits = room is None or (whole <= SHARE * room and whole + kept <= _MOST * room)
    if memory == "full" or (memory == "auto" and (fits or not joint)):
        tile_size = None
    elif tile_size is None:
        tile_size = _largest_that_fits(room, height, width, cost, kept)
        if tile_size >= max(height, width):  # one tile would be the whole picture
            tile_size = None
    if room is None:
        return tile_size

    def needed(tile_size: int | None, share: float = 1.0) -> int:
        evaluation = cost.needed(round(share * height), round(share * width), tile_size)
        return int(share**2 * kept) + (evaluation if device.type == "cpu" else 0)

    evaluation = cost.needed(height, width, tile_size)
    if needed(tile_size) > room:
        less, smallest = [], TILE_SIZES[-1]
        spared = _MOST * room  # what is free changes between two tries
        in_tiles = _largest_size(size, spared, partial(needed, smallest))
        if device.type == "cpu" and (tile_size is None or tile_size > smallest) and in_tiles:
            way = f"tile_size={smallest}" if tile_size else "memory=auto"
            way = way if joint else "loss.joint=true"
            less.append(way if in_tiles == size else f"{way} with size={in_tiles}")
        if kept > evaluation:
            less.append("optimizer=lbfgs with optimizer.history_size=auto")
        if smaller := _largest_size(size, spared, partial(needed, tile_size)):
            less.append(f"size={smaller}")
        raise InputError(
            f"size={size}: {width} x {height} px {_how(tile_size)} take {gib(evaluation)}, and the "
            f"optimizer {gib(kept)}, of which {gib(room)} are free"
            + (f"; {', or '.join(less)} takes less" if less else "")
        )
    if memory == "auto" and tile_size is not None:
        log.info(
            "Tiled: %d x %d px would take %s of %s free; tile_size=%d takes %s",
            width,
            height,
            gib(whole),
            gib(room),
            tile_size,
            gib(evaluation),
        )
    return tile_size


def _largest_that_fits(room: int | None, height: int, width: int, cost: Cost, kept: int) -> int:
    if room is None:
        return TILE_SIZES[0]
    needed = {size: kept + cost.needed(height, width, size) for size in TILE_SIZES}
    for share, smallest in _SHARES:
        for size in TILE_SIZES:
            if size >= smallest and needed[size] <= share * room:
                return size
    return TILE_SIZES[-1]


def _largest_size(size: int, room: float, needed: Callable[[float], int]) -> int:
    """The largest size up to another that fits; 0 where none does.

    Args:
        size: the other one, px.
        room: bytes.
        needed: bytes for a picture whose sides are such a share of what they are.
    """
    sizes = range(16, size + 1)
    count = bisect_right(sizes, room, key=lambda one: needed(one / size))
    return sizes[count - 1] if count else 0


def _how(tile_size: int | None) -> str:
    return "as a whole" if tile_size is None else f"in tiles of {tile_size} px"


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
    device: torch.device,
    height: int,
    width: int,
    cost: Cost,
    tile_size: int | None = None,
    size: int | None = None,
) -> Iterator[None]:
    """Turn what is raised for lack of memory within the `with` block into an OutOfMemory.

    Args:
        device: where the run computes.
        height: of its picture, px.
        width: likewise.
        cost: of its evaluations.
        tile_size: see `nst.objective.Objective`.
        size: that was asked for, as `resize` means it; None is the longest side.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_exhausted(error):
            raise
        room, size = free(device), size or max(height, width)

        def needed(share: float) -> int:
            return cost.needed(round(share * height), round(share * width), tile_size)

        # The rest is for the optimizer.
        fitting = _largest_size(size, 0.8 * room, needed) if room else 0
        # Where it should have fitted nobody knows what would.
        smaller = f"size={fitting}" if 0 < fitting < size else "a smaller size"
        tiles = "memory=tiled" if tile_size is None else "a smaller tile_size"
        raise OutOfMemory(
            f"out of memory: {width} x {height} px need about {gib(needed(1.0))} on {device} "
            f"{_how(tile_size)}; set {tiles}, for L-BFGS optimizer.history_size=auto, or {smaller}"
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
