"""What is optimised: terms and their targets, for pictures taken whole, in tiles or in batches."""

from nst.objective.objective import Objective, Precision
from nst.objective.terms import Region, Source, Term, Terms, whole
from nst.objective.transfer import transfer

__all__ = [
    "Objective",
    "Precision",
    "Region",
    "Source",
    "Term",
    "Terms",
    "transfer",
    "whole",
]
