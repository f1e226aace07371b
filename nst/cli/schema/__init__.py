"""Every option's type and range.

The YAML files in `conf/` hold the values; these classes hold the types. Hydra checks a composed
config against them before anything runs (before the first job of a sweep), and `validate` turns it
into these very objects and checks the ranges.
"""

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nst.cli.schema.choices import Alpha, Memory, Metric, Resize, names
from nst.cli.schema.groups import (
    AdamConf,
    AveragedConf,
    BalancedLossConf,
    BudgetConf,
    CheckpointConf,
    ClipGamutConf,
    ContentInitConf,
    FourierConf,
    FreeGamutConf,
    GradientsLossConf,
    GramConf,
    GrayInitConf,
    GuardConf,
    ImageInitConf,
    KeylessConf,
    LayersConf,
    LbfgsConf,
    LossConf,
    MatchColorConf,
    ModelConf,
    NoisyInitConf,
    OutputConf,
    PixelConf,
    PlainLossConf,
    PrecisionConf,
    RandomInitConf,
    RegionsConf,
    ResultInitConf,
    ScheduleConf,
    ScheduledConf,
    SlicedWassersteinConf,
    SrgbGamutConf,
    StudyConf,
    StyleInitConf,
    StyleStatsInitConf,
    WassersteinConf,
)
from nst.cli.schema.ranges import above, at_least, not_blank, pictures
from nst.errors import InputError
from nst.pictures.images import LARGEST_SIDE
from nst.pictures.inputs import numbers_of_styles


@dataclass
class RunConf:
    """The whole config of one run; groups of type Any are open to classes of the user's."""

    content: str = MISSING
    style: Any = MISSING
    style_weights: Any = MISSING
    style_scale: Any = MISSING
    style_size: Any = MISSING
    regions: RegionsConf = MISSING
    size: int | None = MISSING
    resize: Resize = MISSING
    alpha: Alpha = MISSING
    max_megapixels: float | None = MISSING
    seed: int = MISSING
    device: str = MISSING
    deterministic: bool = MISSING
    memory: Memory = MISSING
    tile_size: int | None = MISSING
    resume: str | None = MISSING
    name: str = MISSING
    force: bool = MISSING
    metric: Metric = MISSING
    optimizer: Any = MISSING
    init: Any = MISSING
    parametrization: Any = MISSING
    gamut: Any = MISSING
    color: Any = MISSING
    precision: PrecisionConf = MISSING
    layers: LayersConf = MISSING
    loss: LossConf = MISSING
    content_loss: Any = MISSING
    style_loss: Any = MISSING
    model: ModelConf = MISSING
    schedule: ScheduleConf = MISSING
    budget: BudgetConf = MISSING
    guard: GuardConf = MISSING
    output: OutputConf = MISSING
    checkpoint: CheckpointConf = MISSING
    study: StudyConf | None = None

    def __post_init__(self) -> None:
        at_least("size", self.size, 1)
        if self.size is not None and self.size > LARGEST_SIDE:
            raise InputError(f"size must be at most {LARGEST_SIDE}, not {self.size}")
        above("max_megapixels", self.max_megapixels, 0)
        pictures("style", self.style)
        styles = len(self.style) if isinstance(self.style, list) else 1
        for key in ("style_weights", "style_scale", "style_size"):
            value = getattr(self, key)
            if value is not None:
                shared = key != "style_weights" and not isinstance(value, list)
                given = [value] * styles if shared else value
                for number in numbers_of_styles(key, given, styles):
                    at_least(key, number, 0)
        for key in ("content", "name", "resume", "device"):
            not_blank(key, getattr(self, key))
        if ".." in Path(self.name).parts:
            raise InputError(
                f"name must not contain .., which leaves outputs, not {self.name} "
                "(hydra.run.dir=PATH puts a run elsewhere, hydra.sweep.dir=PATH a sweep)"
            )
        at_least("tile_size", self.tile_size, 64)
        at_least("seed", self.seed, 0)


def register() -> None:
    """Make the schemas known to Hydra, for the defaults lists in `conf/` to refer to."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConf)
    store.store(group="schema/optimizer", name="adam", node=AdamConf)
    store.store(group="schema/optimizer", name="lbfgs", node=LbfgsConf)
    store.store(group="schema/optimizer", name="averaged", node=AveragedConf)
    store.store(group="schema/optimizer", name="scheduled", node=ScheduledConf)
    store.store(group="schema/init", name="random", node=RandomInitConf)
    store.store(group="schema/init", name="noisy", node=NoisyInitConf)
    store.store(group="schema/init", name="style_stats", node=StyleStatsInitConf)
    store.store(group="schema/init", name="gray", node=GrayInitConf)
    store.store(group="schema/init", name="content", node=ContentInitConf)
    store.store(group="schema/init", name="style", node=StyleInitConf)
    store.store(group="schema/init", name="image", node=ImageInitConf)
    store.store(group="schema/init", name="result", node=ResultInitConf)
    store.store(group="schema/parametrization", name="pixel", node=PixelConf)
    store.store(group="schema/parametrization", name="fourier", node=FourierConf)
    store.store(group="schema/loss", name="balanced", node=BalancedLossConf)
    store.store(group="schema/loss", name="plain", node=PlainLossConf)
    store.store(group="schema/loss", name="gradients", node=GradientsLossConf)
    store.store(group="schema", name="keyless", node=KeylessConf)
    store.store(group="schema/color", name="match", node=MatchColorConf)
    store.store(group="schema/style_loss", name="gram", node=GramConf)
    store.store(group="schema/style_loss", name="wasserstein", node=WassersteinConf)
    store.store(group="schema/style_loss", name="sliced_wasserstein", node=SlicedWassersteinConf)
    store.store(group="schema/gamut", name="srgb", node=SrgbGamutConf)
    store.store(group="schema/gamut", name="clip", node=ClipGamutConf)
    store.store(group="schema/gamut", name="free", node=FreeGamutConf)


# Hydra's own node in the config, and one of its groups that its types leave out.
_UNTYPED = ("hydra", "hydra.env")


def check_known(config: DictConfig, within: str = "") -> None:
    """Check that no key was added (`+key=...`) which a typed node does not have.

    Args:
        config: with nodes of the types above, or of Hydra's.
        within: the config's own key.

    Raises:
        nst.errors.InputError: nothing reads a key; the message names it.
    """
    kind: Any = OmegaConf.get_type(config)
    typed = is_dataclass(kind)
    known = [field.name for field in fields(kind)] if typed else []
    for name in map(str, config):
        key = f"{within}.{name}" if within else name
        if typed and name not in known and key not in _UNTYPED:
            names = ", ".join(one for one in known if one[0] != "_") or "none"
            raise InputError(f"{key}: nothing reads this key; those beside it are: {names}")
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()):
            check_known(node, key)


def validate(config: DictConfig) -> RunConf:
    """The composed config as typed objects, its ranges checked.

    Raises:
        nst.errors.InputError: a value missing or out of its range, a key that nothing reads; the
            message names the key.
        omegaconf.errors.OmegaConfBaseException: a value of the wrong type.
    """
    check_known(config)
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise InputError(f"{', '.join(missing)} must be given")
    run = OmegaConf.to_object(config)
    assert isinstance(run, RunConf)  # noqa: S101 - the primary config begins with run_schema
    _use_names(run)
    return run


def _use_names(node: Any) -> None:
    """Put names in place of the enum members of a typed node and of those below it."""
    for field in fields(node):
        value = getattr(node, field.name)
        if is_dataclass(value):
            _use_names(value)
        else:
            setattr(node, field.name, names(value))
