"""How the embedded network is made and measured: textures, training in little, retrieval."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import eval_weights
import textures
import train_embedded
from nst.network import weights as sources
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG
from nst.network.weights import Weights

TINY = train_embedded.Settings(
    steps=4, batch=4, crop=32, final_crop=48, forms=4, paired=2, palettes=2, realisations=3, side=64
)


# --- Textures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*textures._FAMILIES, textures.mixtures])
def test_every_family_fills_both_planes_with_values_from_0_to_1(family: textures.Draw) -> None:
    for seed in range(8):
        draw = family(np.random.default_rng(seed))
        for plane in draw(np.random.default_rng(seed), 48):
            assert plane.shape == (48, 48)
            assert np.isfinite(plane).all()
        tone = draw(np.random.default_rng(seed), 48)[0]
        assert tone.std() > 1e-3


def test_a_program_is_one_texture_and_its_realisations_differ() -> None:
    drawn = textures.realisations(7, 2, 64)
    assert drawn.shape == (2, 2, 64, 64)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, textures.realisations(7, 2, 64))
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn, textures.realisations(8, 2, 64))


def test_noise_has_the_spectrum_asked_for() -> None:
    plane = textures.noise(np.random.default_rng(0), 256, slope=1.5)
    power = np.abs(np.fft.rfft2(plane)) ** 2
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    bands = [(0.02, 0.04), (0.2, 0.4)]
    low, high = (power[(frequency > a) & (frequency < b)].mean() for a, b in bands)
    assert low / high == pytest.approx(10**3, rel=0.2)  # amplitude f**-1.5 is power f**-3
    assert plane.std() == pytest.approx(1, abs=1e-3)


# --- Training -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    train_embedded.train(TINY, folder, torch.device("cpu"), every=2)
    return folder


@pytest.mark.slow
def test_training_writes_weights_that_the_package_loads(trained: Path) -> None:
    weights = sources.file_weights(trained / "vgg19.safetensors")
    assert weights.tensors["conv5_1.weight"].shape == (512, 512, 3, 3)
    assert "conv5_2.weight" not in weights.tensors
    assert (trained / "figures.json").exists()
    assert list(trained.glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_training_in_two_stretches_equals_training_in_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    batch = train_embedded.Pictures.batch

    def dying(self: train_embedded.Pictures, step: int, *rest: object, **named: object) -> object:
        if step == 3 and not named:
            raise Killed
        return batch(self, step, *rest, **named)

    monkeypatch.setattr(train_embedded.Pictures, "batch", dying)
    with pytest.raises(Killed):
        train_embedded.train(TINY, tmp_path, torch.device("cpu"), every=2)
    monkeypatch.undo()
    train_embedded.train(TINY, tmp_path, torch.device("cpu"), every=2)
    whole, parts = (load_file(f / "vgg19.safetensors") for f in (trained, tmp_path))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_checkpoint_of_another_training_is_refused(trained: Path) -> None:
    with pytest.raises(SystemExit, match="made with other settings"):
        train_embedded.train(replace(TINY, seed=1), trained, torch.device("cpu"))


@pytest.mark.slow
def test_folding_changes_the_scale_of_filters_alone(trained: Path) -> None:
    """Against the network as it was trained, batch norm and all; its mean activations are 1."""
    trunk = train_embedded.Trunk(TINY.classes)
    state = torch.load(trained / "checkpoint.pt", weights_only=True)
    trunk.load_state_dict(state["trunk"])
    pictures = train_embedded.Pictures(TINY, train_embedded.draw_pool(TINY), torch.device("cpu"))
    tensors = train_embedded.fold(trunk, pictures, batches=2)
    images = torch.cat([pictures.batch(-1 - k, *TINY.crops(TINY.steps))[0] for k in range(2)])
    names = [name for name, *_ in VGG_19.convolutions][: len(tensors) // 2]
    renamed = dict(zip(names, zip(*[iter(tensors.values())] * 2, strict=True), strict=True))
    signal = images
    with torch.no_grad():
        for name, expected in trunk.activations(images):
            if VGG_19.pooling_before(name):
                signal = F.max_pool2d(signal, 2)
            weight, bias = (tensor.float() for tensor in renamed[name])
            signal = F.relu(F.conv2d(signal, weight, bias, padding=1))
            mean = expected.mean((0, 2, 3), keepdim=True)
            scaled = expected / mean.clamp(min=0.05 * float(mean.mean()))
            assert (signal - scaled).norm() < 0.01 * scaled.norm(), name  # float16 weights
            assert signal.mean().item() == pytest.approx(1, abs=0.01)


def test_classes_say_form_palette_or_both() -> None:
    pictures = train_embedded.Pictures(TINY, train_embedded.draw_pool(TINY), torch.device("cpu"))
    images, labels = pictures.batch(5, 400, 32)
    assert images.shape == (400, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert set(labels.tolist()) == set(range(TINY.classes))
    again = pictures.batch(5, 400, 32)
    assert torch.equal(images, again[0])
    assert not torch.equal(images, pictures.batch(6, 400, 32)[0])


def test_colour_follows_the_gradients() -> None:
    """Against numbers by hand: two stops' middle, then half way between the two gradients."""
    first = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0.4, 0, 0], [1, 0, 0]])
    second = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
    palette = torch.stack([first, second])[None]
    planes = torch.tensor([[[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.5]]]])
    drawn = train_embedded.colour(planes, palette)[0, :, 0].T
    expected = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0.5, 0.5, 0]])
    torch.testing.assert_close(drawn, expected)


# --- Evaluation -----------------------------------------------------------------------------------


def test_retrieval_of_alike_and_of_unlike_crops(weights: Weights) -> None:
    network = VGG(weights.tensors, eval_weights.TAPS[:2], "avg")
    torch.manual_seed(0)
    smooth, rough = torch.zeros(3, 3, 32, 32), torch.randn(3, 3, 32, 32)
    smooth += torch.linspace(-1, 1, 32) + 0.01 * torch.randn(3, 3, 32, 32)
    found = eval_weights.retrieval(network, [smooth, rough])
    assert found == {"relu1_1": 1.0, "relu2_1": 1.0, "all": 1.0}
    # Every set one of a kind with the other: the nearest neighbour is always in the wrong one.
    mixed = [torch.stack([smooth[k], rough[k]]) for k in range(2)]
    assert eval_weights.retrieval(network, mixed)["all"] == 0.0


def test_disjoint_crops_share_no_pixel() -> None:
    side, random = 32, np.random.default_rng(0)
    y, x = np.mgrid[:96, :128]
    picture = Image.fromarray((y * 2).astype(np.uint8)).convert("RGB")
    assert len(crops(picture, random)) == 10
    codes = crops(Image.fromarray(((y // side) * 60 + (x // side) * 15).astype(np.uint8)), random)
    assert all(crop.std() < 1e-5 for crop in codes[:, 0])
    assert len({round(float(crop.mean()), 4) for crop in codes}) == 10


def crops(picture: Image.Image, random: np.random.Generator) -> Tensor:
    return eval_weights.crops(picture.convert("RGB"), 10, 32, 128, random, disjoint=True)
