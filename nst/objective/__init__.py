"""What is optimised: terms and their targets, for pictures taken whole, in tiles or in batches."""

from nst.objective.objective import Objective, Precision, Terms

__all__ = ["Objective", "Precision", "Terms"]
