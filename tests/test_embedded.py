"""The embedded network: its file, and that it sees more than random filters do."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import eval_weights
from nst.network import weights as sources
from nst.network.vgg import VGG
from nst.network.weights import Weights, WeightsError
from nst.pictures import images
from support import REPOSITORY


@pytest.fixture(scope="module")
def embedded() -> Weights:
    return sources.embedded_weights()


def test_embedded_file_is_small_and_deep_enough(embedded: Weights) -> None:
    assert sources.EMBEDDED.stat().st_size <= 28_000_000
    assert embedded.source == "embedded"
    assert "conv5_1.weight" in embedded.tensors
    card = sources.EMBEDDED.with_name("README.md").read_text()
    assert sources.EMBEDDED_SHA256 in card


def test_altered_embedded_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "altered.safetensors"
    save_file({"0.weight": torch.zeros(64, 3, 3, 3), "0.bias": torch.zeros(64)}, altered)
    monkeypatch.setattr(sources, "EMBEDDED", altered)
    with pytest.raises(WeightsError, match="altered"):
        sources.embedded_weights()
    monkeypatch.setattr(sources, "EMBEDDED", tmp_path / "vgg19.safetensors")
    with pytest.raises(WeightsError, match="no such weights file"):
        sources.embedded_weights()


def test_embedded_activations_keep_their_scale_on_pictures(embedded: Weights) -> None:
    """Mean activations of 1 over the training pictures stay near it on the samples."""
    network = VGG(embedded.tensors, eval_weights.TAPS, "max")
    for name in ("content.jpg", "style.jpg"):
        picture = images.load(REPOSITORY / "nst" / "samples" / name)
        with torch.no_grad():
            for tap, features in network(images.to_tensor(picture, 128)).items():
                assert 0.3 < features.mean().item() < 3, tap


@pytest.mark.slow
def test_embedded_network_knows_drawn_textures_that_it_never_saw(tmp_path: Path) -> None:
    """The scripts as a user types them; the model card has the figures of the full measurement."""
    scripts = REPOSITORY / "scripts"
    run = [sys.executable, str(scripts / "textures.py"), "t", "--count", "16", "--side", "160"]
    subprocess.run(run, cwd=tmp_path, check=True, timeout=120)
    run = [sys.executable, str(scripts / "eval_weights.py"), "t", "--crops", "4", "--side", "64"]
    run += ["--longest", "160", "--grid", "t/1000000000.png", "t/1000000001.png"]
    run += ["--size", "32", "--evaluations", "2"]
    done = subprocess.run(
        run, cwd=tmp_path, check=True, timeout=300, capture_output=True, text=True
    )
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    embedded, random = float(lines["embedded"][-1]), float(lines["random"][-1])
    assert embedded > random
    assert embedded > 0.9
    with Image.open(tmp_path / "outputs" / "weights" / "grid.png") as picture:
        assert picture.width > picture.height
