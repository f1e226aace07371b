"""The one base class for "what you gave cannot be used"."""


class InputError(ValueError):
    """A picture, an option or a file of weights that cannot be used.

    The message is one line that names the culprit and what would be valid. The command line prints
    it and exits with code 2.
    """
