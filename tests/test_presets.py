"""The settings of other programs: their losses by their own formulas, and that they run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.cli import build, schema
from nst.cli.schema import RunConf
from nst.network.vgg import Trunk
from nst.network.weights import Weights, random_weights
from nst.objective import transfer
from nst.objective.magnitudes import factors
from nst.pictures.images import MEAN, STD
from nst.run.strategy import Alone
from support import Command, composed

PRESETS = [
    "neural_style_pt",
    "johnson",
    "gatys_2016",
    "pystiche",
    "pytorch_tutorial",
    "crowsonkb",
    "gordicaleksa",
]
RELUS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]


def pixels(height: int, width: int, seed: int) -> Tensor:
    """A picture in [0, 1] with neighbours that are alike, 1 x 3 x H x W in float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=generator, dtype=torch.float64)
    picture = F.interpolate(coarse, (height, width), mode="bilinear")
    return picture.clamp(0, 1)


# Sides that no pooling leaves anything over of, see the presets' comments.
IMAGE, CONTENT, STYLE = pixels(48, 64, 1), pixels(48, 64, 2), pixels(64, 48, 3)


class Network:
    """VGG-19 by torch's functions alone, as the programs' networks are.

    Args:
        weights: with filters for R, G and B.
        prepared: what a network sees of a picture in [0, 1].
        first_padding: of the first convolution, see `F.pad`.
    """

    def __init__(
        self,
        weights: Weights,
        prepared: Callable[[Tensor], Tensor],
        first_padding: str = "constant",
    ) -> None:
        self._prepared = prepared
        self._tensors = {key: value.double() for key, value in weights.tensors.items()}
        self._names = [name for name, *_ in weights.architecture.convolutions]
        self._first_padding = first_padding

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        image = self._prepared(picture)
        found, block = {}, "1"
        for name in self._names:
            if name[4] != block:
                image, block = F.max_pool2d(image, 2), name[4]
            mode = self._first_padding if name == "conv1_1" else "constant"
            padded = F.pad(image, (1, 1, 1, 1), mode)
            kernel, bias = (self._tensors[f"{name}.{kind}"] for kind in ("weight", "bias"))
            found[name] = F.conv2d(padded, kernel, bias)
            image = found[name.replace("conv", "relu")] = found[name].relu()
        return found


def channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def normalised(picture: Tensor) -> Tensor:
    return (picture - channels(MEAN)) / channels(STD)


def in_caffe(picture: Tensor) -> Tensor:
    """The picture as Caffe's networks see it, but in the order R, G, B, as the filters are here."""
    return 255 * picture - channels((123.68, 116.779, 103.939))


def gram(features: Tensor, divisor: str) -> Tensor:
    matrix = features[0].flatten(1)
    sizes = {"chw": matrix.numel(), "hw": matrix.shape[1]}
    return matrix @ matrix.T / sizes[divisor]


def mean_square(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean()


def style_terms(see: Network, taps: list[str], divisor: str) -> list[Tensor]:
    here, there = see(IMAGE), see(STYLE)
    return [mean_square(gram(here[tap], divisor), gram(there[tap], divisor)) for tap in taps]


def content_term(see: Network, tap: str = "relu4_2") -> Tensor:
    return mean_square(see(IMAGE)[tap], see(CONTENT)[tap])


def neural_style_pt(weights: Weights) -> Tensor:
    see = Network(weights, in_caffe)
    levels = 255 * IMAGE
    variation = levels.diff(dim=2).abs().sum() + levels.diff(dim=3).abs().sum()
    style = sum(style_terms(see, RELUS, "chw"))
    return 5 * content_term(see) + 100 * style + 1e-3 * variation


def johnson(weights: Weights) -> Tensor:
    see = Network(weights, in_caffe)
    levels = 256 * IMAGE
    right = levels[..., :-1, :-1] - levels[..., :-1, 1:]
    below = levels[..., :-1, :-1] - levels[..., 1:, :-1]
    variation = (right.square().sum() + below.square().sum()) / 2
    style = sum(style_terms(see, RELUS, "chw"))
    return 5 * content_term(see) + 100 * style + 1e-3 * variation


def gatys_2016(weights: Weights) -> Tensor:
    see = Network(weights, in_caffe)
    terms = style_terms(see, RELUS, "hw")
    widths = [64, 128, 256, 512, 512]
    style = sum(1e3 / width**2 * term for width, term in zip(widths, terms, strict=True))
    return content_term(see) + style


def pystiche(weights: Weights) -> Tensor:
    see = Network(weights, normalised)
    return content_term(see) + 1e3 * sum(style_terms(see, RELUS, "hw")) / 5


def pytorch_tutorial(weights: Weights) -> Tensor:
    see = Network(weights, normalised)
    taps = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]
    return content_term(see, "conv2_2") + 1e6 * sum(style_terms(see, taps, "chw"))


def crowsonkb(weights: Weights) -> Tensor:
    see = Network(weights, normalised, "replicate")

    def moments(features: Tensor) -> tuple[Tensor, Tensor]:
        matrix = features[0].flatten(1)
        mean = matrix.mean(1)
        covariance = matrix @ matrix.T / matrix.shape[1] - torch.outer(mean, mean)
        return mean, covariance + 1e-4 * torch.eye(len(mean), dtype=torch.float64)

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T

    here, there = see(IMAGE), see(STYLE)
    style = torch.zeros((), dtype=torch.float64)
    for tap, weight in zip(RELUS, [256, 64, 16, 4, 1], strict=True):
        (mean, covariance), (wanted, target) = moments(here[tap]), moments(there[tap])
        rooted = root(target)
        apart = target + covariance - 2 * root(rooted @ covariance @ rooted)
        style += weight / 341 * ((mean - wanted).square().mean() + apart.diagonal().mean())
    padded = F.pad(IMAGE, (1, 1, 1, 1), "replicate")
    inner = padded[..., 1:-1, 1:-1]
    variation = 2 * (
        (padded[..., 1:-1, 2:] - inner).square().mean() / 3
        + (padded[..., 2:, 1:-1] - inner).square().mean() / 3
        + (padded[..., 1:, 1:] - padded[..., :-1, :-1]).square().mean() / 12
        + (padded[..., 1:, :-1] - padded[..., :-1, 1:]).square().mean() / 12
    )
    return 0.015 * content_term(see) + style + 2 * variation


def gordicaleksa(weights: Weights) -> Tensor:
    see = Network(weights, lambda picture: 255 * picture - channels((123.675, 116.28, 103.53)))
    here, there = see(IMAGE), see(STYLE)
    distances = [(gram(here[tap], "chw") - gram(there[tap], "chw")).square().sum() for tap in RELUS]
    levels = 255 * IMAGE
    variation = levels.diff(dim=2).abs().sum() + levels.diff(dim=3).abs().sum()
    return 1e5 * content_term(see) + 3e4 * sum(distances) / 5 + variation


def options_of(preset: str) -> RunConf:
    return schema.validate(composed(f"experiment={preset}"))


@pytest.mark.parametrize("preset", PRESETS)
def test_loss_is_that_of_the_program(preset: str, tmp_path: Path) -> None:
    expected = globals()[preset]
    arguments, _ = build._prepared(options_of(preset), tmp_path, lambda: None, Alone())
    loss, network = arguments.keywords["loss"], arguments.keywords["network"]
    weights = random_weights(1)
    if loss.meant_for:
        convention = "caffe"
        # Activations of a network for levels from 0 to 255 that are about as large as with others.
        weights.tensors["conv1_1.weight"].div_(58)
    else:
        convention = network.input.replace("auto", "torchvision")
    own = Weights(weights.tensors, "file", "", "", convention=convention)
    trunk = Trunk.of(own, network.pooling, network.pooling_scale, network.padding)
    content_layers, style_layers = loss.layers
    keys = [f"content/{tap}" for tap in content_layers] + [f"style/{tap}" for tap in style_layers]
    if loss.meant_for:
        assert set(factors(trunk, keys).values()) == {1.0}
    objective = transfer(
        trunk.network(loss.taps).double(),
        normalised(CONTENT),
        normalised(STYLE),
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=loss.factors[0],
        style_weight=loss.factors[1],
        content_loss=loss.content_loss,
        style_loss=loss.style_loss,
        tv_weight=loss.tv_weight,
        tv_norm=loss.tv_norm,
    )
    total = objective(normalised(IMAGE)).total
    assert total.item() == pytest.approx(expected(weights).item(), rel=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_runs_and_lowers_its_loss(nst_command: Command, tmp_path: Path, preset: str) -> None:
    coarse = {"crowsonkb": "[3,3,3,3,null]", "gatys_2016": "[3,null]"}
    shorter = [f"schedule.evaluations={coarse[preset]}"] if preset in coarse else []
    done = nst_command(
        f"experiment={preset}",
        f"size={96 if preset == 'crowsonkb' else 64}",
        "device=cpu",
        "model.weights=embedded",
        "budget.evaluations=6",
        *shorter,
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    ]
    last = [row["total"] for row in rows if row["scale"] == 1]
    assert min(last) < last[0]
    assert 6 <= rows[-1]["cost"] < 7


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_goes_with_any_optimizer(preset: str) -> None:
    for optimizer in ("adam", "lbfgs"):
        config = composed(f"experiment={preset}", f"optimizer={optimizer}")
        schema.validate(config)
        assert config.optimizer._target_ == f"nst.{optimizer}"
