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

With that gamma the directions of which no pair knows anything are moved along by what the stiffest
of them bear. A multiple of it moves them faster.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nst.optim.eager import Eager
from nst.optim.history import History, beside, choose
from nst.optim.readback import Readback


class LBFGS(Eager):
    """L-BFGS with a fixed step length, with the parameters and the results of `torch.optim.LBFGS`.

    Nothing in an iteration waits for the device, but for whether the iteration before the last
    evaluation had settled, which is known by then: so a step ends one evaluation later than torch's
    where a tolerance ends it.

    Args:
        params: the variables to optimise, all of one type and on one device.
        lr: step length along the quasi-Newton direction.
        max_iter: iterations, and so evaluations, per step.
        history_size: how many pairs (s, y) the curvature estimate keeps; None is as many as there
            is memory for when the first evaluation is done, see `nst.optim.history.choose`.
        tolerance_grad: the step ends where no gradient component is larger.
        tolerance_change: the step ends where variables or loss change less.
        history_dtype: in what the pairs are kept; None is the variables' own type. `bfloat16`
            halves the history's memory.
        max_step_rms: no iteration moves the variables by more than this, as a root mean square
            over them. None, as in torch, takes every step at its full length, and the first ones,
            when the curvature is hardly known, may leap far away.
        first_step: length of the first iteration's step along the gradient, in units of Polyak's
            (*Introduction to Optimization*, 1987), loss / |gradient|^2, after which a loss that
            fell on as it begins to would be zero. None, as in torch, is one over the sum of the
            gradient's magnitudes, which moves next to nothing; so it is with a loss below zero.
        initial_scale: gamma in units of s^T y / y^T y; 1 as in torch.
    """

    def __init__(
        self,
        params: list[Tensor],
        lr: float = 1.0,
        max_iter: int = 20,
        history_size: int | None = 100,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_dtype: torch.dtype | None = None,
        max_step_rms: float | None = None,
        first_step: float | None = None,
        initial_scale: float = 1.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "history_size": history_size,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_dtype": history_dtype,
            "max_step_rms": max_step_rms,
            "first_step": first_step,
            "initial_scale": initial_scale,
        }
        super().__init__(params, defaults)
        self._variables: list[Tensor] = self.param_groups[0]["params"]
        self._history: History | None = None
        self._direction: Tensor | None = None
        self._length = self._gradient = self._loss = torch.zeros(())

    @property
    def chosen(self) -> dict[str, object]:
        """What is kept, and how long a step may be, once the first evaluation has been done."""
        if self._history is None:
            return {}
        options = self.param_groups[0]
        name = str(options["history_dtype"]).removeprefix("torch.")
        precision = {"bfloat16": "bf16", "float32": "fp32"}.get(name, name)
        kept = {"history_size": options["history_size"], "history_precision": precision}
        return {**kept, "max_iter": options["max_iter"]}

    def vectors(self, evaluations: int | None) -> float:
        """See `nst.optim.optimizers`; the least of `history_size=None` is one pair in bfloat16."""
        options = self.param_groups[0]
        size, kept = options["history_size"], options["history_dtype"] or self._variables[0].dtype
        if size is None:
            return beside(1) + 2.0
        rows: int = size + options["max_iter"]
        # On a GPU the whole ring is taken at once, on a CPU the rows that are written to.
        if evaluations is not None and not self._variables[0].is_cuda:
            rows = min(rows, evaluations)
        return beside(options["max_iter"]) + rows * kept.itemsize / 2.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Up to `max_iter` iterations; the variables' gradients are taken away.

        Args:
            closure: one evaluation: sets the variables' gradients and returns the loss, a scalar.

        Returns:
            The loss of the first evaluation.
        """
        evaluate = torch.enable_grad()(closure)
        options = self.param_groups[0]
        first = loss = evaluate().detach()
        gradient = self._take_gradient()
        settled: Readback | None = None
        for iteration in range(1, options["max_iter"] + 1):
            if self._direction is None:
                self._settle(gradient)
                self._history = History(gradient, options)
                direction, length = -gradient, self._first_length(gradient, loss)
            else:
                direction, length = self._next_direction(gradient), torch.ones_like(loss)
            flat = _largest(gradient) <= options["tolerance_grad"]
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
            gradient = self._take_gradient()
            change = length * _largest(direction)
            tolerance = options["tolerance_change"]
            settled = Readback((change <= tolerance) | ((loss - self._loss).abs() < tolerance))
        return first

    def state_dict(self) -> dict[str, Any]:
        """The state between two steps, under the names that `torch.optim.LBFGS` uses for it.

        The pairs (`old_stps`, `old_dirs`) are views of the history that the next step leaves alone.
        """
        state: dict[str, Any] = super().state_dict()
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
        self._settle(self._direction)
        self._history = History(self._direction, self.param_groups[0])
        self._history.restore(state)

    def _settle(self, like: Tensor) -> None:
        """Decide what is kept; of a state that was saved that is decided."""
        options = self.param_groups[0]
        kept = options["history_dtype"] or like.dtype
        size, longest = options["history_size"], options["max_iter"]
        if size is None:
            size, kept, longest = choose(like.numel(), like.dtype, kept, longest, like.device)
        options.update(history_size=size, history_dtype=kept, max_iter=longest)

    def _first_length(self, gradient: Tensor, loss: Tensor) -> Tensor:
        least = (1 / gradient.abs().sum()).clamp(max=1)
        share: float | None = self.param_groups[0]["first_step"]
        if share is None:
            return least
        return torch.where(loss > 0, share * loss / (gradient @ gradient), least)

    def _next_direction(self, gradient: Tensor) -> Tensor:
        # The first iteration has made both.
        assert self._history is not None  # noqa: S101
        assert self._direction is not None  # noqa: S101
        self._history.add(self._direction, self._length, self._gradient, gradient)
        self._direction, self._gradient = None, gradient  # neither is needed any more
        return self._history.direction(gradient)

    def _take_gradient(self) -> Tensor:
        # A copy, since the closure's next gradient may take the place of this one.
        gradients = [v.grad for v in self._variables if v.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        for variable in self._variables:
            variable.grad = None  # a second one is too many in a large picture
        return flat

    def _move(self, direction: Tensor, length: Tensor) -> None:
        offset = 0
        for variable in self._variables:
            part = direction[offset : offset + variable.numel()].view_as(variable)
            variable.addcmul_(part, length)
            offset += variable.numel()


def _largest(vector: Tensor) -> Tensor:
    """The largest magnitude; a CPU takes ten times as long for torch's norm of infinite order."""
    low, high = vector.aminmax()
    return torch.maximum(-low, high)
