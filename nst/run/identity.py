"""Text by which a checkpoint recognises the run that it belongs to."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def call(function: Callable[..., Any]) -> str:
    """A function with the arguments bound to it."""
    if isinstance(function, partial):
        bound = ", ".join(f"{key}={value}" for key, value in sorted(function.keywords.items()))
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


def optimizer(made: Optimizer) -> dict[str, Any]:
    """An optimizer's kind and its options."""
    options = {f"optimizer.{key}": value for key, value in made.defaults.items()}
    return {"optimizer": type(made).__name__, **options}
