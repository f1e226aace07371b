"""Neural style transfer by optimisation.

The command is `python -m nst`; the library is `stylize` and the parts that it is made of:

    import nst

    result = nst.stylize("photo.jpg", "painting.jpg", size=256, budget=nst.Budget(evaluations=100))
    result.picture.save("result.png")
"""

__version__ = "0.1.0"

from nst import gamuts, inits
from nst.api import stylize
from nst.errors import InputError
from nst.optimizers import adam, lbfgs, lbfgs_torch
from nst.parametrizations import fourier, pixel
from nst.records import Budget, Row
from nst.results import Result
from nst.schedules import Scale

__all__ = [
    "Budget",
    "InputError",
    "Result",
    "Row",
    "Scale",
    "adam",
    "fourier",
    "gamuts",
    "inits",
    "lbfgs",
    "lbfgs_torch",
    "pixel",
    "stylize",
]
