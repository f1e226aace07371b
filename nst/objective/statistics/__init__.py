"""What a term compares of a layer's features, one file for each statistic.

A picture may go through the network in tiles, and several pictures in one batch. So a statistic
first *gathers* what it needs by sums over positions, which the parts of a picture add up to, and
then says how far that is from its target (`distance`). It says nothing of layers, weights, tiles or
batches: these are the objective's, `nst.objective.Objective`.

There are two kinds. `Moments` are compared with the same moments of another picture, wherever in it
they come from; a `Comparison` is with the features of another picture at the same positions.

To add one, write a class of either kind, or a function that returns one, and name it in a YAML of
the group `style_loss` or `content_loss`:

    _target_: my_package.MyStatistic
    scale: 0.5        # its arguments
"""

from nst.objective.statistics.base import Comparison, Moments, Positions, Pullback, Statistic
from nst.objective.statistics.gram import Gram
from nst.objective.statistics.mse import MSE

__all__ = ["MSE", "Comparison", "Gram", "Moments", "Positions", "Pullback", "Statistic"]
