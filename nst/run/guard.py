"""When an evaluation's numbers are bad, and what is to be done about it."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from nst.errors import InputError
from nst.run.records import Row

Policy = Literal["stop", "recover"]


@dataclass(frozen=True)
class Fault:
    """What is wrong with an evaluation.

    Attributes:
        kind: `non_finite` or `blow_up`.
        what: a few words for the message.
    """

    kind: Literal["non_finite", "blow_up"]
    what: str


@dataclass(frozen=True)
class Guard:
    """Checks every evaluation.

    Attributes:
        policy: `stop` ends the run as failed with its best image; `recover` returns to the best
            image, forgets the optimizer's state, halves the learning rate for the rest of the
            stage and goes on.
        blow_up: a total above this multiple of the best one is bad; None allows any finite total
            (L-BFGS from noise may jump a thousandfold and still come down).
        attempts: recoveries after which the run stops all the same.
    """

    policy: Policy = "stop"
    blow_up: float | None = None
    attempts: int = 3

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            known = " or ".join(get_args(Policy))
            raise InputError(f"guard.policy must be {known}, not {self.policy}")
        if self.blow_up is not None and not self.blow_up > 1:
            raise InputError(f"guard.blow_up must be greater than 1, not {self.blow_up}")
        if self.attempts < 1:
            raise InputError(f"guard.attempts must be at least 1, not {self.attempts}")

    def check(self, row: Row, gradient: float, best: Row | None) -> Fault | None:
        """Judge one evaluation.

        Args:
            row: the evaluation.
            gradient: largest absolute value in the image's gradient; not finite if any is not.
            best: the row with the lowest total so far.
        """
        if not math.isfinite(row.total):
            bad = [name for name, value in row.terms.items() if not math.isfinite(value)]
            return Fault("non_finite", f"the loss is not finite ({', '.join(bad) or 'total'})")
        if not math.isfinite(gradient):
            return Fault("non_finite", "the gradient is not finite")
        if self.blow_up and best and row.total > self.blow_up * best.total:
            jump = row.total / best.total if best.total else math.inf
            return Fault("blow_up", f"the loss is {jump:.3g} times the best one")
        return None
