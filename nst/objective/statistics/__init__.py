"""What a term compares of a layer's features, one file for each statistic.

A picture may go through the network in tiles, and several pictures in one batch. So a statistic
first *gathers* what it needs from the parts of a picture, and then says how far that is from its
target (`distance`). It says nothing of layers, weights, tiles or batches: these are the
objective's, `nst.objective.Objective`.

There are three kinds. `Moments` are means over positions, compared with the same means of another
picture; of a `Distribution` all values are kept, and compared in whatever order they are; a
`Comparison` is with the features of another picture at the same positions. Positions have weights,
where a mask says which of them count (`Positions`).

| statistic | kind | what it compares |
|---|---|---|
| `Gram` | moments | products of channels |
| `MeanStd` | moments | means and standard deviations of channels |
| `Covariance` | moments | covariances of channels |
| `Wasserstein` | moments | Gaussians of those means and covariances, by what it takes to move one |
| `SlicedWasserstein` | distribution | the features along random directions |
| `Histogram` | distribution | each channel's values |
| `MSE` | comparison | features |
| `Cosine` | comparison | directions of features |

To add one, write a class of one of these kinds, or a function that returns one, and name it in a
YAML of the group `style_loss` or `content_loss`:

    _target_: my_package.MyStatistic
    scale: 0.5        # its arguments
"""

from nst.objective.statistics.base import (
    Comparison,
    Distribution,
    Moments,
    Positions,
    Statistic,
)
from nst.objective.statistics.cosine import Cosine
from nst.objective.statistics.covariance import Covariance
from nst.objective.statistics.gram import Gram
from nst.objective.statistics.histogram import Histogram
from nst.objective.statistics.mean_std import MeanStd
from nst.objective.statistics.mse import MSE
from nst.objective.statistics.sliced_wasserstein import SlicedWasserstein
from nst.objective.statistics.wasserstein import Wasserstein

__all__ = [
    "MSE",
    "Comparison",
    "Cosine",
    "Covariance",
    "Distribution",
    "Gram",
    "Histogram",
    "MeanStd",
    "Moments",
    "Positions",
    "SlicedWasserstein",
    "Statistic",
    "Wasserstein",
]
