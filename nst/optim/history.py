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
# Rows with more bytes go through a CPU one by one. They come from memory, which BLAS's products of
# a matrix and a vector read a tenth to a third more slowly; the calls would take that for shorter
# ones.
_LONG = 1 << 20


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
    """The last pairs, as rows of two rings, and what is known of their products with each other.

    A ring has `max_iter` rows more than there are pairs in use, so that the pairs of a state before
    a step are still there after it. What is known of a pair has its row's place, so that nothing
    need be put into the order of age: R is never written down, but R^-1, which a new pair gives
    another column, and which loses a row with the oldest. There the rows and columns that are not
    in use are 0, and nothing of what else is left of them gets through.

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
        # S^T g and Y^T g with the last gradient; the diagonal of S^T Y; Y^T Y; R^-1.
        self._products = like.new_zeros((2, self._rows), dtype=small)
        self._curvatures = like.new_zeros(self._rows, dtype=small)
        self._yy = like.new_zeros((self._rows, self._rows), dtype=small)
        self._inverse = torch.zeros_like(self._yy)
        self._gamma = like.new_ones((), dtype=small)

    def add(self, direction: Tensor, length: Tensor, before: Tensor, gradient: Tensor) -> None:
        """Add a pair, and forget the oldest if there are more than `history_size`.

        Args:
            direction: along which the variables have changed.
            length: by how much of it, a scalar.
            before: the gradient before the change.
            gradient: after it.
        """
        if self._count == self._size:
            self._inverse[self._first] = 0
            self._first = (self._first + 1) % self._rows
            self._count -= 1
        row = (self._first + self._count) % self._rows
        # Straight into their rows: each vector may be a large part of the memory that is left.
        s, y = self._s[row], self._y[row]
        torch.mul(direction, length, out=s)
        torch.sub(gradient, before, out=y)
        self._count += 1
        products = self._times(gradient)
        # y is the difference of two gradients, and so are its products: half of the memory to read.
        sy, yy = products - self._products
        self._products = products
        sy[row], yy[row] = s @ y, y @ y
        curvature, enough = sy[row], sy[row] > _CURVATURE
        self._gamma = torch.where(enough, self._scale * curvature / yy[row], self._gamma)
        self._curvatures[row], self._yy[row], self._yy[:, row] = curvature, yy, yy
        # The inverse of [R r; 0 c] is [R^-1  -R^-1 r / c; 0  1 / c]. A pair that is left out has
        # zeros there, and nothing of it gets through.
        column = self._inverse @ sy
        column[row].fill_(-1)  # an assignment would copy from the host, and wait for the device
        self._inverse[:, row] = torch.where(enough, column / -curvature, 0.0)

    def direction(self, gradient: Tensor) -> Tensor:
        """-H g, for the gradient that the last pair was added with."""
        sg, yg = self._products
        v = self._inverse @ sg
        u = self._inverse.mT @ (self._curvatures * v + self._gamma * (self._yy @ v - yg))
        factors = torch.stack([-u, self._gamma * v]).to(self._s.dtype)
        direction = gradient * -self._gamma.to(gradient)
        for ring, own in (self._y, factors[1]), (self._s, factors[0]):
            for rows in reversed(self._in_use()):
                _combine(direction, ring[rows], own[rows])
        return direction

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the pairs oldest first."""
        rows = [(self._first + i) % self._rows for i in range(self._count)]
        return {
            "old_stps": [self._s[row] for row in rows],
            "old_dirs": [self._y[row] for row in rows],
            "H_diag": self._gamma,
            "first": self._first,
            "products": self._products,
            "curvatures": self._curvatures.clone(),
            "yy": self._yy.clone(),
            "inverse": self._inverse.clone(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        # In the very rows where they were: where the ring begins decides how sums are rounded.
        self._first, self._count = state["first"], len(state["old_stps"])
        for i, (s, y) in enumerate(zip(state["old_stps"], state["old_dirs"], strict=True)):
            row = (self._first + i) % self._rows
            self._s[row], self._y[row] = s, y
        names = ("H_diag", "products", "curvatures", "yy", "inverse")
        self._gamma, self._products, self._curvatures, self._yy, self._inverse = (
            state[name].to(self._gamma, copy=True) for name in names
        )

    def _in_use(self) -> list[slice]:
        """The rows in use, oldest first."""
        end = self._first + self._count
        parts = slice(self._first, min(end, self._rows)), slice(0, max(0, end - self._rows))
        return [part for part in parts if part.stop > part.start]

    def _times(self, vector: Tensor) -> Tensor:
        """S^T g and Y^T g, 2 x rows."""
        vector = vector.to(self._s.dtype)
        found = vector.new_zeros((2, self._rows))
        for ring, products in zip((self._s, self._y), found, strict=True):
            for rows in self._in_use():
                _project(vector, ring[rows], products[rows])
        return found.to(self._gamma.dtype)


def _one_by_one(rows: Tensor) -> bool:
    return rows.is_cpu and rows.dtype != torch.bfloat16 and rows[0].nbytes > _LONG


def _project(vector: Tensor, rows: Tensor, products: Tensor) -> None:
    """Write down a vector's product with each of some rows."""
    if _one_by_one(rows):
        torch.stack([row @ vector for row in rows], out=products)
    else:
        torch.mv(rows, vector, out=products)


def _combine(result: Tensor, rows: Tensor, factors: Tensor) -> None:
    """Add rows, each times its factor, to a vector."""
    if _one_by_one(rows):
        for row, factor in zip(reversed(rows.unbind()), reversed(factors.tolist()), strict=True):
            result.add_(row, alpha=factor)
    elif rows.dtype == result.dtype:
        result.addmv_(rows.mT, factors)
    else:
        result += factors @ rows
