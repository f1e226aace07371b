"""What `size` is of each picture: the rules of `resize`, from one picture to a whole run."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms as T
from PIL import Image

import nst
from nst.objective.cost import cost
from nst.pictures import images, inputs
from nst.pictures.images import ImageError, Resize
from nst.report.scan import read_sweep
from nst.run import memory
from nst.run.records import Budget
from support import Command, checker_picture, stylize, xor_picture

SHALLOW: dict[str, Any] = {
    "weights": "random",
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0},
    "optimizer": nst.adam,
}


@pytest.mark.parametrize(
    ("resize", "size", "landscape", "portrait"),
    [
        ("fit", 60, (40, 60), (60, 40)),
        ("short", 60, (60, 90), (90, 60)),
        ("height", 60, (60, 90), (60, 40)),
        ("stretch", 60, (60, 60), (60, 60)),
        # Of 150 x 100: 37.5 and 38.67 are rounded down, but by `fit` to the nearest.
        ("short", 25, (25, 37), (37, 25)),
        ("height", 58, (58, 87), (58, 38)),
        ("fit", 58, (39, 58), (58, 39)),
    ],
)
def test_size_of_a_picture(
    resize: Resize, size: int, landscape: tuple[int, int], portrait: tuple[int, int]
) -> None:
    for (width, height), expected in (((150, 100), landscape), ((100, 150), portrait)):
        picture = Image.new("RGB", (width, height))
        assert images.target_size(picture, size, resize) == expected
        assert images.to_tensor(picture, size, resize).shape[2:] == expected
        assert images.size_of(*expected, resize) == size


@pytest.mark.parametrize("size", [1, 7, 100, 333])
@pytest.mark.parametrize("shape", [(151, 97), (97, 151), (64, 64), (3, 200)])
def test_short_is_torchvisions_resize(size: int, shape: tuple[int, int]) -> None:
    picture = Image.new("RGB", shape)
    width, height = T.Resize(size)(picture).size
    assert images.target_size(picture, size, "short") == (height, width)


def test_a_thin_picture_has_a_pixel_at_least() -> None:
    picture = Image.new("RGB", (1, 500))
    assert images.target_size(picture, 100, "height") == (100, 1)
    assert images.target_size(picture, 100, "fit") == (100, 1)


def loaded(style: Image.Image, resize: Resize, scale: float, sizes: list[int]) -> inputs.Inputs:
    return inputs.load(
        xor_picture(),
        [style],
        [scale],
        resize,
        torch.device("cpu"),
        sizes=sizes,
        minimum=16,
        layer="relu5_1",
        max_megapixels=None,
    )


@pytest.mark.parametrize(
    ("resize", "enlarged"), [("fit", None), ("short", 180), ("height", 180), ("stretch", None)]
)
def test_enlarged_beyond_what_it_has_is_of_the_longer_side(
    resize: Resize, enlarged: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 150 x 100 px, 120 px are too many for the shorter side alone."""
    with caplog.at_level(logging.WARNING):
        loaded(checker_picture(150, 100), resize, 2, [30, 60])
    said = f"enlarged from 150 to {enlarged} px" in caplog.text
    assert said == (enlarged is not None) == bool(caplog.records)


def test_too_small_and_too_large_are_of_the_picture_as_it_will_be() -> None:
    thin = checker_picture(40, 20)
    with pytest.raises(ImageError, match=r"30 x 15 px at 30 px of a style is too small"):
        loaded(thin, "fit", 0.5, [60])
    loaded(thin, "short", 0.5, [60])
    banner = checker_picture(2000, 10)
    with pytest.raises(ImageError, match=r"the style picture: would be 80000 x 400 px .*65535"):
        loaded(banner, "short", 10, [40])
    loaded(banner, "fit", 100, [40])


def test_what_would_fit_is_said_as_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = cost([(nst.statistics.Gram(), ["relu5_1"])])

    def said(size: int | None) -> int:
        with pytest.raises(memory.OutOfMemory) as caught:
            with memory.explained(torch.device("cpu"), 3000, 6000, estimate, size=size):
                raise MemoryError
        return int(str(caught.value).rpartition("=")[2])

    monkeypatch.setattr(memory, "free", lambda device: 2**30)
    assert said(None) == said(6000)
    assert said(3000) == said(6000) // 2


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("resize", ["short", "height"])
def test_run_with_pyramid_scale_and_regions_goes_on(
    resize: Resize, upright: bool, tmp_path: Path
) -> None:
    content, style = xor_picture(), checker_picture(60, 90)
    mask = Image.new("L", (60, 48))
    mask.paste(255, (0, 0, 60, 24))
    if upright:
        content, mask = content.transpose(Image.Transpose.ROTATE_90), mask.rotate(90, expand=True)
    options = {
        **SHALLOW,
        "size": 40,
        "resize": resize,
        "style_scale": [1.0, 0.5],
        "regions": nst.Regions([mask, None]),
        "schedule": [nst.Scale(0.7, 2), nst.Scale(1, None)],
        "budget": Budget(evaluations=4),
    }
    styles = [style, checker_picture()]
    whole = stylize(content, styles, **options)
    height, width = images.target_size(content, 40, resize)
    assert whole.picture.size == whole.start.size == (width, height)
    small = images.target_size(content, 28, resize)
    assert whole.losses[0].cost == pytest.approx(small[0] * small[1] / (height * width))
    sides = [tuple(tensor.shape[2:]) for tensor in whole.start.styles]
    assert sides == [
        images.target_size(one, side, resize) for one, side in zip(styles, (40, 20), strict=True)
    ]
    seen: list[int] = []

    def stop() -> str | None:
        seen.append(1)
        return "SIGTERM" if len(seen) == 4 else None

    path = tmp_path / "checkpoint.pt"
    # The same sizes in px.
    options |= {"style_scale": 1.0, "style_size": [40, 20]}
    stylize(content, styles, **options, checkpoint=path, stop_requested=stop)
    rest = stylize(content, styles, **options, resume=path)
    assert rest.picture.tobytes() == whole.picture.tobytes()


def test_command_line_records_what_it_made(nst_command: Command, tmp_path: Path) -> None:
    checker_picture(48, 96).save(tmp_path / "tall.png")
    done = nst_command(
        *("content=tall.png", "size=40", "resize=short,height", "budget.evaluations=1", "name=s"),
        *("model.weights=embedded", "--multirun"),
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for path in (tmp_path / "outputs" / "s").glob("*/result.json"):
        found[path.parent.name] = json.loads(path.read_text())["size"]
    assert found == {"resize-short": [40, 80], "resize-height": [20, 40]}
    runs = read_sweep(tmp_path / "outputs" / "s").runs
    assert sorted(run.size for run in runs if run.size) == [(20, 40), (40, 80)]
