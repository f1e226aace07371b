"""The benchmark's race: what it says of its runs is so."""

import json
import sys
from pathlib import Path

import pytest

import bench
from benchmarks import common, race
from nst.network.weights import resolve
from nst.pictures import images
from reference_loop import TextbookLoop


@pytest.mark.slow
def test_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    line = "--size --race 96 --evaluations 40 --init content --precision fp32 --goal picture"
    monkeypatch.setattr(sys, "argv", ["bench.py", *line.split(), "--json", str(path)])
    bench.main()
    (report,) = json.loads(path.read_text())["race"]
    goal, rows = report["goals"]["picture"], {row["name"]: row for row in report["rows"]}
    content, style = (images.to_tensor(images.load(path), 96) for path in race.SAMPLES)
    weights = resolve("embedded")
    loop = TextbookLoop(common.state_dict(weights), content, style, content, "lbfgs")
    while len(loop.rows) < 40:
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
        assert evaluations <= 40
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


def test_what_is_too_small_is_refused_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "bench.py --size --race 60 --evaluations 1 --init content --precision fp32"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "too small" in capsys.readouterr().err.splitlines()[-1]
