"""Films: what they show and for how long, in each format; of interrupted and resumed runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst.cli import build, schema
from nst.errors import InputError
from nst.pictures import timelapse
from nst.pictures.images import ImageError
from nst.run.folder import Folder
from support import TINY, Command, composed

Film = tuple[list[np.ndarray], list[float]]


def film(path: Path) -> Film:
    """Frames as a player shows them, H x W x 3, and for how many seconds."""
    if path.suffix != ".mp4":
        with Image.open(path) as opened:
            assert opened.n_frames == 1 or opened.info["loop"] == 0
            frames, seconds = [], []
            for number in range(opened.n_frames):
                opened.seek(number)
                frames.append(np.asarray(opened.convert("RGB")).astype(float))
                seconds.append(opened.info.get("duration", 0) / 1000)
        return frames, seconds
    av = pytest.importorskip("av")
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        decoded = [frame.to_ndarray(format="rgb24") for frame in opened.decode(stream)]
        assert stream.average_rate == 20
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")  # the index in front
    frames, seconds = [], []
    for frame in np.stack(decoded).astype(float):
        if frames and np.abs(frame - frames[-1]).max() < 10:
            seconds[-1] += 1 / 20
        else:
            frames.append(frame)
            seconds.append(1 / 20)
    return frames, seconds


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Grey, 30 levels brighter, then 30 darker with half the sides; the result is white."""
    found = []
    for name, level, size in (("1", 60, (33, 24)), ("2", 90, (33, 24)), ("3", 30, (16, 12))):
        found.append(tmp_path / f"{name}.png")
        Image.new("RGB", size, (level,) * 3).save(found[-1])
    return found


@pytest.mark.parametrize("kind", ["webp", "gif", "mp4"])
def test_film_shows_the_images_and_then_the_result(
    pictures: list[Path], tmp_path: Path, kind: timelapse.Format
) -> None:
    path = timelapse.path_of(tmp_path, kind)
    result = Image.new("RGBA", (33, 24), (0, 0, 0, 0))  # transparent, which is shown on white
    timelapse.save(pictures, result, path)
    frames, seconds = film(path)
    width = 32 if kind == "mp4" else 33
    assert [frame.shape for frame in frames] == [(24, width, 3)] * 4
    for frame, level in zip(frames, (60, 90, 30, 255), strict=True):
        assert frame.mean() == pytest.approx(level, abs=3)
    # Three quarters of a second by the square roots of 30, 60 and 225; half a second more at first.
    assert seconds == pytest.approx([0.65, 0.2, 0.4, 2.0])
    again = tmp_path / f"again.{kind}"
    timelapse.save(pictures, result, again)
    assert again.read_bytes() == path.read_bytes()


def test_time_goes_by_how_much_the_picture_changes() -> None:
    assert timelapse._ticks([16.0, 1.0]) == [10 + 8, 2]
    assert timelapse._ticks([0.0, 0.0]) == [10 + 5, 5]
    assert timelapse._ticks([]) == []
    # A long run: no longer than five seconds, and late images are left out evenly.
    ticks = timelapse._ticks([1 / number for number in range(1, 1001)])
    assert sum(ticks) == 10 + 100
    shown = np.flatnonzero(ticks)
    assert max(ticks[1:]) <= 2 < ticks[0]
    assert 5 < np.diff(shown)[-20:].min()


@pytest.mark.parametrize("kind", ["webp", "gif", "mp4"])
def test_film_of_a_result_alone_and_of_a_single_pixel(
    tmp_path: Path, kind: timelapse.Format
) -> None:
    path = timelapse.path_of(tmp_path, kind)
    timelapse.save([], Image.new("RGB", (1, 1), "white"), path)
    assert film(path)[0][0].shape == ((2, 2, 3) if kind == "mp4" else (1, 1, 3))


def test_large_pictures_make_a_film_that_can_be_played(
    pictures: list[Path], tmp_path: Path
) -> None:
    timelapse.save(pictures, Image.new("RGB", (2048, 64)), tmp_path / "a.webp")
    assert film(tmp_path / "a.webp")[0][0].shape == (32, 1024, 3)


@pytest.mark.parametrize("kind", ["webp", "gif", "mp4"])
def test_film_is_written_whole_or_not_at_all(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: timelapse.Format
) -> None:
    path = timelapse.path_of(tmp_path, kind)
    path.write_bytes(b"before")

    def changes(*_: object) -> list[float]:
        pictures[-1].write_bytes(b"damaged meanwhile")
        return [1.0] * 3

    monkeypatch.setattr(timelapse, "_changes", changes)
    with pytest.raises(ImageError, match=r"3\.png: not a picture"):
        timelapse.save(pictures, Image.new("RGB", (33, 24)), path)
    assert path.read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))


def stop_at(evaluation: int) -> Callable[[], str | None]:
    asked = iter(range(1, 1000))
    return lambda: "SIGINT" if next(asked) >= evaluation else None


def test_film_of_a_resumed_run_is_of_all_images(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = tmp_path / "run"
    # A GPU hears of a stop after the step, and its checkpoint then has the step in it.
    small = (*TINY, "optimizer=adam", "output.image_every=1", "device=cpu")
    config = composed(*small, "budget.evaluations=9", "output.timelapse=gif")
    build.run(config, run, {}, stop_at(4))
    record = json.loads((run / "result.json").read_text())
    assert (record["status"], record["timelapse"]) == ("interrupted", "timelapse.gif")
    half = film(run / "timelapse.gif")[0]
    assert Folder(run).owns(run / "timelapse.gif")
    # Of after the checkpoint: the run may go another way now.
    Folder(run).claim(run / "images" / "000007.png")
    Image.new("RGB", (32, 24), "red").save(run / "images" / "000007.png")
    resumed = composed(
        *small,
        "budget.evaluations=9",
        "output.timelapse=webp",
        "output.image_every=2",
        f"resume={run}",
    )
    build.run(resumed, run, {}, lambda: None)
    record = json.loads((run / "result.json").read_text())
    assert (record["status"], record["resumed_after"]) == ("ok", 3)
    assert record["timelapse"] == "timelapse.webp"
    assert not (run / "timelapse.gif").exists()
    assert not Folder(run).owns(run / "timelapse.gif")
    frames = film(run / "timelapse.webp")[0]
    # Before: 1 to 3. After: 4, 6, 8, and 9, the last, which is the result too.
    assert len(half) == 4
    assert len(frames) == 7
    assert not any(frame[..., 1].mean() < 10 for frame in frames)
    assert np.abs(frames[-1] - np.asarray(Image.open(run / "result.png"))).mean() < 20


def test_film_of_a_failed_run_ends_with_its_best_picture(tmp_path: Path) -> None:
    config = composed(
        *TINY,
        "optimizer=adam",
        "optimizer.lr=1e30",
        "gamut=free",
        "parametrization=pixel",
        "loss=reference",
        "output.timelapse=webp",
    )
    result = build.run(config, tmp_path, {}, lambda: None)
    assert result.status == "failed"
    best = np.asarray(Image.open(tmp_path / "result.png"))
    assert np.abs(film(tmp_path / "timelapse.webp")[0][-1] - best).mean() < 20


def test_no_film_is_made_unless_asked_for(tmp_path: Path) -> None:
    build.run(composed(*TINY), tmp_path, {}, lambda: None)
    assert not list(tmp_path.glob("timelapse*"))
    assert "timelapse" not in json.loads((tmp_path / "result.json").read_text())


def test_a_film_that_cannot_be_made_spoils_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ImageError("000001.png: cannot be read")

    monkeypatch.setattr(timelapse, "save", fail)
    build.run(composed(*TINY, "output.timelapse=gif"), tmp_path, {}, lambda: None)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "ok"
    assert "timelapse" not in record
    assert "No timelapse: 000001.png: cannot be read" in caplog.text


def test_film_without_images_is_refused_before_the_run(
    nst_command: Command, tmp_path: Path
) -> None:
    done = nst_command(
        *TINY, "output.timelapse=webp", "output.image_every=null", "hydra.run.dir=run"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nst: output.timelapse: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[video\]'"):
        schema.validate(composed("output.timelapse=mp4"))
    schema.validate(composed("output.timelapse=gif"))


def test_a_file_in_the_films_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "timelapse.gif").write_text("mine")
    with pytest.raises(InputError, match=r"timelapse\.gif: was there before"):
        build.run(composed(*TINY, "output.timelapse=gif"), tmp_path, {}, lambda: None)
    assert (tmp_path / "timelapse.gif").read_text() == "mine"
