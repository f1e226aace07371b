"""Config to objects: one validated config, one run, one folder of results."""

import inspect
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

import nst
from nst import api
from nst.cli import record, schema
from nst.cli.schema.groups import GradientsLossConf
from nst.cli.settings import OUTSIDE, config_sha256, resolved_yaml, settings_json
from nst.cli.wording import shortened
from nst.errors import InputError
from nst.files import hold
from nst.objective.statistics import Statistic
from nst.optim import optimizers
from nst.optim.colors import Color
from nst.optim.optimizers import OptimizerFactory
from nst.optim.schedules import Scale
from nst.pictures import images, timelapse
from nst.pictures.regions import Regions
from nst.run import checkpoint, tracking
from nst.run.checkpoint import CheckpointError
from nst.run.folder import Folder
from nst.run.guard import Guard
from nst.run.records import Budget
from nst.run.results import Result, Start
from nst.run.specs import Compute, Keep, Loss, Network
from nst.run.strategy import Alone, Strategy

log = logging.getLogger(__name__)

# What ends a job from outside, by a system that soon kills it.
_HURRIED = ("SIGTERM", "SIGUSR1")

# Groups whose options are columns of TensorBoard's table.
_HPARAM_GROUPS = (
    "optimizer init parametrization gamut color regions loss style_loss content_loss model "
    "schedule budget guard"
).split()
# Names of a run's files besides its picture and TensorBoard's.
_FILES = (
    "result.json",
    "losses.jsonl",
    checkpoint.NAME,
    checkpoint.previous(Path(checkpoint.NAME)).name,
)
# Of those in `images/`, without the suffix.
_IMAGE = re.compile(r"content|style(_\d+)?|regions|\d{6,}")
# Groups whose classes make an object of a kind, rather than a function.
_OBJECTS: dict[str, tuple[Any, str]] = {
    "content_loss": (Statistic, "statistic, see nst.statistics"),
    "style_loss": (Statistic, "statistic, see nst.statistics"),
    "color": (Color, "nst.colors.Color"),
}


def run(
    config: DictConfig,
    folder: Path,
    choices: Mapping[str, str],
    stop_requested: Callable[[], str | None],
    strategy: Strategy | None = None,
    asked: Mapping[str, str] = MappingProxyType({}),
    overrides: Sequence[str] = (),
) -> Result:
    """Execute one run and leave its files in `folder`.

    Args:
        config: the composed config.
        folder: the run's folder. An unfinished run of the same config in it is gone on with; what
            another left moves to a sub-folder `previous` when this one begins.
        choices: the chosen option of each config group.
        stop_requested: see `nst.run.trainer.Trainer`.
        strategy: see `nst.run.specs.Compute`.
        asked: see `nst.run.folder.Folder.remember`.
        overrides: of the command line, `key=value`.

    Raises:
        nst.errors.InputError: an option, a picture or the weights cannot be used, or the folder
            holds files of the same names that are not nst's.
        OSError: the folder cannot be written.
    """
    options = schema.validate(config)
    strategy = strategy or Alone()
    stylize, keep = _prepared(options, folder, stop_requested, strategy)
    sha256 = config_sha256(config)  # of the files as they are now, not when the run is done
    # A launcher's jobs may outlive a sweep that was killed, and the same sweep be started anew.
    with hold(folder):
        own = Folder(folder)
        own.remove_leftovers()
        target, film = picture(folder, config), timelapse_of(folder, config)
        made = [target, film] if film else [target]
        files = [*made, *(folder / name for name in _FILES)]
        images_there = (folder / "images").glob("*.png")
        for path in (*files, *(p for p in images_there if _IMAGE.fullmatch(p.stem))):
            own.check(path)
        with ExitStack() as stack:
            pictures = tracking.ImageFolder(folder / "images", own.claim)
            sinks: list[tracking.Tracker] = [
                tracking.JsonLines(folder / "losses.jsonl"),
                pictures,
                tracking.TensorBoard(
                    folder, resolved_yaml(config), _hparams(config, choices, overrides), own.note
                ),
                tracking.Progress(bar=strategy.alone),
            ]
            for sink in sinks:
                stack.enter_context(sink)
            kept = replace(keep, sinks=[_Claims(own, files), *sinks])
            begun = replace(keep, sinks=[_Claims(own, files, asked), *sinks])

            def goes_on(resume: Path) -> Result:
                return stylize(keep=replace(kept, resume=resume))

            begins = partial(stylize, keep=begun)
            if options.resume:
                result = _go_on(folder, goes_on)
            else:
                result = _go_on_or_begin(folder, goes_on, begins, again=options.force)
        about = {"Software": f"nst {nst.__version__}", "nst settings": settings_json(config)}
        results = (folder / f"result{suffix}" for suffix in images.WRITTEN)
        films = (timelapse.path_of(folder, kind) for kind in get_args(timelapse.Format))
        for other in (*results, *films):  # of before a resumption, perhaps in another format
            own.give_way(other)
            if other not in made and own.owns(other):
                other.unlink(missing_ok=True)
                own.forget(other)
        images.save(result.picture, target, about)
        own.seal(target)
        summary = record.summary(result, options.seed, target.name)
        record.write(folder, sha256, summary)
        # The run is whole without it; and what ends a job from outside does not wait long.
        if film and result.stop_reason not in _HURRIED:
            try:
                timelapse.save(pictures.intermediate, result.picture, film)
            except (InputError, OSError, ValueError) as error:
                log.warning("No timelapse: %s", error)
            else:
                own.seal(film)
                record.write(folder, sha256, {**summary, "timelapse": film.name})
    return result


class _Claims(tracking.Tracker):
    """Claims a run's files when it begins or goes on, and no earlier.

    Args:
        folder: the run's.
        files: those with names that are known beforehand.
        asked: of a run that begins, which sets aside what another left; None of one that goes on.
    """

    def __init__(
        self, folder: Folder, files: Sequence[Path], asked: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._files = files
        self._asked = asked

    def on_start(self, start: Start) -> None:
        """Set aside, remember, claim."""
        if self._asked is not None:
            self._folder.set_aside()
            self._folder.remember(self._asked)
        for path in self._files:
            self._folder.claim(path)


def _go_on(folder: Path, goes_on: Callable[..., Result]) -> Result:
    if record.read(folder).get("status") == "ok":
        raise CheckpointError(checkpoint.FINISHED.format(f"resume={folder}"))
    return goes_on(resume=folder / checkpoint.NAME)


def _go_on_or_begin(
    folder: Path, goes_on: Callable[..., Result], begins: Callable[[], Result], *, again: bool
) -> Result:
    """Go on with the unfinished run of this config that the folder holds, or begin."""
    path = folder / checkpoint.NAME
    finished = record.read(folder).get("status") == "ok"
    if checkpoint.exists(path) and not finished and not again:
        try:
            return goes_on(resume=path)
        except CheckpointError as error:
            log.info("Begins anew: %s", error)
    return begins()


def _prepared(
    options: schema.RunConf,
    folder: Path,
    stop_requested: Callable[[], str | None],
    strategy: Strategy,
) -> tuple[Callable[..., Result], Keep]:
    """`stylize` with every argument but `keep`, and the `Keep`.

    What cannot be used is found before it is called.
    """
    evaluations, seconds = options.checkpoint.interval()
    loss, model = options.loss, options.model
    return partial(
        api.stylize,
        options.content,
        options.style,
        style_weights=options.style_weights,
        style_scale=options.style_scale,
        style_size=options.style_size,
        regions=Regions(**vars(options.regions)),
        color=_instantiate("color", options.color),
        size=options.size,
        resize=options.resize,
        alpha=options.alpha,
        max_megapixels=options.max_megapixels,
        loss=Loss(
            strength=getattr(loss, "strength", None),  # of loss=balanced alone
            gradients=isinstance(loss, GradientsLossConf),
            content_weight=loss.content_weight,
            style_weight=loss.style_weight,
            tv_weight=loss.tv_weight,
            tv_norm=loss.tv_norm,
            content_layers=options.layers.content,
            style_layers=options.layers.style,
            content_loss=_instantiate("content_loss", options.content_loss),
            style_loss=_instantiate("style_loss", options.style_loss),
            meant_for=getattr(loss, "meant_for", None),  # of plain weights alone
            joint=loss.joint,
        ),
        network=Network(
            weights=model.weights,
            seed=model.seed,
            architecture=model.architecture,
            input=model.input,
            pooling=None if model.pooling == "auto" else model.pooling,
            pooling_scale=model.pooling_scale,
            padding=model.padding,
        ),
        init=_instantiate("init", options.init),
        parametrization=_instantiate("parametrization", options.parametrization),
        gamut=_instantiate("gamut", options.gamut),
        optimizer=_instantiate("optimizer", options.optimizer),
        schedule=list(
            map(
                partial(Scale, detail=options.schedule.detail),
                options.schedule.scales,
                options.schedule.evaluations,
            )
        ),
        budget=Budget(**asdict(options.budget)),
        guard=Guard(**_plain(options.guard)),
        seed=options.seed,
        compute=Compute(
            device=options.device,
            precision=options.precision.network,
            deterministic=options.deterministic,
            memory=options.memory,
            tile_size=options.tile_size,
            strategy=strategy,
        ),
        stop_requested=stop_requested,
    ), Keep(
        image_every=options.output.image_every,
        saved_as=f".{options.output.format}",
        checkpoint=folder / checkpoint.NAME,
        checkpoint_every=evaluations,
        checkpoint_seconds=seconds,
    )


def picture(folder: Path, config: DictConfig) -> Path:
    """Where a run's result is."""
    return folder / f"result.{config.output.format.value}"


def timelapse_of(folder: Path, config: DictConfig) -> Path | None:
    """Where a run's film is; None where none is wanted."""
    kind = config.output.timelapse
    return timelapse.path_of(folder, kind.value) if kind else None


def check(config: DictConfig) -> None:
    """Check what can be checked of a config, Hydra's own in it, before a run or a sweep starts.

    Raises:
        InputError: a value out of its range, a key that nothing reads, something pluggable that
            cannot be made, a picture that is not there, or jobs that want a working directory of
            their own.
    """
    schema.check_known(config)
    if config.hydra.job.chdir:
        raise InputError("hydra.job.chdir: paths are meant from where the command is typed")
    own = config.copy()
    with open_dict(own):
        del own["hydra"]
    options = schema.validate(own)
    _prepared(options, Path(), lambda: None, Alone())
    styles = [options.style] if isinstance(options.style, str) else options.style
    for name in (options.content, *styles):
        if not os.path.exists(name):  # pathlib's raises where the name is too long
            raise InputError(f"{shortened(name)}: no such file")


def _instantiate(group: str, options: Any) -> Any:
    """What a pluggable group's `_target_` names: an object, or a factory with its options.

    Raises:
        InputError: no such target, options that it does not take, or something of another kind.
    """
    target = _plain(options).get("_target_")
    try:
        # Lists as such: a checkpoint keeps an optimizer's options, and knows none of OmegaConf's.
        made = instantiate(_plain(options), _convert_="all")
    except (InstantiationException, TypeError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{group}: cannot be made from its config ({reason})") from error
    if group in _OBJECTS:
        kind, name = _OBJECTS[group]
        if not isinstance(made, kind):
            raise InputError(f"{group}: {target} is no {name}")
        return made
    if not callable(made):
        raise InputError(f"{group}: its config needs _target_ and _partial_: true")
    try:
        # To an optimizer the values of its options may matter, not their names alone.
        (_check_optimizer if group == "optimizer" else _check_call)(made)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{group}: {target} does not take its options ({reason})") from error
    return made


def _check_optimizer(factory: OptimizerFactory) -> None:
    """Make an optimizer of a few pixels and a step with it, in which schedules first compute."""
    pixels = torch.ones(1, 3, 2, 2, requires_grad=True)

    def closure() -> torch.Tensor:
        pixels.grad = None
        loss = pixels.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizers.made(factory, [pixels], "optimizer").step(closure)  # type: ignore[arg-type]


def _check_call(factory: Callable[..., Any]) -> None:
    """Check that a factory can be called with one thing more than what is bound to it."""
    called = factory.func if isinstance(factory, partial) else factory
    try:
        signature = inspect.signature(called)
    except ValueError:
        return  # of a built-in that does not tell
    if isinstance(factory, partial):
        signature.bind(*factory.args, None, **factory.keywords)
    else:
        signature.bind(None)


def _plain(options: Any) -> dict[str, Any]:
    """A group's options, typed or not, as a plain dictionary."""
    typed = is_dataclass(options) and not isinstance(options, type)
    return asdict(options) if typed else dict(options)


def _hparams(
    config: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]
) -> Callable[[Start], dict[str, Any]]:
    """What tells runs apart in TensorBoard's table: choices, single options, all that was swept."""
    table: dict[str, Any] = {group: option for group, option in choices.items() if group in config}
    values = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(values, dict)  # noqa: S101 - a config is a mapping
    for key, value in values.items():
        if key in _HPARAM_GROUPS:
            given = {n: v for n, v in value.items() if n[0] != "_" and v is not None}
            table |= {f"{key}.{name}": _scalar(item) for name, item in given.items()}
        elif key in ("content", "style"):
            pictures = [value] if isinstance(value, str) else value
            table[key] = ", ".join(Path(one).stem for one in pictures)
        elif key in ("resize", "seed"):
            table[key] = _scalar(value)
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        found: Any = values
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None and not isinstance(found, dict) and key not in OUTSIDE:
            table.setdefault(key, _scalar(found))
    # Also where the config leaves it to the device.
    resize = config.resize.value
    return lambda start: {**table, "size": images.size_of(*start.size[::-1], resize)}


def _scalar(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
