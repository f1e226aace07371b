"""Checks of single numbers, whose messages name the key."""

import math

from nst.errors import InputError

_MOST = 2**63 - 1  # what torch takes for a whole number


def above(key: str, value: float | None, bound: float) -> None:
    """Check that an option, where it is set, is finite and greater than a bound.

    Raises:
        InputError: it is not.
    """
    if value is not None and (not value > bound or math.isinf(value)):
        raise InputError(f"{key} must be greater than {bound}, not {value}")


def at_least(key: str, value: float | None, bound: float) -> None:
    """Check that an option, where it is set, is finite and not less than a bound.

    Raises:
        InputError: it is not.
    """
    if value is not None and (not value >= bound or math.isinf(value)):
        raise InputError(f"{key} must be at least {bound}, not {value}")
    if value is not None and value > _MOST:
        raise InputError(f"{key} must be at most {_MOST}, not {value}")


def not_blank(key: str, value: str | None) -> None:
    """Check that a text, where it is set, is not empty.

    Raises:
        InputError: it is.
    """
    if value is not None and not value.strip():
        raise InputError(f"{key}= must not be empty")
