"""How numbers and settings are written, the same in the page, the figures and the console."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from nst.pictures import images

_WEIGHTS = (".pth", ".pt", ".safetensors")
OPTIMIZERS = {"adam": "Adam", "lbfgs": "L-BFGS"}
LONGEST_LEVEL = 28  # characters; longer levels (paths, lists) are cut in their middle


def number(value: float | None, digits: int = 3) -> str:
    """Write ``value`` to ``digits`` significant digits, plainly where that stays short."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 999_950:
        return f"{value:.{digits - 1}e}"
    if size >= 999.5 or size == 0:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def plus_minus(mean: float, deviation: float | None) -> str:
    """Write a mean with its standard deviation, where there is one."""
    return number(mean) + (f" ± {number(deviation, 2)}" if deviation is not None else "")


def times(ratio: float | None) -> str:
    """Write a ratio as a multiple, e.g. ``2.58×``."""  # noqa: RUF002
    return "-" if ratio is None else f"{number(ratio)}×"  # noqa: RUF001


def jump(ratio: float | None) -> str:
    """Write the largest jump of a loss, 1 where it never rose."""
    return "none" if ratio == 1 else times(ratio)


def seconds(value: float | None) -> str:
    """Write a duration given in seconds."""
    return (
        "-" if value is None or math.isnan(value) else f"{number(value)}\u00a0s"
    )  # not broken across lines


def count(value: float | None) -> str:
    """Write a number of evaluations: whole where it is, one decimal for a mean."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def evaluations(value: float) -> str:
    """Write how many evaluations, see ``count``."""
    return f"{count(value)} evaluation{'' if value == 1 else 's'}"


def percent(share: float | None) -> str:
    """Write a share in [0, 1] as a percentage."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.3g} %"


def listed(words: Sequence[str]) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def level(value: str) -> str:
    """Write a factor's level in one line, cut in the middle where long."""
    printable = "".join(one if one.isprintable() else " " for one in value)
    return shorten(printable, LONGEST_LEVEL)


def is_file(value: str) -> bool:
    """Whether a level looks like the name of a file, with or without folders."""
    name = re.search(r"[^/](\.[A-Za-z]\w*)\Z", value)
    if value[:1] in ("[", "{") or name is None:
        return False
    return name[1].lower() in {*images.suffixes(), *_WEIGHTS}


def width(value: str) -> float:
    """Return the width of ``value`` in average Latin characters; those of East Asia are wider."""
    return sum(1.6 if unicodedata.east_asian_width(one) in "WF" else 1 for one in value)


def shorten(value: str, longest: int) -> str:
    """Cut ``value`` in its middle to the width of at most ``longest`` characters."""
    if width(value) <= longest:
        return value
    longest = max(4, int(longest * len(value) / width(value)))
    head = (longest - 1) * 2 // 3
    tail = longest - 1 - head
    return f"{value[:head]}…{value[len(value) - tail :]}"


def setting(levels: Mapping[str, str]) -> str:
    """Name a setting for a sentence, e.g. ``L-BFGS from content, size=64``."""
    rest = dict(levels)
    if "optimizer" not in rest:
        return pairs(rest)
    optimizer = rest.pop("optimizer")
    start = f" from {level(rest.pop('init'))}" if "init" in rest else ""
    named = OPTIMIZERS.get(optimizer, level(optimizer)) + start
    return ", ".join(filter(None, [named, pairs(rest)]))


def pairs(levels: Mapping[str, str]) -> str:
    """Name a setting by its keys, e.g. ``init=random, size=64``."""
    return ", ".join(f"{key}={level(value)}" for key, value in levels.items())
