"""Neural style transfer by optimisation.

The command is `python -m nst`; the library is `stylize` and the parts that it is made of:

    import nst

    result = nst.stylize("photo.jpg", "painting.jpg", size=256, budget=nst.Budget(evaluations=100))
    result.picture.save("result.png")
"""

__version__ = "0.1.0"

import sys

from nst.api import stylize
from nst.errors import InputError
from nst.objective import statistics
from nst.optim import colors, gamuts, inits
from nst.optim.optimizers import adam, lbfgs, lbfgs_torch
from nst.optim.parametrizations import fourier, pixel
from nst.optim.schedules import Scale
from nst.optim.wrappers import averaged, scheduled
from nst.pictures.images import SAMPLES
from nst.pictures.regions import Regions
from nst.run.guard import Guard
from nst.run.records import Budget, Row
from nst.run.results import Result
from nst.run.specs import Compute, Keep, Loss, Network

# So that `from nst.inits import Canvas` works too, wherever the module is.
for _module in (colors, gamuts, inits, statistics):
    sys.modules[f"nst.{_module.__name__.rpartition('.')[2]}"] = _module

__all__ = [
    "SAMPLES",
    "Budget",
    "Compute",
    "Guard",
    "InputError",
    "Keep",
    "Loss",
    "Network",
    "Regions",
    "Result",
    "Row",
    "Scale",
    "adam",
    "averaged",
    "colors",
    "fourier",
    "gamuts",
    "inits",
    "lbfgs",
    "lbfgs_torch",
    "pixel",
    "scheduled",
    "statistics",
    "stylize",
]
