"""torch's optimizers without the import of its compiler."""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer


class Eager(Optimizer):
    """An optimizer whose methods are not hidden from `torch.compile`.

    The decorators that hide them import `torch._dynamo`, and with it sympy and triton, when the
    first optimizer is made. That takes as long as the import of torch itself.
    """

    add_param_group: Any = inspect.unwrap(Optimizer.add_param_group)
    state_dict: Any = inspect.unwrap(Optimizer.state_dict)
    load_state_dict: Any = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad: Any = inspect.unwrap(Optimizer.zero_grad)


class Adam(Eager, torch.optim.Adam):
    """`torch.optim.Adam`, for steps that nobody differentiates."""

    step: Any = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
