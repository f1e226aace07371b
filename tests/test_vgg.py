"""The network against torchvision's own."""

import pytest
import torch
import torchvision
from torch import nn

from nst.errors import InputError
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG
from nst.network.weights import Weights, _pick


@pytest.fixture(scope="module")
def torchvision_features() -> nn.Sequential:
    torch.manual_seed(1)
    features: nn.Sequential = torchvision.models.vgg19(weights=None).features.eval()
    for module in features:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return features


def test_convolutions_are_those_of_torchvision(torchvision_features: nn.Sequential) -> None:
    found = [
        (index, layer.in_channels, layer.out_channels)
        for index, layer in enumerate(torchvision_features)
        if isinstance(layer, nn.Conv2d)
    ]
    assert [entry[1:] for entry in VGG_19.convolutions] == found


@torch.no_grad()
def test_every_tap_equals_torchvision(torchvision_features: nn.Sequential, tmp_path) -> None:
    state = {f"features.{k}": v for k, v in torchvision_features.state_dict().items()}
    network = VGG(_pick(state, tmp_path, VGG_19), VGG_19.taps)
    image = torch.randn(1, 3, 32, 48)
    features = network(image)
    assert list(features) == VGG_19.taps
    for index, layer in enumerate(torchvision_features):
        image = layer(image)
        names = [name for name, i, *_ in VGG_19.convolutions if index in (i, i + 1)]
        if names:
            tap = names[0] if isinstance(layer, nn.Conv2d) else names[0].replace("conv", "relu")
            torch.testing.assert_close(features[tap], image, rtol=1e-4, atol=1e-6)


def test_network_ends_at_the_deepest_tap(weights: Weights) -> None:
    network = VGG(weights.tensors, ["relu3_1", "conv2_1"])
    assert list(network.layers)[-1] == "relu3_1"
    assert list(VGG(weights.tensors, ["conv2_2"]).layers)[-1] == "conv2_2"


def test_network_is_frozen_and_stays_in_eval_mode(weights: Weights) -> None:
    network = VGG(weights.tensors, ["relu2_1"])
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.train().training


def test_tap_before_a_relu_is_not_overwritten_by_it(weights: Weights) -> None:
    image = torch.randn(1, 3, 16, 16)
    features = VGG(weights.tensors, ["conv1_1", "relu1_1"])(image)
    assert features["conv1_1"].min() < 0
    torch.testing.assert_close(features["relu1_1"], features["conv1_1"].relu())


def test_relu_behind_the_pooling_changes_nothing(weights: Weights) -> None:
    deepest = "relu3_1"
    late = VGG(weights.tensors, [deepest])
    early = VGG(weights.tensors, ["relu1_2", "relu2_2", deepest])
    assert list(late.layers)[3:5] == ["pool1", "relu1_2"]
    assert list(early.layers)[3:5] == ["relu1_2", "pool1"]
    image = torch.randn(1, 3, 32, 48)
    found = []
    for network in (late, early):
        variable = image.clone().requires_grad_()
        feature = network(variable)[deepest]
        feature.square().sum().backward()
        found.append((feature, variable.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_average_pooling(weights: Weights) -> None:
    image = torch.randn(1, 3, 16, 16)
    shallow = VGG(weights.tensors, ["relu1_2", "conv2_1"], "avg")(image)
    pooled = nn.functional.avg_pool2d(shallow["relu1_2"], 2)
    expected = nn.functional.conv2d(
        pooled, weights.tensors["conv2_1.weight"], weights.tensors["conv2_1.bias"], padding=1
    )
    torch.testing.assert_close(shallow["conv2_1"], expected, rtol=1e-4, atol=1e-5)


def test_unknown_tap_lists_the_valid_ones(weights: Weights) -> None:
    with pytest.raises(InputError, match=r"'relu6_1'.*conv1_1, relu1_1.*relu5_4"):
        VGG(weights.tensors, ["relu6_1"])


def test_weights_that_end_too_early(weights: Weights) -> None:
    trunk = {k: v for k, v in weights.tensors.items() if k < "conv3"}
    with pytest.raises(InputError, match=r"end before relu3_1: conv3_1 is missing"):
        VGG(trunk, ["relu3_1"])


@pytest.mark.parametrize(("tap", "side"), [("relu1_2", 1), ("conv2_1", 2), ("relu5_1", 16)])
def test_minimum_side_is_the_smallest_that_runs(weights: Weights, tap: str, side: int) -> None:
    assert VGG_19.minimum_side([tap]) == side
    network = VGG(weights.tensors, [tap])
    assert network(torch.randn(1, 3, side, side))[tap].numel() > 0
    if side > 1:
        with pytest.raises(RuntimeError, match="too small"):
            network(torch.randn(1, 3, side - 1, side))
