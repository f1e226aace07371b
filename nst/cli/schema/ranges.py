"""Checks of single values, whose messages name the key."""

import math
from collections.abc import Sequence
from typing import Any

from nst.errors import InputError

_MOST = 2**63 - 1  # what torch takes for a whole number


def above(key: str, value: float | None, bound: float) -> None:
    """Check that an option, where it is set, is finite and greater than a bound.

    Raises:
        InputError: it is not.
    """
    if value is not None and (not value > bound or math.isinf(value)):
        more = "finite" if value == math.inf else f"greater than {bound}"
        raise InputError(f"{key} must be {more}, not {value}")


def at_least(key: str, value: float | None, bound: float) -> None:
    """Check that an option, where it is set, is finite and not less than a bound.

    Raises:
        InputError: it is not.
    """
    if value is not None and (not value >= bound or math.isinf(value)):
        more = "finite" if value == math.inf else f"at least {bound}"
        raise InputError(f"{key} must be {more}, not {value}")
    if value is not None and value > _MOST:
        raise InputError(f"{key} must be at most {_MOST}, not {value}")


def not_blank(key: str, value: str | None) -> None:
    """Check that a text, where it is set, is not empty.

    Raises:
        InputError: it is.
    """
    if value is not None and not value.strip():
        raise InputError(f"{key}= must not be empty")


def pictures(key: str, value: Any, *, optional: bool = False) -> None:
    """Check that an option is a path, or a list of them.

    Args:
        key: the option.
        value: of it.
        optional: whether null may stand in place of each of them.

    Raises:
        InputError: it is not.
    """
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if listed and not value:
        raise InputError(f"{key} must name a picture: the list is empty")
    for one in value if listed else [value]:
        if not (isinstance(one, str) or (optional and one is None)):
            raise InputError(f"{key} must be a path or a list of paths, not {one}")
        not_blank(key, one)
