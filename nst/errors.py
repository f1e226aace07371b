"""The one base class for "what you gave cannot be used", and a check that raises it."""


class InputError(ValueError):
    """A picture, an option or a file of weights that cannot be used.

    The message is one line that names the culprit and what would be valid. The command line prints
    it and exits with code 2.
    """


def one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    """Check that a value is one of those that are known.

    Raises:
        InputError: it is not.
    """
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}, not {value}")
