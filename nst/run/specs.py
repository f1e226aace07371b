"""`Loss`, `Network`, `Compute` and `Keep`: arguments of `nst.stylize`, in a few groups.

Each checks its own values when it is made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeGuard, get_args

from nst.errors import InputError, one_of
from nst.network.architecture import Name
from nst.network.preprocessing import Convention
from nst.network.vgg import Padding, Pooling, Trunk
from nst.network.weights import resolve
from nst.objective.magnitudes import Meant
from nst.objective.objective import Precision
from nst.objective.statistics import MSE, Gram, Statistic
from nst.objective.statistics.base import described
from nst.objective.variation import Norm
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE
from nst.pictures import images
from nst.run.memory import Memory
from nst.run.results import Sink
from nst.run.strategy import Alone, Strategy


@dataclass(frozen=True)
class Loss:
    """What is measured of the image, and so minimised.

    Attributes:
        strength: of the style, from 0, the photograph, to 1, all style and no content, whatever the
            network, size and pictures, see `nst.objective.balanced.goal`. None takes the terms as
            they are, see `nst.objective`.
        gradients: without a strength, the weights are shares of the gradient at the start, see
            `nst.objective.gradients`.
        content_weight: factor of the content term.
        style_weight: factor of the style term; None is 1, or 1e6 where the terms are as they are.
        tv_weight: factor of the total variation.
        tv_norm: its form: `l1`, `l2`, or another program's, `l1_sum`, `l2_sum`, `l2_diagonal`, see
            `nst.objective.variation.total_variation`.
        content_layers: tap to weight within the content term; 0 leaves a tap out.
        style_layers: tap to weight within the style term, likewise.
        content_loss: what of the features is content, see `nst.objective.statistics`.
        style_loss: what of them is style.
        meant_for: the network that the weights are meant for, without a strength: `caffe` brings
            the distances in others to the size that they have in Caffe's VGG-19, see
            `nst.objective.magnitudes`; None leaves them as they are.
        joint: all terms share a pass through the network, see `nst.objective.Objective`.
    """

    strength: float | None = 0.5
    gradients: bool = False
    content_weight: float = 1.0
    style_weight: float | None = None
    tv_weight: float = 0.0
    tv_norm: Norm = "l1"
    content_layers: Mapping[str, float] = field(default_factory=lambda: GATYS_CONTENT)
    style_layers: Mapping[str, float] = field(default_factory=lambda: GATYS_STYLE)
    content_loss: Statistic = field(default_factory=MSE)
    style_loss: Statistic = field(default_factory=Gram)
    meant_for: Meant | None = None
    joint: bool = True

    def __post_init__(self) -> None:
        strength = self.strength
        if strength is not None and not (_is_number(strength) and 0 <= strength <= 1):
            raise InputError(f"strength must be a number between 0 and 1, not {strength!r}")
        if self.gradients and strength is not None:
            raise InputError("gradients: weights by gradients go without a strength (None)")
        if self.gradients and not self.joint:
            raise InputError("gradients: weights by gradients need joint passes")
        for name in ("content_weight", "tv_weight"):
            _at_least_0(name, getattr(self, name))
        if self.style_weight is not None:
            _at_least_0("style_weight", self.style_weight)
        one_of("tv_norm", self.tv_norm, get_args(Norm))
        one_of("meant_for", self.meant_for, (None, *get_args(Meant)))
        plain = isinstance(self.content_loss, MSE) and isinstance(self.style_loss, Gram)
        if self.meant_for and not (plain and self.strength is None and not self.gradients):
            raise InputError(
                "meant_for: is for plain weights of Gram matrices and mean squared differences"
            )
        for name in ("content_layers", "style_layers"):
            layers = getattr(self, name)
            if not isinstance(layers, Mapping):
                raise InputError(f"{name} must map layers to weights, not be {layers!r}")
            for tap, weight in layers.items():
                _at_least_0(f"{name}: {tap}", weight)
        for name in ("content_loss", "style_loss"):
            if not isinstance(getattr(self, name), Statistic):
                raise InputError(f"{name} must be a statistic, see nst.statistics")

    @property
    def factors(self) -> tuple[float, float]:
        """The factors of the content and of the style term that count."""
        usual = 1e6 if self.strength is None and not self.gradients else 1.0
        style = usual if self.style_weight is None else self.style_weight
        return 0.0 if self.strength == 1 else self.content_weight, style  # 1 is all style

    @property
    def layers(self) -> tuple[dict[str, float], dict[str, float]]:
        """Those of the content and of the style term that have a weight."""
        both = self.content_layers, self.style_layers
        content, style = ({tap: own for tap, own in layers.items() if own} for layers in both)
        return content, style

    @property
    def taps(self) -> list[str]:
        """The layers that any term needs."""
        pairs = zip(self.factors, self.layers, strict=True)
        return list({tap: None for factor, layers in pairs if factor for tap in layers})

    def identity(self) -> dict[str, object]:
        """All of it, by name, as it makes a run what it is."""
        own = {**vars(self)}
        own["content_layers"], own["style_layers"] = self.layers
        own["content_weight"], own["style_weight"] = self.factors
        for name in ("content_loss", "style_loss"):
            own[name] = described(own[name])
        return own


@dataclass(frozen=True)
class Network:
    """The network that sees the pictures.

    Attributes:
        weights: `auto`, `imagenet`, `embedded`, `random` or a path, see
            `nst.network.weights.resolve`.
        seed: of `random` weights.
        architecture: `vgg19` or `vgg16`.
        input: what the weights in a file were trained with: `torchvision`, RGB normalised as
            ImageNet is, or `caffe`, BGR from 0 to 255 less a mean; `auto` knows the usual files.
            `rgb255` is what some programs feed torchvision's networks, see
            `nst.network.preprocessing`.
        pooling: `max`, `avg` or `l2`; None is `avg` with random weights and `max` with trained
            ones.
        pooling_scale: factor of the poolings' results; None is 1 with random weights, and with
            trained ones what brings them to the magnitude of maxima: 2 of `avg`, 0.78 of `l2`.
        padding: what the first convolution sees beyond the border: `zeros`, `replicate` or
            `reflect`.
    """

    weights: str = "auto"
    seed: int = 0
    architecture: Name = "vgg19"
    input: Convention | Literal["auto"] = "auto"
    pooling: Pooling | None = None
    pooling_scale: float | None = None
    padding: Padding = "zeros"

    def trunk(self) -> Trunk:
        """The network with its weights.

        Raises:
            nst.network.weights.WeightsError: they cannot be had.
        """
        weights = resolve(self.weights, self.seed, self.architecture, self.input)
        return Trunk.of(weights, self.pooling, self.pooling_scale, self.padding)

    def __post_init__(self) -> None:
        one_of("architecture", self.architecture, get_args(Name))
        one_of("input", self.input, ("auto", *get_args(Convention)))
        one_of("pooling", self.pooling, (None, *get_args(Pooling)))
        one_of("padding", self.padding, get_args(Padding))
        if self.pooling_scale is not None and not 0 < self.pooling_scale < float("inf"):
            raise InputError(
                f"pooling_scale must be finite and greater than 0, not {self.pooling_scale!r}"
            )
        if not isinstance(self.weights, str):
            raise InputError(f"weights must be a name or a path, as text, not {self.weights!r}")


@dataclass(frozen=True)
class Compute:
    """Where and how a run computes.

    Attributes:
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the network, see `nst.objective.Objective`.
        deterministic: let torch use only algorithms that always give the same bits.
        memory: `full` takes the picture as a whole; `tiled` goes through the network tile by tile,
            with the same result up to rounding; `auto` does so where the whole would take more than
            half of the free memory (`nst.run.memory`).
        tile_size: longest side of the tiles in px; None is the largest that fits, to 1024. A
            resumed run may have another, but then it is the same only up to rounding.
        strategy: how images are evaluated, alone or in a batch with those of other threads' runs
            (`nst.run.rendezvous`): the same up to rounding, but its seconds are the batch's.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    deterministic: bool = False
    memory: Memory = "auto"
    tile_size: int | None = None
    strategy: Strategy = field(default_factory=Alone)

    def __post_init__(self) -> None:
        if not isinstance(self.device, str):
            raise InputError(f"device must be a name, not {self.device!r}")
        one_of("precision", self.precision, get_args(Precision))
        one_of("memory", self.memory, get_args(Memory))
        at_least_1("tile_size", self.tile_size)


@dataclass(frozen=True)
class Keep:
    """What is kept of a run while it goes on.

    Attributes:
        sinks: get every row and image, see `nst.run.tracking`. Who opened them closes them.
        image_every: evaluations between the images for the sinks; None is none.
        saved_as: suffix of the file that the picture is meant for, one of
            `nst.pictures.images.WRITTEN`; what its compression loses counts in the result's
            `picture_losses`.
        checkpoint: file for the run's state; None writes none.
        checkpoint_every: evaluations between checkpoints; None is no such limit.
        checkpoint_seconds: seconds of optimisation between checkpoints; None is no such limit.
        resume: a checkpoint of the same run to go on from, to the same bits.
    """

    sinks: Sequence[Sink] = ()
    image_every: int | None = None
    saved_as: str = ".png"
    checkpoint: str | Path | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float | None = 60.0
    resume: str | Path | None = None

    def __post_init__(self) -> None:
        at_least_1("image_every", self.image_every)
        at_least_1("checkpoint_every", self.checkpoint_every)
        if self.checkpoint_seconds is not None:
            _at_least_0("checkpoint_seconds", self.checkpoint_seconds)
        one_of("saved_as", self.saved_as, tuple(images.WRITTEN))
        if not isinstance(self.sinks, Sequence):
            raise InputError(f"sinks must be a list, not {self.sinks!r}")
        for sink in self.sinks:
            if not isinstance(sink, Sink) or isinstance(sink, type):
                methods = "on_start, on_evaluation, on_image and on_end"
                raise InputError(f"sinks: {sink!r} is not an object with {methods}")


def at_least_1(name: str, value: object) -> None:
    """Check that a value, where there is one, is a whole number of at least 1.

    Raises:
        InputError: it is not.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is not None and not whole:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")


def _at_least_0(name: str, value: object) -> None:
    if not (_is_number(value) and 0 <= value < math.inf):
        raise InputError(f"{name} must be a finite number of at least 0, not {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
