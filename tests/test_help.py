"""What `--help` says, of `nst` and of `nst.report`."""

from dataclasses import fields
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from nst.cli import app
from nst.cli.help import help_text
from nst.cli.schema import RunConf
from nst.report.__main__ import main as report
from support import REPOSITORY, Command

INTERNAL = {"hydra", "rounding", "schema"}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    return shown_with(app.config_dir())


def shown_with(folder: Path) -> str:
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        return help_text(folder, GlobalHydra.instance().config_loader())


def entries(text: str) -> dict[str, str]:
    """What is said of each name in the margin."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(" " * 26):
            found[name] += f" {line.strip()}"
        elif line.startswith("  ") and not line.startswith("   "):
            name, _, rest = line.strip().partition(" ")
            name = name.partition("=")[0]
            found[name] = rest.strip()
    return found


def test_every_key_and_every_group_is_there_with_a_line(shown: str) -> None:
    said = entries(shown)
    groups = {path.name for path in (REPOSITORY / "conf").iterdir() if path.is_dir()}
    keys = {name.partition(".")[0] for name in said}
    assert groups - INTERNAL <= set(said)
    assert {field.name for field in fields(RunConf)} <= keys
    assert not keys & INTERNAL - {"hydra"}
    assert [name for name, text in said.items() if not text and "GROUP" not in name] == []
    assert max(map(len, shown.splitlines())) <= 100


def test_options_are_listed_with_the_default(shown: str) -> None:
    said = entries(shown)
    for group in {path.parent for path in (REPOSITORY / "conf").glob("[!hr]*/*.yaml")}:
        options = {path.stem for path in group.glob("*.yaml")}
        listed = said[group.name].replace("*", "").replace(",", "").split()
        assert options <= set(listed)
    assert "lbfgs*, lbfgs_torch" in said["optimizer"]
    assert "batch" in said["hydra/launcher"]
    assert "  size=null " in shown
    assert said["size"].startswith("px of the side")


def test_comments_and_groups_are_read_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - fruit: apple  # what to eat\n  - _self_\n\n"
        'a: "x # y"  # first\nb:\n  c: [1, 2]  # second\n  d: ${a}\n'
    )
    for name in ("fruit/apple", "fruit/pear", "drink/tea"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").touch()
    shown = shown_with(tmp_path)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1:4] == ['a="x # y" first', "b.c=[1, 2] second", "b.d"]
    said = entries(shown)
    assert said["fruit"] == "what to eat apple*, pear"
    assert said["drink"] == "tea"


def test_command_lists_options_of_the_users_own(nst_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine/optimizer").mkdir(parents=True)
    (tmp_path / "mine/optimizer/my_rmsprop.yaml").write_text("lr: 1\n")
    done = nst_command("--help", "--config-dir", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "my_rmsprop" in entries(done.stdout)["optimizer"]
    assert "schema/" not in done.stdout
    commands = [line for line in done.stdout.splitlines()[:5] if line.startswith("  ")]
    assert len(commands) == 3
    assert "--config-dir" in done.stdout


def test_help_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        report(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m nst.report [-h] FOLDER\n")
    for name in ("report.html", "comparison.png", "losses.png", "summary.csv", "exit codes:"):
        assert name in told
    with pytest.raises(SystemExit) as end:
        report([])
    assert end.value.code == 2
