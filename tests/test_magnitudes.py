"""Weights that are meant for another network's distances."""

from pathlib import Path

import pytest
from torch import Tensor

import nst
from nst.errors import InputError
from nst.network.vgg import Trunk
from nst.network.weights import Weights, embedded_weights
from nst.objective import magnitudes
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE, TAPS

KEYS = [f"content/{tap}" for tap in GATYS_CONTENT] + [f"style/{tap}" for tap in GATYS_STYLE]


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return Trunk.of(embedded_weights())


def times(weights: Weights, factor: float) -> Weights:
    """A network with activations so many times as large in every layer."""
    tensors = {
        key: value * factor if key == "conv1_1.weight" or key.endswith("bias") else value
        for key, value in weights.tensors.items()
    }
    return Weights(tensors, "file", "", "")


@pytest.mark.slow
def test_distances_are_brought_to_those_of_caffe(trunk: Trunk) -> None:
    found = magnitudes.factors(trunk, KEYS)
    own = magnitudes.distances(trunk, TAPS)
    for key in KEYS:
        assert found[key] * own[key] == pytest.approx(magnitudes._CAFFE[key])


@pytest.mark.slow
def test_factors_undo_the_size_of_activations(trunk: Trunk) -> None:
    large = Trunk.of(times(trunk.weights, 3.0))
    here, there = (magnitudes.factors(one, KEYS) for one in (trunk, large))
    for key in KEYS:
        power = 2 if key.startswith("content") else 4
        assert there[key] * 3.0**power == pytest.approx(here[key], rel=1e-4)


def test_caffes_own_network_is_left_alone(trunk: Trunk) -> None:
    original = Weights(trunk.weights.tensors, "file", "", "", convention="caffe")
    assert set(magnitudes.factors(Trunk.of(original), KEYS).values()) == {1.0}


def test_only_known_layers(trunk: Trunk) -> None:
    with pytest.raises(InputError, match=r"loss\.meant_for=caffe: style/relu3_2 is not among"):
        magnitudes.factors(trunk, ["style/relu3_2"])


@pytest.mark.slow
def test_a_run_weighs_its_layers_so(trunk: Trunk, content_path: Path, style_path: Path) -> None:
    def total(meant_for: magnitudes.Meant | None, **weights: dict[str, float]) -> nst.Row:
        loss = nst.Loss(
            strength=None, content_weight=5, style_weight=100, meant_for=meant_for, **weights
        )
        return nst.stylize(
            content_path,
            style_path,
            size=32,
            loss=loss,
            network=nst.Network("embedded"),
            init=nst.inits.gray,
            budget=nst.Budget(evaluations=1),
        ).losses[0]

    found = magnitudes.factors(trunk, KEYS)
    content = {tap: found[f"content/{tap}"] for tap in GATYS_CONTENT}
    style = {tap: found[f"style/{tap}"] for tap in GATYS_STYLE}
    expected = total(None, content_layers=content, style_layers=style)
    assert total("caffe").terms == pytest.approx(expected.terms, rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        {"strength": 0.5},
        {"strength": None, "style_loss": nst.statistics.Covariance()},
        {"strength": None, "gradients": True},
    ],
)
def test_not_of_other_losses(loss: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="meant_for: is for plain weights"):
        nst.Loss(meant_for="caffe", **loss)
