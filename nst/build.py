"""Config to objects: one validated config, one run, one folder of results."""

import hashlib
import json
import logging
import math
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, is_dataclass
from enum import Enum
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import nst
from nst import api, checkpoint, images, schema, tracking
from nst.checkpoint import CheckpointError
from nst.errors import InputError
from nst.files import atomic_write, hold, remove_leftovers
from nst.guard import Guard
from nst.records import Budget
from nst.rendezvous import Member
from nst.results import Result
from nst.schedules import Scale
from nst.schema import groups
from nst.vgg import Pooling

log = logging.getLogger(__name__)

_POOLINGS: dict[groups.Pooling, Pooling | None] = {
    groups.Pooling.auto: None,
    groups.Pooling.max: "max",
    groups.Pooling.avg: "avg",
}
# Groups whose options are columns of TensorBoard's table.
_HPARAM_GROUPS = "optimizer init parametrization gamut loss model schedule budget guard".split()
# Keys that name or repeat a run but change nothing in it.
_OUTSIDE = ("name", "force", "metric", "resume", "checkpoint")


def run(
    config: DictConfig,
    folder: Path,
    choices: Mapping[str, str],
    stop_requested: Callable[[], str | None],
    together: Member | None = None,
) -> Result:
    """Execute one run and leave its files in `folder`.

    Args:
        config: the composed config.
        folder: the run's folder. An unfinished run of the same config in it is gone on with; what
            another left moves to a sub-folder `previous`.
        choices: the chosen option of each config group.
        stop_requested: see `nst.trainer.Trainer`.
        together: see `nst.api.stylize`.

    Raises:
        nst.errors.InputError: an option, a picture or the weights cannot be used.
        OSError: the folder cannot be written.
    """
    options = schema.validate(config)
    stylize = partial(_prepared(options, folder, stop_requested), together=together)
    # A launcher's jobs may outlive a sweep that was killed, and the same sweep be started anew.
    with hold(folder):
        remove_leftovers(folder)
        with ExitStack() as stack:
            sinks: list[tracking.Tracker] = [
                tracking.JsonLines(folder / "losses.jsonl"),
                tracking.ImageFolder(folder / "images"),
                tracking.TensorBoard(folder, resolved_yaml(config), _hparams(config, choices)),
                tracking.Progress(bar=together is None),
            ]
            for sink in sinks:
                stack.callback(sink.close)
            stylize = partial(stylize, sinks=sinks)
            if options.resume:
                result = _go_on(folder, stylize)
            else:
                result = _go_on_or_begin(folder, stylize, again=options.force)
        about = {"Software": f"nst {nst.__version__}", "nst settings": settings_json(config)}
        target = picture(folder, config)
        images.save(result.picture, target, about)
        for other in folder.glob("result.*"):  # of before a resumption, in another format
            if other.suffix not in (target.suffix, ".json"):
                other.unlink()
        write_result(folder, config, _summary(result, options.seed, target.name))
    return result


def _go_on(folder: Path, stylize: Callable[..., Result]) -> Result:
    if record(folder).get("status") == "ok":
        raise CheckpointError(checkpoint.FINISHED.format(f"resume={folder}"))
    return stylize(resume=folder / checkpoint.NAME)


def _go_on_or_begin(folder: Path, stylize: Callable[..., Result], *, again: bool) -> Result:
    """Go on with the unfinished run of this config that the folder holds, or begin.

    What another config's run, or a finished one, left is set aside first.
    """
    path = folder / checkpoint.NAME
    if checkpoint.exists(path) and not again:
        try:
            return stylize(resume=path)
        except CheckpointError as error:
            log.info("Begins anew: %s", error)
    _set_aside(folder)
    return stylize()


def _prepared(
    options: schema.RunConf, folder: Path, stop_requested: Callable[[], str | None]
) -> Callable[..., Result]:
    """`stylize` with all that the options say; what cannot be used is found before it is called."""
    evaluations, seconds = options.checkpoint.interval()
    return partial(
        api.stylize,
        options.content,
        options.style,
        size=options.size,
        resize=options.resize.value,
        alpha=options.alpha.value,
        optimizer=_instantiate("optimizer", options.optimizer),
        init=_instantiate("init", options.init),
        parametrization=_instantiate("parametrization", options.parametrization),
        gamut=_instantiate("gamut", options.gamut),
        content_layers=options.layers.content,
        style_layers=options.layers.style,
        strength=getattr(options.loss, "strength", None),  # of loss=balanced alone
        content_weight=options.loss.content_weight,
        style_weight=options.loss.style_weight,
        tv_weight=options.loss.tv_weight,
        gram=options.loss.gram.value,
        joint=options.loss.joint,
        precision=options.precision.network.value,
        weights=options.model.weights,
        weights_seed=options.model.seed,
        pooling=_POOLINGS[options.model.pooling],
        schedule=list(map(Scale, options.schedule.scales, options.schedule.evaluations)),
        budget=Budget(**asdict(options.budget)),
        guard=Guard(**_plain(options.guard)),
        seed=options.seed,
        device=options.device,
        deterministic=options.deterministic,
        memory=options.memory.value,
        tile_size=options.tile_size,
        image_every=options.output.image_every,
        saved_as=f".{options.output.format.value}",
        checkpoint=folder / checkpoint.NAME,
        checkpoint_every=evaluations,
        checkpoint_seconds=seconds,
        stop_requested=stop_requested,
    )


def picture(folder: Path, config: DictConfig) -> Path:
    """Where a run's result is."""
    return folder / f"result.{config.output.format.value}"


def write_result(folder: Path, config: DictConfig, entries: Mapping[str, Any]) -> None:
    """Write `result.json`: what `entries` say, the config's SHA-256 and the versions."""
    whole = {**entries, "config_sha256": config_sha256(config), "versions": _versions()}
    text = json.dumps(whole, indent=2, allow_nan=False)
    atomic_write(folder / "result.json", text.encode() + b"\n")


def write_failure(folder: Path, config: DictConfig, reason: str) -> None:
    """Write the `result.json` of a run that has no result; a full disk leaves it out."""
    nothing = {"final": None, "best": None, "steps": 0, "evaluations": 0, "seconds": 0.0}
    with suppress(OSError):
        write_result(
            folder, config, {"status": "failed", "stop_reason": "error", "error": reason, **nothing}
        )


def is_done(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds the finished run of this very config."""
    left = record(folder)
    found = (left.get("status"), left.get("config_sha256"))
    return found == ("ok", config_sha256(config))


def record(folder: Path) -> dict[str, Any]:
    """What `result.json` says; empty where there is none."""
    try:
        values = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def resolved_yaml(config: DictConfig) -> str:
    """The config as YAML with all interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def settings_json(config: DictConfig) -> str:
    """The resolved config without the keys that change nothing in the run."""
    try:
        values = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # a failed run's, whose reason this is
        values = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(values, dict)  # noqa: S101 - a config is a mapping
    kept = {key: value for key, value in values.items() if key not in _OUTSIDE}
    return json.dumps(kept, sort_keys=True)


def config_sha256(config: DictConfig) -> str:
    """SHA-256 of `settings_json`."""
    return hashlib.sha256(settings_json(config).encode()).hexdigest()


def _instantiate(group: str, options: Any) -> Any:
    """The factory that a pluggable group's `_target_` names, its options bound to it.

    Raises:
        InputError: no such target, or options that it does not take.
    """
    try:
        factory = instantiate(_plain(options))
    except (InstantiationException, TypeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{group}: cannot be made from its config ({reason})") from error
    if not callable(factory):
        raise InputError(f"{group}: its config needs _target_ and _partial_: true")
    return factory


def _plain(options: Any) -> dict[str, Any]:
    """A group's options, typed or not, as a plain dictionary with enums by value."""
    typed = is_dataclass(options) and not isinstance(options, type)
    values = asdict(options) if typed else dict(options)
    return {k: v.value if isinstance(v, Enum) else v for k, v in values.items()}


def _set_aside(folder: Path) -> None:
    """Move what an earlier run left to `previous/<n>`, so that nothing is overwritten."""
    patterns = ("result.*", "losses.jsonl", "images", "checkpoint*.pt", "events.out.tfevents.*")
    old = [path for pattern in patterns for path in folder.glob(pattern)]
    if not old:
        return
    parent = folder / "previous"
    parent.mkdir(exist_ok=True)
    number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
    target = parent / str(number)
    target.mkdir()
    for path in old:
        path.rename(target / path.name)


def _summary(result: Result, seed: int, picture: str) -> dict[str, Any]:
    last = result.losses[-1] if result.losses else None
    resumed = result.start.rows
    return {
        "status": result.status,
        "stop_reason": result.stop_reason,
        "error": result.error,
        "final": asdict(last) if last else None,
        "best": asdict(result.best) if result.best else None,
        "picture": {"file": picture, **_finite(asdict(result.picture_losses))},
        "yardstick": result.yardstick and _finite(result.yardstick),
        "scales": _finite({str(side): found for side, found in result.scales.items() if found}),
        "recoveries": [asdict(one) for one in result.recoveries],
        "resumed_after": resumed[-1].evaluation if resumed else None,
        "steps": result.steps,
        "evaluations": last.evaluation if last else 0,
        "cost": last.cost if last else 0.0,
        "seconds": result.seconds,
        "evaluations_per_second": last.cost / result.seconds if last and result.seconds else None,
        "seed": seed,
        "size": list(result.start.size),
        "device": result.start.device,
        "threads": torch.get_num_threads(),
        "memory": {
            "mode": "full" if result.start.tile_size is None else "tiled",
            "tile_size": result.start.tile_size,
        },
        "weights": {
            "source": result.start.weights,
            "sha256": result.start.weights_sha256,
            "detail": result.start.weights_detail,
            "pooling": result.start.pooling,
        },
    }


def _finite(value: Any) -> Any:
    """A number, or a mapping of them, with None in place of what JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value if math.isfinite(value) else None


def _hparams(config: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
    """What tells runs apart in TensorBoard's table: the groups' choices and the single options."""
    table: dict[str, Any] = dict(choices)
    values = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(values, dict)  # noqa: S101 - a config is a mapping
    for key, value in values.items():
        if key in _HPARAM_GROUPS:
            given = {n: v for n, v in value.items() if n[0] != "_" and v is not None}
            table |= {f"{key}.{name}": _scalar(item) for name, item in given.items()}
        elif key in ("content", "style"):
            table[key] = Path(value).stem
        elif key in ("size", "resize", "seed"):
            table[key] = _scalar(value)
    return table


def _scalar(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "hydra-core", "pillow", "numpy")
    found = {package: metadata.version(package) for package in packages}
    return {"nst": nst.__version__, "python": platform.python_version(), **found}
