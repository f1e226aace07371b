"""A whole run as one library call."""

import decimal
import gc
import locale
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import nst
from nst.api import _View
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import transfer
from nst.optim.schedules import SINGLE
from nst.pictures import images
from nst.run.devices import resolve_device
from nst.run.records import Row
from nst.run.results import Result, Start
from nst.run.tracking import JsonLines, Progress, TensorBoard, Tracker
from support import stylize

SHALLOW = {
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
    "weights": "random",
    "size": 32,
    "device": "cpu",  # where equal settings give equal bits
}


def run(content, style, **options) -> Result:
    return stylize(content, style, **{**SHALLOW, "budget": nst.Budget(evaluations=6), **options})


def test_paths_pictures_and_tensors_give_the_same_picture(
    content_path: Path, style_path: Path
) -> None:
    pictures = [Image.open(path) for path in (content_path, style_path)]
    tensors = [torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in pictures]
    results = [
        run(content_path, str(style_path)),
        run(*pictures),
        run(tensors[0], tensors[1][None]),
    ]
    first = np.asarray(results[0].picture)
    assert first.shape == (26, 32, 3)
    for result in results[1:]:
        assert np.array_equal(first, np.asarray(result.picture))


def test_tensorboard_shows_smaller_copies_of_large_images(tmp_path: Path, style_path: Path) -> None:
    board = TensorBoard(tmp_path, "", lambda start: {})
    with board:
        run(
            Image.new("RGB", (16, 1040), "teal"),
            style_path,
            size=1040,
            style_scale=0.1,
            budget=nst.Budget(evaluations=1),
            sinks=[board],
            image_every=1,
        )
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    for tag in ("image/content_style_result", "image/current"):
        (image,) = events.Images(tag)
        assert image.height == 1024


@pytest.mark.parametrize("color", [nst.colors.Transfer(), nst.colors.Content()])
@pytest.mark.parametrize(
    "schedule", [SINGLE, [nst.Scale(0.75, 2), nst.Scale(1.0, None, detail=True)]]
)
def test_no_picture_is_held_while_the_image_is_optimised(
    content_path: Path,
    style_path: Path,
    schedule: list[nst.Scale],
    color: nst.colors.Color,
    tmp_path: Path,
) -> None:
    held = []

    class Watch(Tracker):
        def on_evaluation(self, row: Row) -> None:
            held.extend(one for one in gc.get_objects() if type(one) in (_View, Start))

    sinks = [Progress(bar=False), TensorBoard(tmp_path, "", lambda start: {}), Watch()]
    result = run(content_path, style_path, schedule=schedule, color=color, sinks=sinks)
    assert len(result.losses) >= 6
    assert not held


def test_result_says_what_happened(content_path: Path, style_path: Path) -> None:
    result = run(content_path, style_path, init=nst.inits.random, seed=5)
    assert (result.status, result.stop_reason, result.error) == ("ok", "evaluations", None)
    assert [row.evaluation for row in result.losses] == list(range(1, 7))
    assert result.best == min(result.losses, key=lambda row: row.total)
    assert result.start.size == (32, 26)
    assert (result.start.weights, result.start.network["pooling"]) == ("random", "avg")
    assert set(result.losses[0].layers) == {"content/relu2_1", "style/relu1_1", "style/relu2_1"}


def test_loss_falls_with_both_optimizers(content_path: Path, style_path: Path) -> None:
    for optimizer in (nst.lbfgs, partial(nst.adam, lr=0.05)):
        result = run(
            content_path, style_path, optimizer=optimizer, budget=nst.Budget(evaluations=30)
        )
        assert result.losses[-1].total < 0.5 * result.losses[0].total


def test_same_seed_same_bytes_other_seed_other_bytes(content_path: Path, style_path: Path) -> None:
    one, two, other = (
        run(content_path, style_path, init=nst.inits.random, seed=seed).picture.tobytes()
        for seed in (1, 1, 2)
    )
    assert one == two != other


@pytest.mark.parametrize("sinks", [[print], [None], [JsonLines], print])
def test_what_is_no_sink_is_refused(sinks) -> None:
    with pytest.raises(nst.InputError, match="sinks"):
        nst.Keep(sinks=sinks)


def test_sinks_see_start_rows_images_and_end(content_path: Path, style_path: Path) -> None:
    events: list[str] = []

    class Sink:
        def on_start(self, start: Start) -> None:
            events.append(f"start {start.size}")

        def on_evaluation(self, row: Row) -> None:
            events.append(f"row {row.evaluation}")

        def on_image(self, evaluation: int, image: torch.Tensor) -> None:
            events.append(f"image {evaluation} {tuple(image.shape)}")

        def on_end(self, result: Result) -> None:
            events.append(f"end {result.stop_reason}")

    budget = nst.Budget(evaluations=2)
    run(content_path, style_path, sinks=[Sink()], image_every=2, budget=budget)
    shape = (1, 3, 26, 32)
    assert events == [
        "start (32, 26)",
        "row 1",
        f"image 1 {shape}",
        "row 2",
        f"image 2 {shape}",
        "end evaluations",
    ]


def test_whole_time_is_told_from_evaluations_of_the_full_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    progress, nothing = Progress(bar=False), torch.zeros(1, 3, 4, 4)
    progress.on_start(Start(nothing, [], [], [], nst.Budget(evaluations=50), "", "", "", {}))
    # Of a sixteenth of the pixels, but half of the time.
    cost = seconds = 0.0
    for number, scale in enumerate([0.25] * 20 + [1.0] * 10, start=1):
        cost, seconds = cost + scale**2, seconds + (0.5 if scale < 1 else 1)
        progress.on_evaluation(Row(1, number, seconds, {}, 1.0, {}, scale, cost))
    # Ten seconds for those, and 48.75 evaluations more.
    assert caplog.messages == ["1.000 s per evaluation, about 59 s in all"]


def test_checkpoint_and_resume(content_path: Path, style_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None] * 5 + ["SIGTERM"])
    optimizer = partial(nst.lbfgs, max_iter=2)
    options = {"optimizer": optimizer, "checkpoint": path, "checkpoint_every": 4}
    whole = run(content_path, style_path, optimizer=optimizer, budget=nst.Budget(steps=4))
    cut = run(content_path, style_path, stop_requested=lambda: next(asked), **options)
    assert cut.status == "interrupted"
    rest = run(content_path, style_path, **options, resume=path, budget=nst.Budget(steps=4))
    assert rest.last_picture.tobytes() == whole.last_picture.tobytes()
    assert [row.evaluation for row in rest.losses] == list(range(1, len(whole.losses) + 1))
    assert [row.total for row in rest.losses] == [row.total for row in whole.losses]
    with pytest.raises(nst.InputError, match=r"another style_weight \(1.0 there, 5.0 here\)"):
        run(content_path, style_path, optimizer=optimizer, resume=path, style_weight=5.0)


def test_yardstick_is_the_same_whatever_was_minimised(content_path: Path, style_path: Path) -> None:
    one = nst.Budget(evaluations=1)
    given = {"budget": one, "init": nst.inits.random}
    mine = run(content_path, style_path, **given)
    plain = {"strength": None, "style_weight": 1e6}
    gatys = stylize(*(content_path, style_path), size=32, weights="random", **plain, **given)
    assert mine.losses[0].total != gatys.losses[0].total
    assert mine.yardstick == pytest.approx(gatys.yardstick, rel=1e-5)
    assert gatys.yardstick is not None
    assert gatys.yardstick["content"] == pytest.approx(gatys.picture_losses.content, rel=1e-5)
    style = gatys.picture_losses.style / 1e6
    assert gatys.yardstick["style"] == pytest.approx(style, rel=1e-5)
    assert run(content_path, style_path, size=14).yardstick is None


def test_too_small_a_picture_says_the_minimum(content_path: Path, style_path: Path) -> None:
    with pytest.raises(
        images.ImageError,
        match=r"content\.png: 12 x 10 px at size=12 is too small"
        r".*relu5_1 needs at least 16 px",
    ):
        stylize(content_path, style_path, size=12, weights="random")


def test_nothing_to_optimise(content_path: Path, style_path: Path) -> None:
    with pytest.raises(nst.InputError, match="nothing to optimise"):
        run(content_path, style_path, content_weight=0, style_weight=0)


def test_weight_zero_leaves_a_layer_out(content_path: Path, style_path: Path) -> None:
    result = run(content_path, style_path, style_layers={"relu1_1": 1.0, "relu5_1": 0})
    assert set(result.losses[0].layers) == {"content/relu2_1", "style/relu1_1"}


@pytest.mark.parametrize("name", ["tpu", "cpu:1", "cuda:x", "mps:0", ""])
def test_unknown_device(name: str) -> None:
    with pytest.raises(nst.InputError, match="must be auto, cpu, cuda"):
        resolve_device(name)


def test_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(nst.InputError, match=f"device={name}: no"):
            resolve_device(name)
    assert resolve_device("auto").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", [nst.adam, nst.lbfgs])
def test_cuda_agrees_with_the_cpu(content_path: Path, style_path: Path, optimizer) -> None:
    given = {"optimizer": optimizer, "budget": nst.Budget(evaluations=30)}
    results = [run(content_path, style_path, device=name, **given) for name in ("cpu", "cuda")]
    totals = [[row.total for row in result.losses] for result in results]
    np.testing.assert_allclose(totals[1][:3], totals[0][:3], rtol=1e-3)
    assert len(totals[1]) == 30
    assert totals[1][-1] < totals[1][0]
    assert "cuda" in results[1].start.device


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "double precision": default_dtype,
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "mixed precision": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "another device": partial(torch.device, "meta"),
    "other random numbers": lambda: nullcontext(torch.manual_seed(99)),
}


def settings() -> tuple:
    """What a caller may have set in torch, numpy and Python, and find changed."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.backends.mkldnn.enabled,
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        np.geterr(),
        random.getstate(),
        Image.MAX_IMAGE_PIXELS,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        list(warnings.filters),
        locale.setlocale(locale.LC_ALL),
        decimal.getcontext().prec,
        signal.getsignal(signal.SIGINT),
    )


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_caller_s_settings_neither_matter_nor_change(
    name: str, content_path: Path, style_path: Path
) -> None:
    given = {"init": nst.inits.random, "budget": nst.Budget(evaluations=3)}
    expected = run(content_path, style_path, **given)
    with SURROUNDINGS[name]():
        before = settings()
        found = run(content_path, style_path, **given)
        assert settings() == before
    assert [row.total for row in found.losses] == [row.total for row in expected.losses]
    assert found.picture.tobytes() == expected.picture.tobytes()


def test_settings_are_the_caller_s_again_after_an_error_too(content_path: Path) -> None:
    with default_dtype():
        before = settings()
        with pytest.raises(nst.InputError):
            run(content_path, "missing.png")
        assert settings() == before


def test_optimizer_that_draws_random_numbers_draws_those_of_the_seed(
    content_path: Path, style_path: Path
) -> None:
    class Noisy(torch.optim.SGD):
        def step(self, closure=None):
            loss = super().step(closure)
            with torch.no_grad():
                for group in self.param_groups:
                    for variable in group["params"]:
                        variable += 0.1 * torch.randn_like(variable)
            return loss

    optimizer = partial(Noisy, lr=1e-3)
    runs = [
        run(content_path, style_path, optimizer=optimizer, seed=seed).picture.tobytes()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_picture_is_measured_in_float32_whatever_the_run_computes_in(
    content_path: Path, style_path: Path, weights: Weights
) -> None:
    result = run(content_path, style_path, precision="bf16", strength=None, style_weight=1e6)
    layers = {key: SHALLOW[key] for key in ("content_layers", "style_layers")}
    taps = [tap for weights_of in layers.values() for tap in weights_of]
    network = VGG(weights.tensors, taps, "avg")
    objective = transfer(network, result.start.content, result.start.styles[0], **layers)
    size = (result.picture.height, result.picture.width)
    terms = objective(images.to_tensor(result.picture, size))
    assert result.picture_losses.total == pytest.approx(terms.total.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("precision", "fp16"),
        ("resize", "foo"),
        ("alpha", "foo"),
        ("pooling", "min"),
        ("size", 0),
        ("size", 32.5),
        ("size", "32"),
        ("image_every", 0),
        ("tile_size", "a"),
        ("strength", True),
        ("budget", 5),
        ("guard", "stop"),
        ("weights", None),
        ("device", torch.device("cpu")),
        ("tv_weight", -1.0),
        ("style_layers", ["relu1_1"]),
        ("style_layers", {"relu1_1": -1.0}),
        ("style_loss", "gram"),
    ],
    ids=str,
)
def test_values_that_there_are_not_are_refused(
    content_path: Path, style_path: Path, option: str, value: object
) -> None:
    with pytest.raises(nst.InputError, match=option):
        run(content_path, style_path, **{option: value})


def test_runs_in_threads_leave_what_the_process_had(content_path: Path, style_path: Path) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    before = torch.get_rng_state(), torch.backends.cudnn.conv.fp32_precision
    totals = []

    def paint(deterministic: bool) -> None:
        for _ in range(3):
            result = run(content_path, style_path, deterministic=deterministic)
            totals.append(result.losses[-1].total)

    threads = [threading.Thread(target=paint, args=(flag,)) for flag in (True, False, True)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.backends.cudnn.conv.fp32_precision == before[1]
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert len(totals) == 9
    assert len(set(totals)) == 1


def test_float32_is_float32_whatever_the_caller_allows(
    content_path: Path, style_path: Path
) -> None:
    expected = run(content_path, style_path).losses[-1].total
    torch.set_float32_matmul_precision("medium")
    try:
        assert run(content_path, style_path).losses[-1].total == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_pillows_limit_is_not_for_our_own_picture(
    content_path: Path, style_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert run(content_path, style_path).status == "ok"
    assert Image.MAX_IMAGE_PIXELS == 100
