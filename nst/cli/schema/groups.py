"""The options of each config group, with their types and ranges."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from nst.cli.schema.choices import (
    Architecture,
    Border,
    Format,
    HistoryPrecision,
    InputOrAuto,
    LineSearch,
    Meant,
    Method,
    Norm,
    Normalization,
    Padding,
    Policy,
    PoolingOrAuto,
    Precision,
    Timelapse,
    names,
)
from nst.cli.schema.ranges import above, at_least, not_blank, pictures
from nst.errors import InputError
from nst.pictures import timelapse


@dataclass
class AdamConf:
    """`optimizer=adam`."""

    lr: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    carry_over: bool = MISSING
    _target_: str = "nst.adam"
    _partial_: bool = True

    def __post_init__(self) -> None:
        above("optimizer.lr", self.lr, 0)
        above("optimizer.eps", self.eps, 0)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"optimizer.betas must be two numbers in [0, 1), not {self.betas}")


@dataclass
class LbfgsConf:
    """`optimizer=lbfgs` and `optimizer=lbfgs_torch`."""

    lr: float = MISSING
    max_iter: int = MISSING
    history_size: int | str = MISSING
    history_precision: HistoryPrecision = MISSING
    max_step_rms: float | None = MISSING
    first_step: float | None = MISSING
    initial_scale: float = MISSING
    line_search_fn: LineSearch | None = MISSING
    tolerance_grad: float = MISSING
    tolerance_change: float = MISSING
    _target_: str = "nst.lbfgs"
    _partial_: bool = True

    def __post_init__(self) -> None:
        above("optimizer.lr", self.lr, 0)
        at_least("optimizer.max_iter", self.max_iter, 1)
        if isinstance(self.history_size, int):
            at_least("optimizer.history_size", self.history_size, 1)
        elif self.history_size != "auto":
            raise InputError(
                f"optimizer.history_size={self.history_size}: must be auto or a whole number"
            )
        above("optimizer.max_step_rms", self.max_step_rms, 0)
        above("optimizer.first_step", self.first_step, 0)
        above("optimizer.initial_scale", self.initial_scale, 0)
        at_least("optimizer.tolerance_grad", self.tolerance_grad, 0)
        at_least("optimizer.tolerance_change", self.tolerance_change, 0)


@dataclass
class AveragedConf:
    """`optimizer=averaged`; the optimizer within is open to classes of the user's."""

    optimizer: Any = MISSING
    decay: float = MISSING
    _target_: str = "nst.averaged"
    _partial_: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError(f"optimizer.decay must be in [0, 1), not {self.decay}")


@dataclass
class ScheduledConf:
    """`optimizer=scheduled`; the scheduler is any of torch's, or the user's."""

    optimizer: Any = MISSING
    scheduler: Any = MISSING
    _target_: str = "nst.scheduled"
    _partial_: bool = True


@dataclass
class RandomInitConf:
    """`init=random`."""

    std: float = MISSING
    _target_: str = "nst.inits.random"
    _partial_: bool = True

    def __post_init__(self) -> None:
        above("init.std", self.std, 0)


@dataclass
class NoisyInitConf:
    """`init=noisy`."""

    share: float = MISSING
    _target_: str = "nst.inits.noisy"
    _partial_: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"init.share must be between 0 and 1, not {self.share}")


@dataclass
class StyleStatsInitConf:
    """`init=style_stats`."""

    _target_: str = "nst.inits.style_stats"
    _partial_: bool = True


@dataclass
class GrayInitConf:
    """`init=gray`."""

    _target_: str = "nst.inits.gray"
    _partial_: bool = True


@dataclass
class ContentInitConf:
    """`init=content`."""

    _target_: str = "nst.inits.content"
    _partial_: bool = True


@dataclass
class StyleInitConf:
    """`init=style`."""

    _target_: str = "nst.inits.style"
    _partial_: bool = True


@dataclass
class ImageInitConf:
    """`init=image`."""

    path: str = MISSING
    _target_: str = "nst.inits.image"
    _partial_: bool = True

    def __post_init__(self) -> None:
        not_blank("init.path", self.path)


@dataclass
class ResultInitConf:
    """`init=result`."""

    folder: str = MISSING
    _target_: str = "nst.inits.result"
    _partial_: bool = True

    def __post_init__(self) -> None:
        not_blank("init.folder", self.folder)


@dataclass
class PixelConf:
    """`parametrization=pixel`."""

    _target_: str = "nst.pixel"
    _partial_: bool = True


@dataclass
class FourierConf:
    """`parametrization=fourier`."""

    power: float = MISSING
    wavelength: float | None = MISSING
    _target_: str = "nst.fourier"
    _partial_: bool = True

    def __post_init__(self) -> None:
        at_least("parametrization.power", self.power, 0)
        at_least("parametrization.wavelength", self.wavelength, 2)


@dataclass
class SrgbGamutConf:
    """`gamut=srgb`."""

    _target_: str = "nst.gamuts.srgb"
    _partial_: bool = True


@dataclass
class ClipGamutConf:
    """`gamut=clip`."""

    _target_: str = "nst.gamuts.clip"
    _partial_: bool = True


@dataclass
class FreeGamutConf:
    """`gamut=free`."""

    _target_: str = "nst.gamuts.free"
    _partial_: bool = True


@dataclass
class GramConf:
    """`style_loss=gram`."""

    normalization: Normalization = MISSING
    _target_: str = "nst.statistics.Gram"


@dataclass
class KeylessConf:
    """An option without keys, in a group of statistics or colours."""

    _target_: str = MISSING


@dataclass
class MatchColorConf:
    """`color=match`."""

    method: Method = MISSING
    _target_: str = "nst.colors.Match"


@dataclass
class RegionsConf:
    """`regions`: pictures, or lists of pictures and nulls, see `nst.pictures.regions.Regions`."""

    content: Any = MISSING
    style: Any = MISSING
    border: Border = MISSING

    def __post_init__(self) -> None:
        for key in ("content", "style"):
            pictures(f"regions.{key}", getattr(self, key), optional=True)


@dataclass
class WassersteinConf:
    """`style_loss=wasserstein`."""

    ridge: float = MISSING
    least: float = MISSING
    _target_: str = "nst.statistics.Wasserstein"

    def __post_init__(self) -> None:
        at_least("style_loss.ridge", self.ridge, 0)
        at_least("style_loss.least", self.least, 0)


@dataclass
class SlicedWassersteinConf:
    """`style_loss=sliced_wasserstein`."""

    directions: int = MISSING
    _target_: str = "nst.statistics.SlicedWasserstein"

    def __post_init__(self) -> None:
        at_least("style_loss.directions", self.directions, 1)


@dataclass
class PrecisionConf:
    """`precision=...`."""

    network: Precision = MISSING


@dataclass
class LayersConf:
    """`layers=...`: tap to weight; 0 leaves a tap out."""

    content: dict[str, float] = MISSING
    style: dict[str, float] = MISSING

    def __post_init__(self) -> None:
        for term, weights in (("content", self.content), ("style", self.style)):
            for tap, weight in weights.items():
                at_least(f"layers.{term}.{tap}", weight, 0)


@dataclass
class LossConf:
    """`loss=...`."""

    content_weight: float = MISSING
    style_weight: float = MISSING
    tv_weight: float = MISSING
    gram: Normalization = MISSING
    tv_norm: Norm = MISSING
    joint: bool = MISSING

    def __post_init__(self) -> None:
        at_least("loss.content_weight", self.content_weight, 0)
        at_least("loss.style_weight", self.style_weight, 0)
        at_least("loss.tv_weight", self.tv_weight, 0)


@dataclass
class BalancedLossConf(LossConf):
    """`loss=balanced`."""

    strength: float = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise InputError(f"loss.strength must be between 0 and 1, not {self.strength}")


@dataclass
class PlainLossConf(LossConf):
    """`loss=reference`, `loss=smooth`."""

    meant_for: Meant | None = MISSING


@dataclass
class GradientsLossConf(LossConf):
    """`loss=gradients`, whose weights are shares of the gradient at the start."""


@dataclass
class ModelConf:
    """`model=...`."""

    architecture: Architecture = MISSING
    weights: str = MISSING
    input: InputOrAuto = MISSING
    pooling: PoolingOrAuto = MISSING
    pooling_scale: float | None = MISSING
    padding: Padding = MISSING
    seed: int = MISSING

    def __post_init__(self) -> None:
        at_least("model.seed", self.seed, 0)
        above("model.pooling_scale", self.pooling_scale, 0)
        not_blank("model.weights", self.weights)


@dataclass
class ScheduleConf:
    """`schedule=...`; the values are checked by `nst.optim.schedules.check`."""

    scales: list[float] = MISSING
    evaluations: list[int | None] = MISSING
    detail: bool = MISSING

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.evaluations):
            raise InputError(
                f"schedule.evaluations must have one entry for each of schedule.scales "
                f"({len(self.scales)}), not {len(self.evaluations)}"
            )


@dataclass
class BudgetConf:
    """`budget=...`; the ranges are checked by `nst.run.records.Budget`."""

    steps: int | None = MISSING
    evaluations: int | None = MISSING
    seconds: float | None = MISSING
    target_loss: float | None = MISSING


@dataclass
class OutputConf:
    """`output`: what a run leaves on the way."""

    image_every: int | None = MISSING
    format: Format = MISSING
    timelapse: Timelapse | None = MISSING

    def __post_init__(self) -> None:
        at_least("output.image_every", self.image_every, 1)
        if self.timelapse is not None:
            if self.image_every is None:
                raise InputError(
                    "output.timelapse: is made of the intermediate images, so output.image_every "
                    "must not be null"
                )
            timelapse.check(names(self.timelapse))


@dataclass
class CheckpointConf:
    """`checkpoint`: how often the state is saved, such as 100 (evaluations) or 60s (seconds)."""

    every: str | None = MISSING

    def __post_init__(self) -> None:
        if any(value is not None and not value > 0 for value in self.interval()):
            raise InputError(f"checkpoint.every must be greater than 0, not {self.every}")

    def interval(self) -> tuple[int | None, float | None]:
        """Evaluations and seconds between checkpoints, one of them or both None."""
        if self.every is None:
            return None, None
        try:
            if self.every.endswith("s"):
                return None, float(self.every[:-1])
            return int(self.every), None
        except ValueError:
            raise InputError(
                f"checkpoint.every must be evaluations, such as 100, or seconds, such as 60s, "
                f"not {self.every}"
            ) from None


@dataclass
class StudyConf:
    """`study=...`: a question and the sweep that answers it, see `nst.cli.study`."""

    question: str = MISSING
    sweep: dict[str, str] = field(default_factory=dict)
    each: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        not_blank("study.question", self.question)


@dataclass
class GuardConf:
    """`guard=...`; the ranges are checked by `nst.run.guard.Guard`."""

    policy: Policy = MISSING
    blow_up: float | None = MISSING
    attempts: int = MISSING
