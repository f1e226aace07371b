"""The benchmarks: what they say of their runs is so, and each can be run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from benchmarks import common, race, speed, sweeps
from nst.cli import schema
from nst.network.weights import resolve
from nst.pictures import images
from reference_loop import TextbookLoop
from support import composed


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What bench.py writes with some arguments."""

    def run(arguments: str) -> dict[str, Any]:
        path = tmp_path / "report.json"
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments.split(), "--json", str(path)])
        bench.main()
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    return run


@pytest.mark.slow
def test_race(
    measured: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "--size --race 96 --evaluations 20 --init content --precision fp32 --goal picture"
    (report,) = measured(line)["race"]
    goal, rows = report["goals"]["picture"], {row["name"]: row for row in report["rows"]}
    content, style = (images.to_tensor(images.load(path), 96) for path in race.SAMPLES)
    weights = resolve("embedded")
    loop = TextbookLoop(common.state_dict(weights), content, style, content, "lbfgs")
    loop.step()
    assert report["goals"]["tensor"] == pytest.approx(min(row[2] for row in loop.rows), rel=0.01)
    picture = images.to_tensor(images.to_picture(loop.image.detach()), content.shape[2:])
    of_picture = common.objective(weights, content, style)(picture).total
    assert goal == pytest.approx(of_picture.item(), rel=0.01)

    assert list(rows) == [f"{name}, fp32" for name in race.SETTINGS]
    for row in rows.values():
        (seconds, evaluations), lowest = row["reached"]["picture"], row["lowest"]["picture"]
        assert lowest <= goal
        assert 0 < seconds
        assert evaluations <= 20
    # What evaluations of a quarter cost, in those of the full size.
    assert rows["Fourier, pyramid, fp32"]["reached"]["picture"][1] % 1 == pytest.approx(0.25)
    printed = capsys.readouterr().out
    assert f"of its picture {goal:.4g}" in printed
    assert all(name in printed for name in rows)


def test_a_setting_that_does_not_arrive_says_so() -> None:
    row = {"name": "pixels, bf16", "reached": {}, "lowest": {"picture": 12.5}}
    assert race.line(row, 100.0).split() == ["pixels,", "bf16", "-", "-", "-", "12.5"]
    row["reached"] = {"picture": (5.0, 12.25)}
    assert race.line(row, 100.0).split() == ["pixels,", "bf16", "5.0", "12.25", "20.0", "12.5"]


@pytest.mark.slow
def test_speed(measured: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEAT_SECONDS", 0.01)
    monkeypatch.setattr(speed, "PRODUCT_SIDE", 64)
    (report,) = measured("--size 32 --repeats 2")["speed"]
    assert (report["size"], report["repeats"]) == (32, 2)
    seconds = report["seconds"]
    assert {*speed.ASIDE, speed.NST, speed.FLOOR, speed.TEXTBOOK + speed.PLUS} <= seconds.keys()
    assert all(len(each) == 2 and min(each) > 0 for each in seconds.values())
    for first, second in zip(seconds[speed.NST], seconds[speed.NST_LBFGS], strict=True):
        assert first + second in seconds[speed.NST + speed.PLUS]


@pytest.mark.slow
def test_sweeps(
    measured: Callable[[str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sweeps, "EVALUATIONS", 2)
    (found,) = measured("--size --sweeps 32 --precision fp32 --launchers batch")["sweeps"]
    assert (found["sweep"], found["launcher"], found["size"]) == ("eight", "batch", 32)
    assert (found["jobs"], found["evaluations"]) == (8, 16)
    assert 0 < found["optimisation"]
    assert 0 < found["seconds"]
    assert f"batch     {found['seconds']:>9.1f}" in capsys.readouterr().out


def test_every_sweep_is_one_that_nst_takes() -> None:
    for _, size, overrides in sweeps.commands([64], [32]):
        first = [override.partition(",")[0] for override in overrides]
        assert schema.validate(composed(*first)).size == size


def test_a_launcher_that_is_not_installed_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweeps, "_is_installed", lambda distribution: False)
    assert sweeps.measure([64], [], ["fp32"], ["joblib"], "cpu") == []
    assert "joblib: hydra-joblib-launcher is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--size 0", "0: must be at least 16"),
        ("--size --race 64", "64: must be at least 96"),
        ("--size --race 96 --evaluations 0", "0: must be at least 1"),
        ("--repeats 0", "0: must be at least 1"),
        ("--size --memory 0", "0: must be at least 64"),
        ("--size --race x", "invalid number value: 'x'"),
        ("--size", "--size without a side needs --race, --sweeps, --reference or --memory"),
        ("--json /nowhere/x.json", "--json: /nowhere is not there"),
        ("--size --race 96 --weights nowhere.pth", "nowhere.pth"),
        ("--size --race 96 --precision fp8", "invalid choice: 'fp8'"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_one_line(
    arguments: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
