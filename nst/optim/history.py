"""L-BFGS's history: its pairs in two pieces of memory, and how many of them there is room for."""

import logging
from typing import Any

import torch
from torch import Tensor

from nst.errors import InputError
from nst.free_memory import free, gib

log = logging.getLogger(__name__)

# Pairs with less curvature than this are left out, as in torch.
_CURVATURE = 1e-10
# What is kept where memory allows, and what is kept in full precision if at all.
PAIRS, FEWEST_EXACT = 100, 20
# Vectors as long as the gradient that the evaluation after a step needs.
_EVALUATION = 3
# Of the memory that is free. The rest is for runs beside this one, and for what changes meanwhile.
_SHARE = 0.5
# The same where it would be too little for the fewest pairs.
_MOST = 0.9


def beside(steps: int) -> int:
    """How many vectors as long as the gradient L-BFGS needs beside its pairs.

    The last direction and gradient and the next direction. A step of several iterations may be
    broken off in the middle, so what was there before is kept: the variables, direction, gradient,
    and the image that was the best then.

    Args:
        steps: iterations per step.
    """
    return 3 if steps == 1 else 7


def choose(
    count: int, dtype: torch.dtype, kept: torch.dtype, longest: int, device: torch.device
) -> tuple[int, torch.dtype, int]:
    """How many pairs there is memory for, up to 100.

    The state before a step must still be there after it, so a step's pairs need rows besides. Where
    fewer than 20 pairs would fit, they are kept in bfloat16; where that is not enough either, they
    take more of what is free, and then steps are of one iteration. The iterates are the same with
    shorter steps, but `budget.steps` counts them.

    Args:
        count: how many variables there are.
        dtype: of the variables.
        kept: in what pairs are kept if there is memory.
        longest: iterations per step, at most.
        device: where they are.

    Returns:
        How many pairs, in what, and iterations per step.

    Raises:
        InputError: there is no room for two rows.
    """
    available = free(device)
    if available is None:
        return PAIRS, kept, longest
    room = rows = 0
    for share, precision, steps in (
        (_SHARE, kept, longest),
        (_SHARE, torch.bfloat16, longest),
        (_MOST, torch.bfloat16, longest),
        (_MOST, torch.bfloat16, 1),
    ):
        kept = min(kept, precision, key=lambda one: one.itemsize)
        others = (beside(steps) + _EVALUATION) * count * dtype.itemsize
        room = max(0, int(share * available) - others)
        rows = room // (2 * count * kept.itemsize)
        if rows >= FEWEST_EXACT + steps:
            break
    pairs = min(PAIRS, rows - steps)
    if pairs < 1:
        raise InputError(
            f"no memory for L-BFGS: two pairs of vectors take {gib(4 * count * kept.itemsize)}, "
            f"and {gib(room)} are left for them (optimizer=adam or a smaller size takes less)"
        )
    if pairs < PAIRS:
        log.info(
            "L-BFGS keeps %d pairs of vectors instead of %d, in %s: %s are left for them",
            pairs,
            PAIRS,
            str(kept).removeprefix("torch."),
            gib(room),
        )
    return pairs, kept, steps


class History:
    """The last pairs, as rows of two rings, and the products of all of them with each other.

    A ring has `max_iter` rows more than there are pairs in use, so that the pairs of a state before
    a step are still there after it.

    Args:
        like: gives the rows' length and device.
        options: of the optimizer, with `history_size` and `history_dtype` settled.
    """

    def __init__(self, like: Tensor, options: dict[str, Any]) -> None:
        self._size = options["history_size"]
        self._scale = options["initial_scale"]
        self._rows = self._size + options["max_iter"]
        shape = self._rows, like.numel()
        self._s, self._y = (like.new_empty(shape, dtype=options["history_dtype"]) for _ in range(2))
        self._first, self._count = 0, 0
        # The products are few and the solution's accuracy depends on them. MPS has no float64.
        small = torch.float32 if like.device.type == "mps" else torch.float64
        self._sy = like.new_zeros((0, 0), dtype=small)
        self._yy = self._sy
        self._gamma = like.new_ones((), dtype=small)
        # Products with the last gradient.
        self._sg = self._yg = like.new_zeros(0, dtype=small)

    def add(self, direction: Tensor, length: Tensor, before: Tensor, gradient: Tensor) -> None:
        """Add a pair, and forget the oldest if there are more than `history_size`.

        Args:
            direction: along which the variables have changed.
            length: by how much of it, a scalar.
            before: the gradient before the change.
            gradient: after it.
        """
        if self._count == self._size:
            self._first = (self._first + 1) % self._rows
            self._count -= 1
            self._sy, self._yy = self._sy[1:, 1:], self._yy[1:, 1:]
            self._sg, self._yg = self._sg[1:], self._yg[1:]
        row = (self._first + self._count) % self._rows
        # Straight into their rows: each vector may be a large part of the memory that is left.
        torch.mul(direction, length, out=self._s[row])
        torch.sub(gradient, before, out=self._y[row])
        self._count += 1
        own_s, own_y = self._s[row], self._y[row]
        sg, yg = self._times(self._s, gradient), self._times(self._y, gradient)
        # y is the difference of two gradients, and so are its products: half of the memory to read.
        sy = torch.cat([sg[:-1] - self._sg, self._scalar(own_s @ own_y)])
        yy = torch.cat([yg[:-1] - self._yg, self._scalar(own_y @ own_y)])
        self._sg, self._yg = sg, yg
        self._sy, self._yy = _bordered(self._sy, sy), _bordered(self._yy, yy)
        enough = sy[-1] > _CURVATURE
        self._gamma = torch.where(enough, self._scale * sy[-1] / yy[-1], self._gamma)

    def direction(self, gradient: Tensor) -> Tensor:
        """-H g, for the gradient that the last pair was added with."""
        diagonal = self._sy.diagonal()
        enough = diagonal > _CURVATURE
        # A pair that is left out becomes a row of the identity, and nothing of it gets through.
        both = enough[:, None] & enough
        identity = torch.eye(self._count, dtype=self._sy.dtype, device=self._sy.device)
        r = torch.where(both, self._sy, identity).triu()
        sg, yg = self._sg * enough, self._yg * enough
        v = torch.linalg.solve_triangular(r, sg[:, None], upper=True)[:, 0] * enough
        inner = diagonal * v + self._gamma * (self._yy @ v - yg)
        u = torch.linalg.solve_triangular(r.mT, (inner * enough)[:, None], upper=False)[:, 0]
        direction = gradient * -self._gamma.to(gradient)
        self._combine(direction, self._s, -u * enough)
        self._combine(direction, self._y, self._gamma * v)
        return direction

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the pairs oldest first."""
        rows = [(self._first + i) % self._rows for i in range(self._count)]
        return {
            "old_stps": [self._s[row] for row in rows],
            "old_dirs": [self._y[row] for row in rows],
            "H_diag": self._gamma,
            "first": self._first,
            "sy": self._sy,
            "yy": self._yy,
            "sg": self._sg,
            "yg": self._yg,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        # In the very rows where they were: where the ring begins decides how sums are rounded.
        self._first, self._count = state["first"], len(state["old_stps"])
        for i, (s, y) in enumerate(zip(state["old_stps"], state["old_dirs"], strict=True)):
            row = (self._first + i) % self._rows
            self._s[row], self._y[row] = s, y
        self._gamma, self._sy, self._yy, self._sg, self._yg = (
            state[name].to(self._gamma).clone() for name in ("H_diag", "sy", "yy", "sg", "yg")
        )

    def _parts(self, ring: Tensor) -> list[Tensor]:
        """The rows in use, oldest first, as one matrix or two."""
        end = self._first + self._count
        parts = ring[self._first : end], ring[: max(0, end - self._rows)]
        return [part for part in parts if len(part)]

    def _times(self, ring: Tensor, vector: Tensor) -> Tensor:
        products = [part @ vector.to(ring.dtype) for part in self._parts(ring)]
        return torch.cat(products).to(self._gamma.dtype)

    def _scalar(self, value: Tensor) -> Tensor:
        return value.to(self._gamma.dtype)[None]

    def _combine(self, result: Tensor, ring: Tensor, factors: Tensor) -> None:
        """Add the rows in use, each times its factor, to a vector."""
        parts = self._parts(ring)
        own_factors = torch.split(factors, [len(part) for part in parts])
        for part, own in zip(parts, own_factors, strict=True):
            if ring.dtype == result.dtype:
                result.addmv_(part.mT, own.to(ring.dtype))
            else:
                result += own.to(ring.dtype) @ part


def _bordered(matrix: Tensor, column: Tensor) -> Tensor:
    """A matrix with another column, and the same as another row.

    So Y^T Y stays symmetric; of S^T Y nobody looks below the diagonal.
    """
    return torch.cat([torch.cat([matrix, column[:-1, None]], 1), column[None]], 0)
