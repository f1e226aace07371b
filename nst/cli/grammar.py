"""Texts as Hydra's grammar and OmegaConf's interpolation write them, and back.

Hydra reads `key=value` by a grammar of its own, in which many characters of file names have a
meaning or are not allowed. Within quotes all are allowed; backslashes before a quote are doubled.
What Hydra has read becomes a value of OmegaConf's, for which `${...}` is the name of another value
unless a backslash is before it.
"""

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from nst.errors import InputError


def parsed(value: str) -> Override | None:
    """What Hydra makes of a value; None where its grammar does not allow it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None


def written(text: str) -> str:
    """A value for which Hydra and OmegaConf read this very text: bare if it can be, else quoted.

    Raises:
        InputError: a file name whose bytes are no text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode(errors="backslashreplace").decode()
        raise InputError(f"{shown}: a name that is not UTF-8 cannot be used") from None
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    found = parsed(literal)
    if found and not found.is_sweep_override() and found.value() == literal:
        # Sweepers write a value anew, and some of what may stand bare then gets backslashes.
        if found.get_value_element_as_str() == literal:
            return literal
    return QuotedString(literal, Quote.single).with_quotes()


def read(value: str) -> Any:
    """A value's text, or list of them; as it is what is neither, or not to be read."""
    found = parsed(value)
    if not found or found.is_sweep_override():
        return value
    element = found.value()
    if isinstance(element, list):
        return [unescaped(one) if isinstance(one, str) else one for one in element]
    return unescaped(element) if isinstance(element, str) else value


def unescaped(text: str) -> str:
    """A text of the config without the backslashes that keep `${` from being an interpolation."""
    return re.sub(r"(\\+)\$\{", lambda found: "\\" * (len(found[1]) // 2) + "${", text)
