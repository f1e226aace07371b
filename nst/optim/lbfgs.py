"""L-BFGS in matrix form, with its history in one piece of memory.

Liu, Nocedal, *On the limited memory BFGS method for large scale optimization* (1989), with the
inverse Hessian in the compact form of Byrd, Nocedal, Schnabel, *Representations of quasi-Newton
matrices and their use in limited memory methods* (1994), theorem 2.2:

    H = gamma I + [S  gamma Y] M [S  gamma Y]^T

    M = [ R^-T (D + gamma Y^T Y) R^-1   -R^-T ]
        [ -R^-1                           0   ]

for the columns s_i = x_i+1 - x_i of S and y_i = g_i+1 - g_i of Y, R the upper triangle of S^T Y, D
its diagonal, gamma = s^T y / y^T y of the last pair. A direction takes four products of a large
matrix with a vector instead of the four hundred dependent small operations of the two-loop
recursion, and the same numbers up to rounding come out.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nst.optim.readback import Readback

# Pairs with less curvature than this are left out, as in torch.
_CURVATURE = 1e-10


class LBFGS(Optimizer):
    """L-BFGS with a fixed step length, with the parameters and the results of `torch.optim.LBFGS`.

    Nothing in an iteration waits for the device, but for whether the iteration before the last
    evaluation had settled, which is known by then: so a step ends one evaluation later than torch's
    where a tolerance ends it.

    Args:
        params: the variables to optimise, all of one type and on one device.
        lr: step length along the quasi-Newton direction.
        max_iter: iterations, and so evaluations, per step.
        history_size: how many pairs (s, y) the curvature estimate keeps.
        tolerance_grad: the step ends where no gradient component is larger.
        tolerance_change: the step ends where variables or loss change less.
        history_dtype: in what the pairs are kept; None is the variables' own type. `bfloat16`
            halves the history's memory.
        max_step_rms: no iteration moves the variables by more than this, as a root mean square
            over them. None, as in torch, takes every step at its full length, and the first ones,
            when the curvature is hardly known, may leap far away.
    """

    def __init__(
        self,
        params: list[Tensor],
        lr: float = 1.0,
        max_iter: int = 20,
        history_size: int = 100,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_dtype: torch.dtype | None = None,
        max_step_rms: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "history_size": history_size,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_dtype": history_dtype,
            "max_step_rms": max_step_rms,
        }
        super().__init__(params, defaults)
        self._variables: list[Tensor] = self.param_groups[0]["params"]
        self._history: _History | None = None
        self._direction: Tensor | None = None
        self._length = self._gradient = self._loss = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Up to `max_iter` iterations.

        Args:
            closure: one evaluation: sets the variables' gradients and returns the loss, a scalar.

        Returns:
            The loss of the first evaluation.
        """
        evaluate = torch.enable_grad()(closure)
        options = self.param_groups[0]
        first = loss = evaluate().detach()
        gradient = self._flat_gradient()
        settled: Readback | None = None
        for iteration in range(1, options["max_iter"] + 1):
            if self._direction is None:
                self._history = _History(gradient, options)
                direction, length = -gradient, (1 / gradient.abs().sum()).clamp(max=1)
            else:
                direction, length = self._next_direction(gradient), torch.ones_like(loss)
            flat = gradient.abs().max() <= options["tolerance_grad"]
            uphill = gradient @ direction > -options["tolerance_change"]
            length = (length * options["lr"]).masked_fill(flat | uphill, 0.0).to(loss)
            if options["max_step_rms"] is not None:
                moved = length * direction.norm() / math.sqrt(direction.numel())
                length = length * (options["max_step_rms"] / moved).clamp(max=1)
            self._move(direction, length)
            self._direction, self._length = direction, length
            self._gradient, self._loss = gradient, loss
            if iteration == options["max_iter"]:
                break
            loss = evaluate().detach()
            if settled is not None and settled.wait():
                break
            gradient = self._flat_gradient()
            change = length * direction.abs().max()
            tolerance = options["tolerance_change"]
            settled = Readback((change <= tolerance) | ((loss - self._loss).abs() < tolerance))
        return first

    def state_dict(self) -> dict[str, Any]:
        """The state between two steps, under the names that `torch.optim.LBFGS` uses for it.

        The pairs (`old_stps`, `old_dirs`) are views of the history that the next step leaves alone.
        """
        state = super().state_dict()
        if self._history is not None:
            state["state"] = {
                0: {
                    "d": self._direction,
                    "t": self._length,
                    "prev_flat_grad": self._gradient,
                    "prev_loss": self._loss,
                    **self._history.state(),
                }
            }
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict({**state_dict, "state": {}})
        self._variables = self.param_groups[0]["params"]
        self._history = self._direction = None
        if not state_dict["state"]:
            return
        state = state_dict["state"][0]
        device = self._variables[0].device
        self._direction, self._length, self._gradient, self._loss = (
            state[name].to(device).clone() for name in ("d", "t", "prev_flat_grad", "prev_loss")
        )
        self._history = _History(self._direction, self.param_groups[0])
        self._history.restore(state)

    def _next_direction(self, gradient: Tensor) -> Tensor:
        # The first iteration has made both.
        assert self._history is not None  # noqa: S101
        assert self._direction is not None  # noqa: S101
        step, change = self._direction.mul_(self._length), gradient - self._gradient
        self._history.add(step, change, gradient)
        return self._history.direction(gradient)

    def _flat_gradient(self) -> Tensor:
        # A copy, since the closure's next gradient may take the place of this one.
        gradients = [v.grad for v in self._variables if v.grad is not None]
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    def _move(self, direction: Tensor, length: Tensor) -> None:
        offset = 0
        for variable in self._variables:
            part = direction[offset : offset + variable.numel()].view_as(variable)
            variable.addcmul_(part, length)
            offset += variable.numel()


class _History:
    """The last pairs, as rows of two rings, and the products of all of them with each other.

    A ring has `max_iter` rows more than there are pairs in use, so that the pairs of a state before
    a step are still there after it.

    Args:
        like: gives the rows' length, type and device.
        options: of the optimizer.
    """

    def __init__(self, like: Tensor, options: dict[str, Any]) -> None:
        self._size = options["history_size"]
        self._rows = self._size + options["max_iter"]
        dtype = options["history_dtype"] or like.dtype
        self._s = like.new_empty((self._rows, like.numel()), dtype=dtype)
        self._y = torch.empty_like(self._s)
        self._first, self._count = 0, 0
        # The products are few and the solution's accuracy depends on them. MPS has no float64.
        small = torch.float32 if like.device.type == "mps" else torch.float64
        self._sy = like.new_zeros((0, 0), dtype=small)
        self._yy = self._sy
        self._gamma = like.new_ones((), dtype=small)
        # Products with the last gradient.
        self._sg = self._yg = like.new_zeros(0, dtype=small)

    def add(self, s: Tensor, y: Tensor, gradient: Tensor) -> None:
        """Add a pair, and forget the oldest if there are more than `history_size`.

        Args:
            s: change of the variables.
            y: change of the gradient.
            gradient: the gradient after the change.
        """
        if self._count == self._size:
            self._first = (self._first + 1) % self._rows
            self._count -= 1
            self._sy, self._yy = self._sy[1:, 1:], self._yy[1:, 1:]
            self._sg, self._yg = self._sg[1:], self._yg[1:]
        row = (self._first + self._count) % self._rows
        self._s[row], self._y[row] = s, y
        self._count += 1
        own_s, own_y = self._s[row], self._y[row]
        sg, yg = self._times(self._s, gradient), self._times(self._y, gradient)
        # y is the difference of two gradients, and so are its products: half of the memory to read.
        sy = torch.cat([sg[:-1] - self._sg, self._scalar(own_s @ own_y)])
        yy = torch.cat([yg[:-1] - self._yg, self._scalar(own_y @ own_y)])
        self._sg, self._yg = sg, yg
        self._sy, self._yy = _bordered(self._sy, sy), _bordered(self._yy, yy)
        enough = sy[-1] > _CURVATURE
        self._gamma = torch.where(enough, sy[-1] / yy[-1], self._gamma)

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
            result += own.to(ring.dtype) @ part


def _bordered(matrix: Tensor, column: Tensor) -> Tensor:
    """A matrix with another column, and the same as another row.

    So Y^T Y stays symmetric; of S^T Y nobody looks below the diagonal.
    """
    return torch.cat([torch.cat([matrix, column[:-1, None]], 1), column[None]], 0)
