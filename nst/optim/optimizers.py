"""Optimizers of the variables that the image is made of, behind torch's `step(closure)`.

An optimizer is made by a function of the list of variables that returns a `torch.optim.Optimizer`;
its `step` calls the closure (one evaluation: forward and backward) as often as it needs. To add
one, name the function, or any class of `torch.optim`, in a YAML of the `optimizer` group:

    _target_: torch.optim.RMSprop
    _partial_: true
    lr: 0.02

What an optimizer may have besides, see `nst.optim.wrappers`:

- `keeps_last`, where it is true: the image that the run leaves, and that the next size of a pyramid
  begins with, is the one that the variables stand for then, not the one with the lowest loss. They
  may be others within a step, such as what is averaged.
- `take_over(previous)`: called with the optimizer of the size before, when another size begins.
- `vectors(evaluations)`: how many float32 tensors as large as the variables it takes, for a budget
  of so many evaluations or None; by it a run is refused that memory cannot hold.
- `chosen`: a mapping of what it chose by itself, by name, for the record of the run.
- `begin_again(previous)`: called with the optimizer before, when bad numbers made a new one
  necessary, and before learning rates are halved.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from nst.errors import InputError
from nst.optim.eager import Adam
from nst.optim.history import PAIRS
from nst.optim.lbfgs import LBFGS

OptimizerFactory = Callable[[list[Tensor]], Optimizer]


def adam(
    params: list[Tensor],
    *,
    lr: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    carry_over: bool = False,
) -> Optimizer:
    """Adam (Kingma, Ba, arXiv 1412.6980): one evaluation per step.

    Args:
        params: the variables to optimise.
        lr: step size in the variables' units; of pixels a picture spans about 4.5.
        betas: decay rates of the running mean and of the running square of the gradient.
        eps: added to the denominator.
        carry_over: the next size of a pyramid begins with these means of the gradient, enlarged,
            rather than with none (as Katherine Crowson's style-transfer-pytorch does). The
            variables must be pixels.

    Raises:
        InputError: `carry_over` with variables that are not B x C x H x W.
    """
    make = CarryingAdam if carry_over else Adam
    return make(params, lr=lr, betas=(betas[0], betas[1]), eps=eps)


class CarryingAdam(Adam):
    """Adam that takes its moments over from a smaller size, see `adam`."""

    def __init__(self, params: list[Tensor], **options: Any) -> None:
        super().__init__(params, **options)
        if any(variable.dim() != 4 for variable in params):
            raise InputError(
                "optimizer.carry_over needs parametrization=pixel: moments of other variables "
                "cannot be enlarged"
            )

    @torch.no_grad()
    def take_over(self, previous: Optimizer) -> None:
        """Begin with an optimizer's moments in the height and width of the variables here.

        The mean is resized bicubically; the mean square, which must not be negative, bilinearly.
        """
        pairs = zip(variables_of(self), variables_of(previous), strict=True)
        for variable, smaller in pairs:
            moments = previous.state.get(smaller)
            if not moments:  # it has made no step
                continue
            size = variable.shape[2:]
            self.state[variable] = {
                "step": moments["step"].clone(),
                "exp_avg": F.interpolate(moments["exp_avg"], size, mode="bicubic"),
                "exp_avg_sq": F.interpolate(moments["exp_avg_sq"], size, mode="bilinear").relu_(),
            }


def made(factory: OptimizerFactory, params: list[Tensor], name: str) -> Optimizer:
    """The optimizer that a function makes.

    Args:
        factory: the function.
        params: the variables to optimise.
        name: of the function's key in a config.

    Raises:
        InputError: it makes none.
    """
    if not callable(factory):
        raise InputError(
            f"{name}: must be a function that makes a torch optimizer, not {factory!r:.80}; in a "
            "config that takes _target_ and _partial_: true"
        )
    found: object = factory(params)
    if not isinstance(found, Optimizer):
        raise InputError(f"{name}: must make a torch optimizer, not {found!r:.80}")
    return found


def variables_of(optimizer: Optimizer) -> list[Tensor]:
    """What an optimizer changes, of all its parameter groups."""
    return [variable for group in optimizer.param_groups for variable in group["params"]]


def vectors(optimizer: Optimizer, evaluations: int | None) -> float:
    """How many float32 tensors as large as its variables an optimizer takes.

    Beside the variables, their gradient and the best image; as many as Adam for what says nothing
    of itself.

    Args:
        optimizer: asked by its `vectors`, where it has one.
        evaluations: of the budget.
    """
    say: Callable[[int | None], float] | None = getattr(optimizer, "vectors", None)
    if say is not None:
        return say(evaluations)
    size: int | None = optimizer.defaults.get("history_size")  # of torch's own L-BFGS
    if size is None:
        return 3.0
    return 5.0 + 2 * (size if evaluations is None else min(size, evaluations))


def lbfgs(
    params: list[Tensor],
    *,
    lr: float = 1.0,
    max_iter: int = 20,
    history_size: int | Literal["auto"] = "auto",
    line_search_fn: Literal["strong_wolfe"] | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_precision: Literal["fp32", "bf16"] = "fp32",
    max_step_rms: float | None = 0.1,
    first_step: float | None = 0.75,
    initial_scale: float = 2.0,
) -> Optimizer:
    """Limited-memory BFGS in matrix form, see `nst.optim.lbfgs`; with a line search it is torch's.

    Up to `max_iter` evaluations per step without a line search, up to `1.25 * max_iter` with one.

    Args:
        params: the variables to optimise.
        lr: step length along the quasi-Newton direction; 1 is the natural one.
        max_iter: iterations per step.
        history_size: how many past steps the curvature estimate keeps; memory is twice this many
            images. `auto` is 100, or what there is memory for, see
            `nst.optim.history.choose`; with a line search 100.
        line_search_fn: `strong_wolfe`, or None for the fixed step length.
        tolerance_grad: the step ends where no gradient component is larger.
        tolerance_change: the step ends where variables or loss change less.
        history_precision: `fp32` keeps past steps in the image's own type, `bf16` in half of the
            memory; not with a line search.
        max_step_rms: longest step of an iteration, as a root mean square over the variables, in
            ImageNet-normalised units; it keeps the first steps from leaping away. None leaves them
            as they come. A line search bounds steps by itself.
        first_step: length of the first step in units of Polyak's, loss / |gradient|^2. None is
            torch's, which moves next to nothing. Not with a line search.
        initial_scale: how far directions move of which past steps say nothing, in units of what
            torch takes. 1 is torch's; 4 is too much with some networks. Not with a line search.

    Raises:
        InputError: a line search together with a history in bf16, or a length that is not above 0.
    """
    steps = {"lr": lr, "max_step_rms": max_step_rms, "first_step": first_step}
    for name, value in {**steps, "initial_scale": initial_scale}.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"optimizer.{name} must be finite and greater than 0, not {value}")
    if line_search_fn is None:
        dtype = torch.bfloat16 if history_precision == "bf16" else None
        tolerances = tolerance_grad, tolerance_change
        size = None if history_size == "auto" else history_size
        return LBFGS(
            params,
            lr,
            max_iter,
            size,
            *tolerances,
            dtype,
            max_step_rms,
            first_step,
            initial_scale,
        )
    return lbfgs_torch(
        params,
        lr=lr,
        max_iter=max_iter,
        history_size=history_size,
        line_search_fn=line_search_fn,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
        history_precision=history_precision,  # type: ignore[arg-type]  # which it checks
    )


def lbfgs_torch(
    params: list[Tensor],
    *,
    lr: float = 1.0,
    max_iter: int = 20,
    history_size: int | Literal["auto"] = "auto",
    line_search_fn: Literal["strong_wolfe"] | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_precision: Literal["fp32"] = "fp32",
    max_step_rms: None = None,
    first_step: None = None,
    initial_scale: float = 1.0,
) -> Optimizer:
    """`torch.optim.LBFGS`, whose two-loop recursion sums in the order that plain programs have.

    The parameters are those of `lbfgs`; a `history_size` of `auto` is 100.

    Raises:
        InputError: a history in bf16, a bound on steps, or another first step or scale, which torch
            has not.
    """
    if max_step_rms is not None:
        raise InputError("optimizer.max_step_rms needs optimizer=lbfgs; torch's has no such bound")
    if first_step is not None or initial_scale != 1:
        raise InputError(
            "optimizer.first_step and optimizer.initial_scale need optimizer=lbfgs; torch has "
            "its own, null and 1"
        )
    if history_precision != "fp32":
        raise InputError(
            "optimizer.history_precision=bf16 needs optimizer=lbfgs and line_search_fn=null"
        )
    return torch.optim.LBFGS(
        params,
        lr=lr,
        max_iter=max_iter,
        history_size=PAIRS if history_size == "auto" else history_size,
        line_search_fn=line_search_fn,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
    )
