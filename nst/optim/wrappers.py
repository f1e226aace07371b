"""Optimizers around an optimizer: an average of its iterates, a schedule of its learning rate.

Each is made as any other, by a function of the list of variables, and takes the function that makes
the optimizer within for an argument:

    functools.partial(nst.averaged, optimizer=functools.partial(nst.adam, lr=0.05))

They go around each other too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nst.errors import InputError
from nst.optim.eager import Eager
from nst.optim.optimizers import OptimizerFactory, made, variables_of, vectors

SchedulerFactory = Callable[[Optimizer], LRScheduler]


def averaged(
    params: list[Tensor], *, optimizer: OptimizerFactory, decay: float = 0.99
) -> Optimizer:
    """An exponential moving average of an optimizer's iterates is the image.

    The average of the iterates x_0 (the start), ..., x_n is

        sum_k decay^(n-k) x_k / sum_k decay^(n-k)

    (Polyak, Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992, with weights
    that fade, and the division that Adam has for its moments; as Katherine Crowson's
    style-transfer-pytorch does it.) The losses of a run are those of the iterates, where the
    gradients are taken. What it leaves, what the next size of a pyramid begins with, and what is
    measured when it has been saved, is the average. It takes the memory of one picture.

    Args:
        params: the variables to optimise. Between steps they are the average, within a step the
            iterate.
        optimizer: makes the optimizer whose iterates are averaged.
        decay: in [0, 1); about 1 / (1 - decay) iterates count. At 0 the last one alone does.

    Raises:
        InputError: `decay` is out of its range, or `optimizer` makes none.
    """
    if not 0 <= decay < 1:
        raise InputError(f"optimizer.decay must be in [0, 1), not {decay}")
    return Averaged(made(optimizer, params, "optimizer.optimizer"), decay)


def scheduled(
    params: list[Tensor], *, optimizer: OptimizerFactory, scheduler: SchedulerFactory
) -> Optimizer:
    """An optimizer whose learning rate follows a schedule.

    The schedule begins anew with each size of a pyramid, and goes on where `guard=recover` halves
    the rate. Where it gives a rate of 0 nothing moves, which ends the run or the size as converged.

    Args:
        params: the variables to optimise.
        optimizer: makes the optimizer.
        scheduler: makes the schedule of it, such as
            `functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.97)`: any class of
            `torch.optim.lr_scheduler`. Its `step` is called after each of the optimizer's, with
            that step's loss where it is `ReduceLROnPlateau`.

    Raises:
        InputError: `optimizer` or `scheduler` makes none.
    """
    base = made(optimizer, params, "optimizer.optimizer")
    try:
        found: object = scheduler(base)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer.scheduler: {error}") from error
    if not isinstance(found, LRScheduler):
        raise InputError(f"optimizer.scheduler: must make a torch scheduler, not {found!r:.80}")
    return Scheduled(base, found, scheduler)


class Wrapper(Eager):
    """An optimizer around another, whose parameter groups and state it shows as its own.

    Args:
        base: the optimizer within.
        options: what else makes it what it is, by name.
    """

    def __init__(self, base: Optimizer, options: dict[str, Any]) -> None:
        # Some schedulers ask for the defaults.
        super().__init__(variables_of(base), base.defaults)
        self.base = base
        self.options = options
        self.keeps_last: bool = getattr(base, "keeps_last", False)
        self._share()

    @property
    def chosen(self) -> Mapping[str, object]:
        """What the optimizer within chose by itself."""
        found: Mapping[str, object] = getattr(self.base, "chosen", {})
        return found

    def vectors(self, evaluations: int | None) -> float:
        """What the optimizer within takes."""
        return vectors(self.base, evaluations)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.base.load_state_dict(state_dict["base"])
        self._share()

    def take_over(self, previous: Optimizer) -> None:
        """Let the optimizer within take over from that within the previous size's optimizer."""
        self._pass_on("take_over", previous)

    def begin_again(self, previous: Optimizer) -> None:
        """Likewise after bad numbers."""
        self._pass_on("begin_again", previous)

    def _pass_on(self, name: str, previous: Optimizer) -> None:
        method = getattr(self.base, name, None)
        if method is not None and isinstance(previous, Wrapper):
            method(previous.base)

    def _share(self) -> None:
        # Which loading puts others in the place of.
        self.param_groups, self.state = self.base.param_groups, self.base.state


class Averaged(Wrapper):
    """See `averaged`.

    The average of one more iterate x is a + (1 - decay) / (1 - decay^n) (x - a), for the average a
    before, and n iterates with x. So a and x are all that there is to keep, of which the variables
    hold one.
    """

    def __init__(self, base: Optimizer, decay: float) -> None:
        super().__init__(base, {"decay": decay})
        self.keeps_last = True
        self._decay = decay
        self._variables = variables_of(self)
        # The iterates between steps, the averages within one; the start is the first of both.
        self._others = [variable.detach().clone() for variable in self._variables]
        self._faded = decay  # to the power of the number of iterates

    def vectors(self, evaluations: int | None) -> float:
        """What the optimizer within takes, the average, and one while both change places."""
        return super().vectors(evaluations) + 2

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step from the iterate.

        If the closure breaks it off, the average is the one before the step.

        Args:
            closure: see `torch.optim.Optimizer.step`; it evaluates iterates.

        Returns:
            What the step of the optimizer within returns.
        """
        self._swap()
        try:
            loss = self.base.step(closure)
        except BaseException:
            self._swap()
            raise
        self._swap()
        self._faded *= self._decay
        share = (1 - self._decay) / (1 - self._faded)
        with torch.no_grad():
            for average, iterate in zip(self._variables, self._others, strict=True):
                average.lerp_(iterate, share)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state between two steps; the averages are the variables."""
        return {
            "base": self.base.state_dict(),
            "iterates": dict(enumerate(self._others)),
            "faded": self._faded,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, and from the variables as they then were."""
        super().load_state_dict(state_dict)
        self._faded = state_dict["faded"]
        for index, iterate in enumerate(self._others):
            iterate.copy_(state_dict["iterates"][index])

    @torch.no_grad()
    def _swap(self) -> None:
        # In place: CUDA graphs read the variables where they are.
        for variable, other in zip(self._variables, self._others, strict=True):
            kept = variable.clone()
            variable.copy_(other)
            other.copy_(kept)


class Scheduled(Wrapper):
    """See `scheduled`.

    What others make of a learning rate in `param_groups`, such as half, is a factor of all that the
    schedule gives from then on. Many schedulers would forget it.

    Args:
        base: the optimizer within.
        scheduler: of it.
        factory: that made the scheduler.
    """

    def __init__(self, base: Optimizer, scheduler: LRScheduler, factory: SchedulerFactory) -> None:
        super().__init__(base, {"scheduler": factory})
        self.scheduler = scheduler
        self._rates: list[Any] = [group["lr"] for group in self.param_groups]
        self._factors = [1.0] * len(self._rates)

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step, and then one of the schedule, unless the closure breaks it off.

        Returns:
            What the step of the optimizer within returns.
        """
        loss = self.base.step(closure)
        factors = []
        for group, rate, factor in zip(self.param_groups, self._rates, self._factors, strict=True):
            if rate and group["lr"] != factor * rate:
                factor = group["lr"] / rate
            factors.append(factor)
            group["lr"] = rate
        try:
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(loss.detach() if isinstance(loss, Tensor) else loss)
            else:
                self.scheduler.step()
        except ValueError as error:  # of one with an end, such as OneCycleLR
            raise InputError(f"optimizer.scheduler: {error}") from error
        self._rates, self._factors = [group["lr"] for group in self.param_groups], factors
        for group, factor in zip(self.param_groups, factors, strict=True):
            group["lr"] = factor * group["lr"]
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state between two steps."""
        return {
            "base": self.base.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rates": self._rates,
            "factors": self._factors,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.scheduler.load_state_dict(dict(state_dict["scheduler"]))
        self._rates, self._factors = list(state_dict["rates"]), list(state_dict["factors"])

    def begin_again(self, previous: Optimizer) -> None:
        """Go on in the schedule of the optimizer before, whose learning rates are kept."""
        super().begin_again(previous)
        if isinstance(previous, Scheduled):
            self.scheduler.load_state_dict(previous.scheduler.state_dict())
            self._rates, self._factors = previous._rates, previous._factors
            # Schedulers note more than the rate in there.
            for group, before in zip(self.param_groups, previous.param_groups, strict=True):
                group.update({key: before[key] for key in before if key != "params"})
