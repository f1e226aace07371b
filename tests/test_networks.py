"""VGG-16, Caffe's input, poolings and paddings of the first layer."""

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor

import nst
from nst.errors import InputError
from nst.network import plausible
from nst.network import weights as sources
from nst.network.architecture import VGG_16, VGG_19
from nst.network.preprocessing import CAFFE_MEAN
from nst.network.vgg import VGG, Padding, Pooling, Trunk
from nst.network.weights import Weights, random_weights
from nst.pictures.images import MEAN, STD, Picture


@pytest.fixture(scope="module")
def image() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(1, 3, 48, 40, generator=generator, dtype=torch.float64)
    return (noise - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.fixture(scope="module")
def embedded() -> Weights:
    return sources.embedded_weights()


@pytest.fixture
def pair(content_path: Path, style_path: Path) -> tuple[Picture, Picture]:
    return content_path, style_path


def in_caffe(weights: Weights) -> dict[str, Tensor]:
    """The same network for BGR from 0 to 255 less the mean, by torchvision's numbers."""
    tensors = {**weights.tensors}
    mean, std, caffe = (torch.tensor(one, dtype=torch.float64) for one in (MEAN, STD, CAFFE_MEAN))
    first = tensors["conv1_1.weight"].double() / (255 * std)[:, None, None]
    # A constant image has no slope: the same pre-activations but for what is beyond the border.
    shift = (first * (255 * mean - caffe)[:, None, None]).sum((1, 2, 3))
    tensors["conv1_1.weight"] = first.flip(1).float()
    tensors["conv1_1.bias"] = (tensors["conv1_1.bias"].double() - shift).float()
    architecture = weights.architecture
    return {
        f"features.{index}.{kind}": tensors[f"{name}.{kind}"].contiguous()
        for name, index, *_ in architecture.convolutions
        for kind in ("weight", "bias")
        if f"{name}.{kind}" in tensors
    }


@torch.no_grad()
def test_vgg16_equals_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = torchvision.models.vgg16(weights=None).features.eval()
    found = [
        (index, layer.in_channels, layer.out_channels)
        for index, layer in enumerate(original)
        if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [entry[1:] for entry in VGG_16.convolutions] == found
    path = tmp_path / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in original.state_dict().items()}, path)
    taps = ["relu1_2", "conv3_3", "relu5_3"]
    features = Trunk(sources.resolve(str(path), architecture="vgg16")).network(taps)(
        picture := torch.randn(1, 3, 32, 32)
    )
    for tap, index in zip(taps, [4, 15, 30], strict=True):
        torch.testing.assert_close(features[tap], original[:index](picture.clone()))


def test_the_other_network_is_named(tmp_path: Path) -> None:
    for name, other in ("vgg16", VGG_19), ("vgg19", VGG_16):
        path = tmp_path / f"{name}.safetensors"
        state = random_weights(0, other).tensors
        by_number = {
            f"{index}.{kind}": state[f"{conv}.{kind}"]
            for conv, index, *_ in other.convolutions
            for kind in ("weight", "bias")
        }
        save_file(by_number, path)
        right = "vgg19" if other is VGG_19 else "vgg16"
        with pytest.raises(InputError, match=f"{other.name}, not .*: use model={right}"):
            sources.resolve(str(path), architecture=name)
        assert sources.resolve(str(path), architecture=right).architecture is other


def test_layers_of_vgg16() -> None:
    with pytest.raises(InputError, match="the layers of VGG-16 are conv1_1"):
        VGG_16.check(["relu3_4"])
    assert VGG_16.feature_shape((1, 3, 64, 32), "relu5_1") == (1, 512, 4, 2)


def test_there_are_no_embedded_weights_of_vgg16() -> None:
    with pytest.raises(InputError, match="the embedded weights are of VGG-19"):
        sources.resolve("embedded", architecture="vgg16")


@torch.no_grad()
def test_caffe_sees_bgr_from_0_to_255_less_the_mean(
    weights: Weights, image: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "caffe.safetensors"
    state = in_caffe(weights)
    save_file(state, path)
    found = sources.resolve(str(path), convention="caffe")
    unit = image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    bgr = 255 * unit.flip(1) - torch.tensor(CAFFE_MEAN[::-1])[:, None, None]
    expected = F.conv2d(
        bgr, state["features.0.weight"].double(), state["features.0.bias"].double(), padding=1
    )
    features = Trunk(found).network(["conv1_1"]).double()(image)
    torch.testing.assert_close(features["conv1_1"], expected, atol=1e-5, rtol=0)


def test_names_of_gatys_are_caffes(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "vgg_conv.pth"
    torch.save(dict(weights.tensors), path)
    found = sources.resolve(str(path))
    assert found.convention == "caffe"
    first = weights.tensors["conv1_1.weight"]
    torch.testing.assert_close(found.tensors["conv1_1.weight"], first.flip(1))
    assert sources.resolve(str(path), convention="torchvision").convention == "torchvision"


@pytest.mark.parametrize(("caffe", "chosen"), [(True, "torchvision"), (False, "caffe")])
def test_the_wrong_input_is_noticed(
    embedded: Weights, tmp_path: Path, caplog: pytest.LogCaptureFixture, caffe: bool, chosen: str
) -> None:
    path = tmp_path / "weights.safetensors"
    without_bias = {k: v * ("weight" in k) for k, v in embedded.tensors.items()}
    plain = Weights(without_bias, "file", "", "")
    state = (
        in_caffe(plain)
        if caffe
        else {
            f"{index}.{kind}": plain.tensors[f"{name}.{kind}"]
            for name, index, *_ in VGG_19.convolutions
            for kind in ("weight", "bias")
            if f"{name}.{kind}" in plain.tensors
        }
    )
    save_file(state, path)
    generator = torch.Generator().manual_seed(0)
    picture = F.interpolate(torch.randn(1, 3, 12, 12, generator=generator), (96, 96))
    right = "caffe" if caffe else "torchvision"
    plausible.warn_of_wrong_input(Trunk(sources.file_weights(path, convention=right)), picture)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        wrong = sources.file_weights(path, convention=chosen)
        plausible.warn_of_wrong_input(Trunk(wrong), picture)
    assert f"was this network trained with model.input={right}?" in caplog.text


@torch.no_grad()
@pytest.mark.parametrize(
    ("pooling", "scale"), [("max", 1.0), ("avg", 1.0), ("avg", 2.0), ("l2", 1.0), ("l2", 0.78)]
)
def test_poolings(weights: Weights, image: Tensor, pooling: Pooling, scale: float) -> None:
    network = VGG(weights.tensors, ["relu1_2", "conv2_1"], pooling, pooling_scale=scale).double()
    features = network(image)
    windows = F.unfold(features["relu1_2"].transpose(0, 1), 2, stride=2)
    pooled = {
        "max": windows.amax(1),
        "avg": windows.mean(1),
        "l2": windows.square().sum(1).sqrt(),
    }[pooling].reshape(1, 64, 24, 20)
    layer = network.layers["conv2_1"]
    # The root of nothing is that of the least value that it has a slope at.
    torch.testing.assert_close(features["conv2_1"], layer(scale * pooled), atol=2e-5, rtol=0)


def test_l2_pooling_has_slopes_where_all_is_zero(weights: Weights) -> None:
    bias = torch.full_like(weights.tensors["conv1_2.bias"], -1e3)
    dead = {**weights.tensors, "conv1_2.bias": bias}
    image = torch.zeros(1, 3, 16, 16, requires_grad=True)
    VGG(dead, ["relu2_1"], "l2")(image)["relu2_1"].sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_other_poolings_have_the_magnitude_of_max(embedded: Weights, weights: Weights) -> None:
    scales = {kind: Trunk.of(embedded, kind).pooling_scale for kind in ("max", "avg", "l2")}
    assert scales == {"max": 1, "avg": 2, "l2": 0.78}
    assert Trunk.of(embedded, "avg", 1.0).pooling_scale == 1
    assert (Trunk.of(weights).pooling, Trunk.of(weights).pooling_scale) == ("avg", 1)


@torch.no_grad()
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_padding_of_the_first_layer(weights: Weights, image: Tensor, padding: Padding) -> None:
    mode = {"zeros": "constant"}.get(padding, padding)
    kernel, bias = (weights.tensors[f"conv1_1.{kind}"].double() for kind in ("weight", "bias"))
    expected = F.conv2d(F.pad(image, (1, 1, 1, 1), mode), kernel, bias)
    network = VGG(weights.tensors, ["conv1_1", "conv1_2"], padding=padding).double()
    features = network(image)
    torch.testing.assert_close(features["conv1_1"], expected)
    second = network.layers["conv1_2"]
    assert isinstance(second, torch.nn.Conv2d)
    assert second.padding_mode == "zeros"


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_in_tiles_as_whole(pair: tuple[Picture, Picture], padding: Padding) -> None:
    results = [
        nst.stylize(
            *pair,
            size=48,
            network=nst.Network("random", padding=padding, pooling="l2"),
            loss=nst.Loss(content_layers={"relu2_1": 1.0}, style_layers={"relu1_1": 1.0}),
            budget=nst.Budget(evaluations=1),
            compute=nst.Compute(device="cpu", memory=memory, tile_size=16),
        )
        for memory in ("full", "tiled")
    ]
    whole, tiled = (one.losses[0].total for one in results)
    assert tiled == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [("architecture", "vgg13"), ("input", "bgr"), ("padding", "mirror"), ("pooling_scale", 0.0)],
)
def test_what_a_network_cannot_be(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{key} must be"):
        nst.Network(**{key: value})
