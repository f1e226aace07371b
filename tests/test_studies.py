"""Studies: a question and its sweep under one name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from nst.cli import app, build, resume, schema, study
from nst.cli.arguments import prepared
from nst.errors import InputError
from nst.report.scan import read_sweep
from support import TINY, Command

STUDIES = sorted(path.stem for path in (app.config_dir() / "study").glob("*.yaml"))


@pytest.fixture(autouse=True)
def hydra_config() -> Iterator[None]:
    app.register()
    with initialize_config_dir(str(app.config_dir()), version_base="1.3"):
        yield


def jobs_of(node: object, *given: str) -> list[str]:
    """The jobs of a study as text, without what the command line says of all."""
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    typed = OmegaConf.merge(OmegaConf.structured(schema.StudyConf(question="Why?")), node)
    assert isinstance(typed, DictConfig)
    return [" ".join(job) for job in study.jobs(typed, parser.parse_overrides(list(given)), parser)]


def shipped(name: str) -> DictConfig:
    found = compose("config", [f"study={name}"]).study
    assert isinstance(found, DictConfig)
    return found


OWN = {
    "sweep": {"init": "content,random", "size": "64"},
    "each": {"init=random,noisy": {"seed": "0,1"}, "init=style": {"optimizer": "adam"}},
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_value_of_every_study_is_valid(name: str) -> None:
    config = compose("config", [f"study={name}"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.study.question.endswith("?")
    jobs = jobs_of(config.study)
    assert len(jobs) == len(set(jobs)) > 1
    seen: set[str] = set()
    for job in map(str.split, jobs):
        if not seen.issuperset(job):
            seen.update(job)
            build.check(compose("config", [f"study={name}", *job], return_hydra_config=True))


def test_starts_without_noise_have_no_seeds() -> None:
    assert jobs_of(shipped("inits")) == [
        "init=content",
        "init=style",
        *(f"init=random seed={seed}" for seed in range(4)),
    ]


def test_a_key_counts_however_it_is_written() -> None:
    assert jobs_of(OWN, "++size=32", "init='random'") == [
        "init='random' ++size=32 seed=0",
        "init='random' ++size=32 seed=1",
    ]


def test_each_optimizer_has_rates_of_its_own() -> None:
    jobs = [job.split() for job in jobs_of(shipped("learning_rates"))]
    rates = {name: {rate for one, rate in jobs if one == name} for name, _ in jobs}
    assert len(rates["optimizer=adam"]) == 5
    assert len(rates["optimizer=lbfgs"]) == 4
    assert not rates["optimizer=adam"] & rates["optimizer=lbfgs"]


def test_the_sets_of_layers_grow_by_one() -> None:
    levels = shipped("tradeoff").sweep.layers.split(",")
    kept = [
        [
            tap
            for tap, weight in compose("config", [f"layers={level}"]).layers.style.items()
            if weight
        ]
        for level in levels
    ]
    taps = [f"relu{block}_1" for block in range(1, 6)]
    assert kept == [taps[: count + 1] for count in range(5)]


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        ([], ["content 64", "random 64 seed=0", "random 64 seed=1"]),
        # One value or several, of a key that all jobs have or some.
        (["init=content"], ["content 64"]),
        (["init=noisy"], ["noisy 64 seed=0", "noisy 64 seed=1"]),
        (
            ["init=style,random"],
            ["style 64 optimizer=adam", "random 64 seed=0", "random 64 seed=1"],
        ),
        (["seed=7"], ["content 64 seed=7", "random 64 seed=7"]),
        (
            ["seed=3,4"],
            [f"{init} 64 seed={seed}" for init in ("content", "random") for seed in (3, 4)],
        ),
        (["size=32,48", "init=content"], ["content 32", "content 48"]),
        (["init=style", "optimizer=lbfgs"], ["style 64 optimizer=lbfgs"]),
    ],
)
def test_the_command_line_counts_in_place_of_the_study(given: list[str], jobs: list[str]) -> None:
    found = [sorted(job.split()) for job in jobs_of(OWN, *given)]
    expected = [job.split() for job in jobs]
    assert found == [
        sorted([f"init={init}", f"size={size}", *rest]) for init, size, *rest in expected
    ]


def test_settings_of_one_option_replace_those_of_all() -> None:
    node = {
        "sweep": {"optimizer": "adam,lbfgs", "budget.evaluations": "50,60"},
        "each": {"optimizer=adam": {"budget.evaluations": "200"}},
    }
    assert jobs_of(node) == [
        "optimizer=adam budget.evaluations=200",
        "optimizer=lbfgs budget.evaluations=50",
        "optimizer=lbfgs budget.evaluations=60",
    ]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"sweep": {"hydra/launcher": "batch"}}, "hydra/launcher belongs on the command line"),
        ({"sweep": {"name": "a,b"}}, "name belongs on the command line"),
        ({"sweep": {"init": ["content", "random"]}}, "init must be as on the command line"),
        ({"each": {"optimzer=adam": {"seed": "1"}}}, r"study\.each\.optimzer=adam: must be"),
        ({"sweep": {"init": "a"}, "each": {"init": {"seed": "1"}}}, "KEY=VALUE"),
    ],
)
def test_a_study_that_cannot_be_is_refused(node: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        jobs_of(node)


def test_one_study_at_a_time() -> None:
    with pytest.raises(InputError, match="study: one at a time"):
        prepared(["study=inits,layers"])


def test_a_study_is_not_resumed_but_repeated() -> None:
    with pytest.raises(InputError, match="the same command with the same name="):
        resume.expand(["resume=outputs/a", "study=inits"])


def test_a_study_runs_goes_on_and_heads_its_report(nst_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "study").mkdir(parents=True)
    (tmp_path / "mine" / "study" / "noise.yaml").write_text(
        "question: Less & less noise?\n"
        "sweep:\n  init: content,random\n"
        "each:\n  init=random:\n    init.std: 0.5,1\n"
    )
    command = ("--config-dir", "mine", "study=noise", "hydra/launcher=batch", *TINY, "name=s")
    done = nst_command(*command, "metric=total")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "s"
    names = ["init-content", "init.std-0.5_init-random", "init.std-1_init-random"]
    assert sorted(path.parent.name for path in folder.glob("*/result.json")) == sorted(names)
    page = (folder / "report.html").read_text()
    assert "<title>Less &amp; less noise?</title>" in page
    assert '<h1 class="question">Less &amp; less noise?</h1>' in page
    assert set(read_sweep(folder).factors) == {"init", "init.std"}
    again = nst_command(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already done") == 3

    # A job that was interrupted goes on alone, with what the study had for it.
    alone = resume.expand([f"resume={folder / names[1]}"])
    assert {"init=random", "init.std=0.5", "size=32"} <= set(alone)
    assert not any(argument.startswith("study") for argument in alone)


def test_mistakes_are_one_line(nst_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "study").mkdir(parents=True)
    (tmp_path / "mine" / "study" / "bad.yaml").write_text(
        "question: Why?\nsweep:\n  optimizer.lrr: 0.1,1\n"
    )
    for arguments, reason in [
        (["study=nope"], "study=nope: there is no such option; there are bad, inits, layers"),
        (["study=inits", "hydra.mode=RUN"], "study: is a sweep, not one run"),
        (["study=inits", "size=0"], "size must be at least 1"),
        (["study=bad"], "Could not override 'optimizer.lrr'"),
    ]:
        done = nst_command("--config-dir", "mine", *arguments)
        assert done.returncode == app.BAD_INPUT
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1
        assert not list(tmp_path.rglob("result.json"))
