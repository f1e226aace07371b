"""Options that are one of a few names.

OmegaConf wants an enum where the library has a `Literal`: these are made of those, so that both
know the same names. `nst.cli.schema.validate` gives the names themselves.
"""

from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, get_args

from nst.network import architecture, preprocessing, vgg
from nst.objective import magnitudes, objective, variation
from nst.objective.statistics import gram
from nst.pictures import color, images, regions, timelapse
from nst.run import guard, memory

if TYPE_CHECKING:
    Alpha = images.Alpha
    Architecture = architecture.Name
    Border = regions.Border
    Meant = magnitudes.Meant
    Memory = memory.Memory
    Method = color.Method
    Norm = variation.Norm
    Normalization = gram.Normalization
    Policy = guard.Policy
    Precision = objective.Precision
    Resize = images.Resize
    Timelapse = timelapse.Format
    Format = str
    HistoryPrecision = Literal["fp32", "bf16"]
    InputOrAuto = Literal["auto"] | preprocessing.Convention
    LineSearch = Literal["strong_wolfe"]
    Metric = Literal["balance", "total"]
    Padding = vgg.Padding
    PoolingOrAuto = Literal["auto"] | vgg.Pooling
else:

    def _one_of(name: str, values: tuple[str, ...]) -> type[Enum]:
        return Enum(name, {value: value for value in values})

    Alpha = _one_of("Alpha", get_args(images.Alpha))
    Architecture = _one_of("Architecture", get_args(architecture.Name))
    Border = _one_of("Border", get_args(regions.Border))
    Format = _one_of("Format", tuple(suffix.removeprefix(".") for suffix in images.WRITTEN))
    HistoryPrecision = _one_of("HistoryPrecision", ("fp32", "bf16"))
    InputOrAuto = _one_of("Input", ("auto", *get_args(preprocessing.Convention)))
    LineSearch = _one_of("LineSearch", ("strong_wolfe",))
    Meant = _one_of("Meant", get_args(magnitudes.Meant))
    Memory = _one_of("Memory", get_args(memory.Memory))
    Method = _one_of("Method", get_args(color.Method))
    Metric = _one_of("Metric", ("balance", "total"))
    Norm = _one_of("Norm", get_args(variation.Norm))
    Normalization = _one_of("Normalization", get_args(gram.Normalization))
    Policy = _one_of("Policy", get_args(guard.Policy))
    Padding = _one_of("Padding", get_args(vgg.Padding))
    PoolingOrAuto = _one_of("Pooling", ("auto", *get_args(vgg.Pooling)))
    Precision = _one_of("Precision", get_args(objective.Precision))
    Resize = _one_of("Resize", get_args(images.Resize))
    Timelapse = _one_of("Timelapse", get_args(timelapse.Format))


def names(value: Any) -> Any:
    """A value, or a mapping or list of them, with its names in place of enum members."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: names(item) for key, item in value.items()}
    return [names(item) for item in value] if isinstance(value, list) else value
