"""Text by which a checkpoint recognises the run that it belongs to."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from nst.optim.wrappers import Wrapper


def call(function: Callable[..., Any]) -> str:
    """A function with the arguments bound to it."""
    if isinstance(function, partial):
        values = sorted(function.keywords.items())
        # Of a function the name: where it is in memory is no part of it.
        bound = ", ".join(f"{key}={call(v) if callable(v) else v}" for key, v in values)
        return f"{function.func.__name__}({bound})"
    return f"{getattr(function, '__name__', function)}()"


def describe(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as short text to compare; of a tensor the beginning of its SHA-256."""

    def text(value: Any) -> str:
        if isinstance(value, Tensor):
            data = value.detach().cpu().contiguous()
            digest = hashlib.sha256(data.numpy().tobytes()).hexdigest()[:12]
            return f"{data.shape[3]} x {data.shape[2]} px, {digest}"
        return json.dumps(value, default=str, sort_keys=True)

    return {key: text(value) for key, value in values.items()}


def optimizer(made: Optimizer, key: str = "optimizer") -> dict[str, Any]:
    """An optimizer's kind and its options, with those of one within.

    Args:
        made: the optimizer.
        key: that stands for it.
    """
    options, within = made.defaults, {}
    if isinstance(made, Wrapper):
        options, within = made.options, optimizer(made.base, f"{key}.optimizer")
    own = {f"{key}.{name}": call(v) if callable(v) else v for name, v in options.items()}
    return {key: type(made).__name__, **own, **within}
