"""Config groups: every option composes, every overlay runs, mistakes are named."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import nst
from nst.cli import app, build, schema, settings
from nst.errors import InputError
from nst.run.strategy import Alone

CONF = app.config_dir()
# Of `hydra` and `rounding` other tests and options know.
GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {"rounding"})
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]


@pytest.fixture(autouse=True)
def hydra_config() -> Iterator[None]:
    app.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def config(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides))


def test_public_names() -> None:
    """Names that people's command lines rely on."""
    defaults = OmegaConf.to_container(config())
    assert isinstance(defaults, dict)
    assert {"content", "style", "size", "resize", "seed", "device", "name"} <= set(defaults)
    assert {"lr", "betas", "eps"} <= set(config("optimizer=adam").optimizer)
    lbfgs = config("optimizer=lbfgs").optimizer
    assert (lbfgs.lr, lbfgs.max_iter, lbfgs.history_size, lbfgs.line_search_fn) == (
        1,
        20,
        "auto",
        None,
    )
    assert config("optimizer=adam").optimizer.lr == 0.1
    assert config("init=random").init.std == 1
    for group, option in [("init", "style"), ("init", "image"), ("layers", "gatys")]:
        assert (group, option) in OPTIONS
    assert config().loss.strength == 0.5
    loss = config("loss=reference").loss
    assert (loss.content_weight, loss.style_weight, loss.tv_weight) == (1, 1e6, 0)
    assert set(config().budget) == {"steps", "evaluations", "seconds", "target_loss"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_is_valid(group: str, option: str) -> None:
    extra = {"image": ["init.path=x.png"], "result": ["init.folder=x"]}.get(option, [])
    options = schema.validate(config(f"{group}={option}", *extra))
    assert isinstance(options, schema.RunConf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "optimizer"),
    # `tests/test_presets.py` runs the longest, with an optimizer of its own.
    [*((one, "lbfgs") for one in EXPERIMENTS if one != "crowsonkb"), ("reference", "adam")],
)
def test_every_experiment_runs_shrunk(experiment: str, optimizer: str, tmp_path: Path) -> None:
    chosen = f"experiment={experiment}", f"optimizer={optimizer}"
    first = config(*chosen).schedule.scales[0]
    size = 96 if first < 1 else 32  # a quarter of it must do for the network
    tiny = f"size={size}", "budget.evaluations=3", "model.weights=embedded"
    shrunk = config(*chosen, *tiny)
    result = build.run(shrunk, tmp_path, {"optimizer": optimizer}, lambda: None)
    assert result.status == "ok"
    assert 3 <= result.losses[-1].cost < 4


@pytest.mark.parametrize(("optimizer", "steps"), [("adam", 900), ("lbfgs", 200)])
def test_reference_experiment_is_the_reference(optimizer: str, steps: int) -> None:
    options = schema.validate(config("experiment=reference", f"optimizer={optimizer}"))
    assert (options.size, options.resize, options.model.pooling) == (
        512,
        "stretch",
        "max",
    )
    assert vars(options.budget) == {
        "steps": steps,
        "evaluations": None,
        "seconds": None,
        "target_loss": None,
    }
    assert options.layers.content == {"relu4_2": 1}
    assert options.layers.style == {f"relu{block}_1": 1 for block in range(1, 6)}
    assert vars(options.loss) == {
        "content_weight": 1,
        "style_weight": 1e6,
        "tv_weight": 0,
        "tv_norm": "l1",
        "meant_for": None,
        "gram": "chw",
        "joint": False,
    }
    assert options.gamut._target_ == "nst.gamuts.free"
    assert options.parametrization._target_ == "nst.pixel"
    assert options.optimizer.lr == {"adam": 0.1, "lbfgs": 1}[optimizer]
    name = {"adam": "adam", "lbfgs": "lbfgs_torch"}[optimizer]
    assert options.optimizer._target_ == f"nst.{name}"


def test_reference_budget_is_undefined_for_other_optimizers(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "sgd.yaml").write_text("_target_: torch.optim.SGD\n_partial_: true\n")
    odd = config(f"hydra.searchpath=[file://{tmp_path}]", "optimizer=sgd", "budget=reference")
    with pytest.raises(
        OmegaConfBaseException, match="values for adam, lbfgs, lbfgs_torch, not for SGD"
    ):
        schema.validate(odd)


@pytest.mark.parametrize(
    "override",
    [
        "size=0",
        "seed=-1",
        "optimizer.lr=0",
        "optimizer.lr=inf",
        "optimizer.max_iter=0",
        "loss.style_weight=-1",
        "loss.strength=1.5",
        "init.share=1.5",
        "layers.style.relu1_1=-2",
        "output.image_every=0",
        "model.seed=-1",
    ],
)
def test_value_out_of_range_names_its_key(override: str) -> None:
    key = override.partition("=")[0]
    options = ["init=noisy"] if key == "init.share" else []
    with pytest.raises(InputError, match=rf"^{key} must be "):
        schema.validate(config(*options, override))


@pytest.mark.parametrize("override", ["budget.evaluations=0", "guard.attempts=0"])
def test_limit_out_of_range_is_found_before_anything_runs(override: str) -> None:
    whole = compose("config", overrides=[override], return_hydra_config=True)
    with pytest.raises(InputError, match=rf"^{override.partition('=')[0]} must be "):
        build.check(whole)


def test_key_of_another_option_is_checked_too() -> None:
    with pytest.raises(InputError, match=r"^style_loss\.directions must be "):
        schema.validate(config("style_loss=sliced_wasserstein", "style_loss.directions=0"))


def test_missing_value_is_named() -> None:
    with pytest.raises(InputError, match=r"^init\.path must be given"):
        schema.validate(config("init=image"))


def test_resolved_config_holds_no_interpolation() -> None:
    text = settings.resolved_yaml(config())
    assert "${" not in text
    assert "samples/content.jpg" in text


def test_sha256_of_the_config_ignores_the_name_and_nothing_else() -> None:
    base = settings.config_sha256(config("name=a"))
    assert settings.config_sha256(config("name=b", "force=true")) == base
    assert settings.config_sha256(config("name=a", "seed=1")) != base
    assert settings.config_sha256(config("name=a", "optimizer.lr=0.5")) != base


def test_sha256_of_the_config_is_of_the_run_that_a_folder_holds(tmp_path: Path) -> None:
    def found(folder: Path) -> str:
        return settings.config_sha256(config("init=result", f"init.folder={folder}"))

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert found(tmp_path / "a") != found(tmp_path / "b")
    for name in ("a", "b"):
        (tmp_path / name / "result.json").write_text('{"seconds": 1}')
    before = found(tmp_path / "a")
    assert before == found(tmp_path / "b")
    (tmp_path / "a" / "result.json").write_text('{"seconds": 12}')
    assert found(tmp_path / "a") != before


def test_optimizer_of_torch_plugs_in(tmp_path: Path) -> None:
    group = tmp_path / "mine" / "optimizer"
    group.mkdir(parents=True)
    (group / "rmsprop.yaml").write_text(
        "_target_: torch.optim.RMSprop\n_partial_: true\nlr: 0.02\n"
    )
    arguments = ["optimizer=rmsprop", "size=32", "budget.evaluations=2", "model.weights=embedded"]
    plugged = config(f"hydra.searchpath=[file://{tmp_path / 'mine'}]", *arguments)
    folder = tmp_path / "run"
    folder.mkdir()
    assert build.run(plugged, folder, {}, lambda: None).status == "ok"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("_target_: nst.nowhere\n_partial_: true\n", "nowhere"),
        ("lr: 1\n", "_target_ and _partial_"),
    ],
)
def test_bad_plugin_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "bad.yaml").write_text(text)
    bad = config(f"hydra.searchpath=[file://{tmp_path}]", "optimizer=bad", "model.weights=embedded")
    with pytest.raises(InputError, match=rf"^optimizer: .*{reason}"):
        build.run(bad, tmp_path, {}, lambda: None)


def test_a_choice_of_names_is_given_as_a_name_and_another_is_refused() -> None:
    options = schema.validate(config("resize=stretch", "regions.border=inside"))
    assert (options.resize, options.regions.border) == ("stretch", "inside")
    assert options.optimizer.history_precision == "fp32"
    with pytest.raises(ConfigCompositionException, match="resize=crop"):
        config("resize=crop")


@pytest.mark.parametrize(
    ("option", "made"),
    [
        ("optimizer=adam", nst.adam),
        ("optimizer=lbfgs", nst.lbfgs),
        ("optimizer=averaged", nst.averaged),
        ("init=random", nst.inits.random),
        ("init=noisy", nst.inits.noisy),
        ("parametrization=fourier", nst.fourier),
        ("style_loss=sliced_wasserstein", nst.statistics.SlicedWasserstein),
    ],
)
def test_a_default_is_the_same_in_both(option: str, made: Callable[..., object]) -> None:
    group = option.partition("=")[0]
    chosen = OmegaConf.to_container(config(option)[group], enum_to_str=True)
    signature = inspect.signature(made).parameters
    for key, value in chosen.items():
        if not key.startswith("_") and not (group == key == "optimizer"):  # that within has none
            default = signature[key].default
            assert value == (list(default) if isinstance(default, tuple) else default), key


def test_defaults_of_a_run_are_the_librarys() -> None:
    options = schema.validate(config())
    prepared, kept = build._prepared(options, Path(), lambda: None, Alone())
    given = prepared.keywords
    own = given["loss"], given["network"], given["compute"], given["guard"], given["budget"]
    usual = nst.Loss(), nst.Network(), nst.Compute(), nst.Guard(), nst.Budget(evaluations=50)
    for here, there in zip(own, usual, strict=True):
        for item in fields(here):
            if item.name not in ("strategy", "style_weight"):
                assert getattr(here, item.name) == getattr(there, item.name), item.name
    assert given["loss"].factors == nst.Loss().factors
    library = inspect.signature(nst.stylize).parameters
    for name in ("size", "resize", "alpha", "max_megapixels", "seed"):
        assert given[name] == library[name].default
    assert list(given["schedule"]) == list(library["schedule"].default)
    assert (kept.saved_as, kept.checkpoint_seconds) == (".png", nst.Keep().checkpoint_seconds)


def test_detail_is_of_each_scale() -> None:
    options = schema.validate(config("schedule=pyramid", "schedule.detail=false"))
    prepared, _ = build._prepared(options, Path(), lambda: None, Alone())
    assert [scale.detail for scale in prepared.keywords["schedule"]] == [False] * 3
