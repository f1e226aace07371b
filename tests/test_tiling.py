"""Tiles: their geometry, and that the objective through them is the whole picture's."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import nst
from nst.errors import InputError
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG, Trunk
from nst.network.weights import Weights
from nst.objective import Objective, Terms, tiling, transfer, variation
from nst.objective.statistics import Gram
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE, yardstick
from nst.optim import parametrizations
from support import Command, stylize

SHALLOW = {"relu2_2": 2.0}, {"relu1_1": 0.5, "relu2_1": 3.0}
# One tap in both terms, taps before and behind the same ReLU, and gaps in the weights.
CONVOLUTIONS = {"conv3_1": 0.5, "relu2_1": 1.0}, {"conv1_1": 1.0, "conv3_1": 2.0, "relu1_1": 0.1}


def picture(height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, height, width, generator=generator, dtype=dtype)


def evaluated(objective: Objective, image: Tensor) -> tuple[Terms, Tensor]:
    image = image.clone().requires_grad_(True)
    terms = objective(image)
    terms.total.backward()
    assert image.grad is not None
    assert image.grad.is_contiguous()
    return terms, image.grad


def compare(
    weights: Weights,
    size: tuple[int, int],
    tile_size: int,
    *,
    layers: tuple[dict[str, float], dict[str, float]] = SHALLOW,
    pooling: str = "max",
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-8,
    **options: Any,
) -> None:
    """Tiled or whole, all terms and the gradient, by its largest, are what autograd finds."""
    content, image = (picture(*size, seed, dtype) for seed in (0, 1))
    style = picture(size[1] + 9, size[0] + 30, 2, dtype)
    found = []
    ways: list[dict[str, Any]] = [{"joint": False}, {}, {"tile_size": tile_size}]
    for way in ways:
        objective = transfer(
            VGG(weights.tensors, [*layers[0], *layers[1]], pooling),
            content,
            style,
            content_layers=layers[0],
            style_layers=layers[1],
            **way,
            **options,
        )
        assert (len(objective.tiles(image)) > 1) == ("tile_size" in way)
        found.append(evaluated(objective, image))
    plain, expected = found[0]
    for terms, gradient in found[1:]:
        assert list(terms.layers) == list(plain.layers)
        for name in ("content", "style", "tv", "total"):
            a, b = getattr(terms, name), getattr(plain, name)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=0)
        for name, value in plain.layers.items():
            torch.testing.assert_close(terms.layers[name], value, rtol=tolerance, atol=0)
        assert (gradient - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "tile_size"),
    [
        ((50, 39), 1),
        *product([(48, 64), (50, 39), (33, 90), (17, 100)], [16, 22, 32]),
    ],
)
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_gradient_and_terms_are_the_whole_pictures(
    weights: Weights, size: tuple[int, int], tile_size: int, pooling: str
) -> None:
    compare(weights, size, tile_size, pooling=pooling, style_weight=1e3, tv_weight=0.4)


@pytest.mark.parametrize(
    "options",
    [
        {"style_loss": Gram("hw")},
        {"style_loss": Gram("chw"), "content_weight": 0.0},
        {"style_weight": 0.0},
        {"content_weight": 3e-3, "style_weight": 7.0, "tv_weight": 1e3},
        {"layers": CONVOLUTIONS, "style_weight": 10.0},
        {"layers": ({}, {"conv1_1": 1.0})},
        {"layers": ({"relu1_2": 1.0}, {}), "tv_weight": 2.0},
    ],
    ids=str,
)
def test_every_option(weights: Weights, options: dict[str, Any]) -> None:
    compare(weights, (53, 70), 24, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [(GATYS_CONTENT, GATYS_STYLE), ({"relu5_4": 1.0}, {"conv5_3": 2.0, "relu1_2": 1.0})],
    ids=["gatys", "relu5_4"],
)
def test_deep_layers(weights: Weights, layers: tuple[dict[str, float], dict[str, float]]) -> None:
    compare(weights, (167, 38), 32, layers=layers)


@pytest.mark.slow
@pytest.mark.parametrize("tv_weight", [0.0, 1.0])
def test_float32(weights: Weights, tv_weight: float) -> None:
    layers = GATYS_CONTENT, GATYS_STYLE
    options = {"dtype": torch.float32, "tolerance": 1e-4, "tv_weight": tv_weight}
    compare(weights, (100, 75), 32, layers=layers, **options)


def test_bfloat16_differs_by_its_own_rounding(weights: Weights) -> None:
    options = {"dtype": torch.float32, "tolerance": 3e-2, "precision": "bf16"}
    compare(weights, (64, 75), 32, **options)


def make(weights: Weights, tile_size: int | None = 32, size: int = 70, **options) -> Objective:
    return transfer(
        VGG(weights.tensors, [*SHALLOW[0], *SHALLOW[1]]).double(),
        picture(size, size),
        picture(size, size, 2),
        content_layers=SHALLOW[0],
        style_layers=SHALLOW[1],
        tile_size=tile_size,
        **options,
    )


def test_picture_no_larger_than_a_tile_is_taken_whole_to_the_same_bits(weights: Weights) -> None:
    (whole, expected), (terms, gradient) = (
        evaluated(make(weights, tile_size), picture(70, 70, 1)) for tile_size in (None, 72)
    )
    assert torch.equal(gradient, expected)
    assert torch.equal(terms.total, whole.total)


def test_through_the_fourier_parametrization(weights: Weights) -> None:
    start = picture(70, 70, 1)
    gradients = []
    for tile_size in (None, 32):
        made = parametrizations.fourier(start)
        (make(weights, tile_size)(made()).total * 3).backward()
        gradients.append(made.variables[0].grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-8, atol=1e-12)


def test_without_grad_only_the_first_pass_is_made(weights: Weights) -> None:
    objective, image = make(weights), picture(70, 70, 1)
    passes = []
    objective.network.layers["conv1_1"].register_forward_hook(lambda *_: passes.append(1))
    image.requires_grad_(True)
    with torch.no_grad():
        terms = objective(image)
    assert not terms.total.requires_grad
    assert len(passes) == len(objective.tiles(image)) == 9
    assert not objective(image.detach()).total.requires_grad
    assert len(passes) == 18
    assert objective(image).total.requires_grad
    assert len(passes) == 36


def test_gradient_is_handed_over_without_a_copy_and_once(weights: Weights) -> None:
    objective, image = make(weights), picture(70, 70, 1).requires_grad_(True)
    made = []
    with patch.object(
        Objective, "_gradient", lambda *given, real=Objective._gradient: note(made, real(*given))
    ):
        total = objective(image).total
    total.backward(retain_graph=True)
    assert image.grad is not None
    assert [image.grad.data_ptr()] == made
    with pytest.raises(RuntimeError, match="only once"):
        total.backward()


def note(made: list[int], tensor: Tensor) -> Tensor:
    made.append(tensor.data_ptr())
    return tensor


@pytest.mark.slow
def test_nothing_of_a_tile_outlives_it(weights: Weights) -> None:
    """Largest allocation alive at any time: with pictures twice as long, not more."""

    def most(length: int) -> int:
        layers = GATYS_CONTENT, GATYS_STYLE
        objective = transfer(
            VGG(weights.tensors, [*layers[0], *layers[1]]),
            *(picture(length, 32, seed, torch.float32) for seed in (0, 2)),
            content_layers=layers[0],
            style_layers=layers[1],
            tile_size=64,
        )
        image = picture(length, 32, 1, torch.float32).requires_grad_(True)
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            objective(image).total.backward()
        now = peak = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        return peak

    outside = 92 * 32 * 448  # bytes per px: image, gradient and the content's features
    assert most(896) - most(448) <= outside


def test_tiles_need_the_joint_pass(weights: Weights) -> None:
    with pytest.raises(InputError, match=r"loss\.joint"):
        make(weights, joint=False)
    assert make(weights, None, joint=False).joint is False


@pytest.mark.parametrize("size", [(2, 2), (5, 3), (63, 7), (64, 7), (65, 7), (130, 2)])
def test_variation_in_bands(size: tuple[int, int]) -> None:
    image = picture(*size).requires_grad_(True)
    whole = variation.total_variation(image)
    (expected,) = torch.autograd.grad(0.7 * whole, image)
    gradient = torch.ones_like(image)
    found = variation.variation_in_bands(image.detach(), gradient, 0.7)
    torch.testing.assert_close(found, whole.detach())
    torch.testing.assert_close(gradient, expected + 1)


# --- Geometry -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    tile_size=st.integers(1, 250),
    tap=st.sampled_from(VGG_19.taps),
)
def test_each_position_of_each_map_lies_in_one_core(
    height: int, width: int, tile_size: int, tap: str
) -> None:
    tiles = tiling.tiles(height, width, tile_size, VGG_19.halos([tap]))
    pixels = [torch.zeros(height, width)[tile.whole(0)].numel() for tile in tiles]
    assert tiling.largest_tile(height, width, tile_size, VGG_19.halos([tap])) == max(pixels)
    unit = 1 << VGG_19.level(tap)
    for level in range(VGG_19.level(tap) + 1):
        count = torch.zeros(height >> level, width >> level, dtype=torch.int)
        for tile in tiles:
            core, whole, inner = tile.core(level), tile.whole(level), tile.inner(level)
            count[core] += 1
            positions = torch.arange(count.numel()).view(count.shape)
            assert torch.equal(positions[whole][inner], positions[core])
            for span in (tile.rows, tile.columns):
                assert span.start % unit == 0
                assert 0 < span.stop - span.start <= max(tile_size, unit)
        assert bool((count == 1).all())


def test_halo_is_the_receptive_field() -> None:
    assert VGG_19.halos(["relu1_1"]) == (1,)
    assert VGG_19.halos(["conv2_1", "relu1_1"]) == (4, 1)
    assert VGG_19.halos(["relu5_1"]) == (70, 34, 16, 6, 1)
    assert VGG_19.halos(["relu5_4"])[0] == 118


def cores(network: VGG, image: Tensor, tile: tiling.Tile, tap: str) -> Tensor:
    with torch.no_grad():
        ((_, feature),) = tiling.features(network, image[..., *tile.whole(0)], tile, [tap])
    return feature[..., *tile.inner(VGG_19.level(tap))]


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    tile_size=st.integers(4, 40),
    tap=st.sampled_from(["relu1_1", "conv1_2", "relu2_1", "relu2_2", "relu3_1", "conv3_2"]),
    pooling=st.sampled_from(["max", "avg"]),
    data=st.data(),
)
def test_halo_suffices(
    weights: Weights, height: int, width: int, tile_size: int, tap: str, pooling: str, data
) -> None:
    """Whatever is outside of a tile, the whole picture's features in its core are the tile's."""
    network = VGG(weights.tensors, [tap], pooling).double()
    image = picture(height, width)
    tile = data.draw(st.sampled_from(tiling.tiles(height, width, tile_size, VGG_19.halos([tap]))))
    other = picture(height, width, 5)
    other[..., *tile.whole(0)] = image[..., *tile.whole(0)]
    with torch.no_grad():
        expected = network(other)[tap][..., *tile.core(VGG_19.level(tap))]
    torch.testing.assert_close(cores(network, image, tile, tap), expected)


@pytest.mark.parametrize("tap", ["relu2_2", "relu4_1"])
def test_smaller_halo_does_not_suffice(weights: Weights, tap: str) -> None:
    network = VGG(weights.tensors, [tap], "avg").double()
    image = picture(160, 16)
    tile = tiling.tiles(160, 16, 16, VGG_19.halos([tap]))[5]
    with torch.no_grad():
        expected = network(image)[tap][..., *tile.core(VGG_19.level(tap))]
    torch.testing.assert_close(cores(network, image, tile, tap), expected)
    for level in range(len(tile.halos)):
        fewer = [halo - (2 if n == 0 else 1) * (n <= level) for n, halo in enumerate(tile.halos)]
        wrong = cores(network, image, replace(tile, halos=tuple(fewer)), tap)
        assert wrong.shape != expected.shape or not torch.allclose(wrong, expected)


# --- Runs -----------------------------------------------------------------------------------------


def test_yardstick_is_the_same(weights: Weights) -> None:
    pictures = [picture(48, 40, seed, torch.float32) for seed in range(3)]
    whole, tiled = (yardstick(Trunk(weights, "avg"), *pictures, size) for size in (None, 16))
    assert whole is not None
    assert tiled == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_run_with_tiles_is_the_run_without(content_path: Path, style_path: Path) -> None:
    def run(**options: Any) -> nst.Result:
        return stylize(
            content_path,
            style_path,
            size=96,
            weights="random",
            content_layers=SHALLOW[0],
            style_layers=SHALLOW[1],
            optimizer=nst.adam,
            budget=nst.Budget(evaluations=3),
            **options,
        )

    whole, tiled = run(memory="full"), run(memory="tiled", tile_size=32)
    assert (whole.start.tile_size, tiled.start.tile_size) == (None, 32)
    for a, b in zip(whole.losses, tiled.losses, strict=True):
        assert b.total == pytest.approx(a.total, rel=1e-4)
    assert tiled.yardstick == pytest.approx(whole.yardstick, rel=1e-3)
    # The yardstick's network would take more than small tiles spare.
    with patch("nst.api.YARDSTICK", {}):
        with patch("nst.run.memory.free", return_value=14 << 20):
            assert run().start.tile_size == 64
        with patch("nst.run.memory.free", return_value=25 << 20):
            # More than half of it, but tiles that are worth while are larger than the picture.
            assert run().start.tile_size is None
            assert run(joint=False).start.tile_size is None
    with patch("nst.run.memory.free", return_value=2**20):
        with pytest.raises(InputError, match=r"size=96: .* in tiles of 64 px take .* are free$"):
            run()
        with pytest.raises(InputError, match="as a whole"):
            run(joint=False)
    assert run().start.tile_size is None
    assert run(memory="tiled").start.tile_size is None  # one tile holds it
    with pytest.raises(InputError, match=r"loss\.joint"):
        run(memory="tiled", tile_size=32, joint=False)


def test_command_line(nst_command: Command, tmp_path: Path) -> None:
    arguments = ("size=96", "budget.evaluations=2", "model.weights=embedded", "hydra.run.dir=run")
    done = nst_command(*arguments, "memory=tiled", "tile_size=64")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["memory"].items() >= {"mode": "tiled", "tile_size": 64}.items()
    done = nst_command(*arguments, "tile_size=63")
    assert done.returncode == 2
    assert "tile_size must be at least 64, not 63" in done.stderr
