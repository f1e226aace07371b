"""Every option's type and range.

The YAML files in `conf/` hold the values; these classes hold the types. Hydra checks a composed
config against them before anything runs (before the first job of a sweep), and `validate` turns it
into these very objects and checks the ranges.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nst.errors import InputError


class Resize(Enum):
    """How `size` is applied; the members' names are what a config says."""

    fit = "fit"
    stretch = "stretch"


class Gram(Enum):
    """Normalisation of the Gram matrices."""

    chw = "chw"
    hw = "hw"


class Pooling(Enum):
    """Pooling of the network; auto is avg with random weights and max with trained ones."""

    auto = "auto"
    max = "max"
    avg = "avg"


class Metric(Enum):
    """What a run returns for a search to minimise, see `nst.objective.balance`."""

    balance = "balance"
    total = "total"


class LineSearch(Enum):
    """Line search of L-BFGS."""

    strong_wolfe = "strong_wolfe"


@dataclass
class AdamConf:
    """`optimizer=adam`."""

    lr: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    _target_: str = "nst.optimizers.adam"
    _partial_: bool = True

    def __post_init__(self) -> None:
        _above("optimizer.lr", self.lr, 0)
        _above("optimizer.eps", self.eps, 0)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"optimizer.betas must be two numbers in [0, 1), not {self.betas}")


@dataclass
class LbfgsConf:
    """`optimizer=lbfgs`."""

    lr: float = MISSING
    max_iter: int = MISSING
    history_size: int = MISSING
    line_search_fn: LineSearch | None = MISSING
    tolerance_grad: float = MISSING
    tolerance_change: float = MISSING
    _target_: str = "nst.optimizers.lbfgs"
    _partial_: bool = True

    def __post_init__(self) -> None:
        _above("optimizer.lr", self.lr, 0)
        _at_least("optimizer.max_iter", self.max_iter, 1)
        _at_least("optimizer.history_size", self.history_size, 1)
        _at_least("optimizer.tolerance_grad", self.tolerance_grad, 0)
        _at_least("optimizer.tolerance_change", self.tolerance_change, 0)


@dataclass
class RandomInitConf:
    """`init=random`."""

    std: float = MISSING
    _target_: str = "nst.inits.random"
    _partial_: bool = True

    def __post_init__(self) -> None:
        _above("init.std", self.std, 0)


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


@dataclass
class LayersConf:
    """`layers=...`: tap to weight; 0 leaves a tap out."""

    content: dict[str, float] = MISSING
    style: dict[str, float] = MISSING

    def __post_init__(self) -> None:
        for term, weights in (("content", self.content), ("style", self.style)):
            for tap, weight in weights.items():
                _at_least(f"layers.{term}.{tap}", weight, 0)


@dataclass
class LossConf:
    """`loss=...`."""

    content_weight: float = MISSING
    style_weight: float = MISSING
    tv_weight: float = MISSING
    gram: Gram = MISSING
    joint: bool = MISSING

    def __post_init__(self) -> None:
        _at_least("loss.content_weight", self.content_weight, 0)
        _at_least("loss.style_weight", self.style_weight, 0)
        _at_least("loss.tv_weight", self.tv_weight, 0)


@dataclass
class ModelConf:
    """`model=...`."""

    weights: str = MISSING
    pooling: Pooling = MISSING
    seed: int = MISSING

    def __post_init__(self) -> None:
        _at_least("model.seed", self.seed, 0)


@dataclass
class BudgetConf:
    """`budget=...`; the ranges are checked by `nst.trainer.Budget`."""

    steps: int | None = MISSING
    evaluations: int | None = MISSING
    seconds: float | None = MISSING
    target_loss: float | None = MISSING


@dataclass
class OutputConf:
    """`output`: what a run leaves on the way."""

    image_every: int | None = MISSING
    checkpoint_every: int = MISSING

    def __post_init__(self) -> None:
        if self.image_every is not None:
            _at_least("output.image_every", self.image_every, 1)
        _at_least("output.checkpoint_every", self.checkpoint_every, 1)


@dataclass
class RunConf:
    """The whole config of one run; optimizer and init are open to classes of the user's."""

    content: str = MISSING
    style: str = MISSING
    size: int | None = MISSING
    resize: Resize = MISSING
    seed: int = MISSING
    device: str = MISSING
    name: str = MISSING
    force: bool = MISSING
    metric: Metric = MISSING
    optimizer: Any = MISSING
    init: Any = MISSING
    layers: LayersConf = MISSING
    loss: LossConf = MISSING
    model: ModelConf = MISSING
    budget: BudgetConf = MISSING
    output: OutputConf = MISSING

    def __post_init__(self) -> None:
        if self.size is not None:
            _at_least("size", self.size, 1)
        _at_least("seed", self.seed, 0)


def register() -> None:
    """Make the schemas known to Hydra, for the defaults lists in `conf/` to refer to."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConf)
    store.store(group="schema/optimizer", name="adam", node=AdamConf)
    store.store(group="schema/optimizer", name="lbfgs", node=LbfgsConf)
    store.store(group="schema/init", name="random", node=RandomInitConf)
    store.store(group="schema/init", name="content", node=ContentInitConf)
    store.store(group="schema/init", name="style", node=StyleInitConf)
    store.store(group="schema/init", name="image", node=ImageInitConf)


def validate(config: DictConfig) -> RunConf:
    """The composed config as typed objects, its ranges checked.

    Raises:
        nst.errors.InputError: a value missing or out of its range; the message names the key.
        omegaconf.errors.OmegaConfBaseException: a value of the wrong type.
    """
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise InputError(f"{', '.join(missing)} must be given")
    run = OmegaConf.to_object(config)
    assert isinstance(run, RunConf)  # noqa: S101 - the primary config begins with run_schema
    return run


def _above(key: str, value: float, bound: float) -> None:
    if not value > bound or math.isinf(value):
        raise InputError(f"{key} must be greater than {bound}, not {value}")


def _at_least(key: str, value: float, bound: float) -> None:
    if not value >= bound or math.isinf(value):
        raise InputError(f"{key} must be at least {bound}, not {value}")
