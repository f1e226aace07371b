"""Where weights come from: random, files, and the download, against a server on loopback."""

import hashlib
import http.server
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from nst.network import weights as sources
from nst.network.vgg import VGG
from nst.network.weights import Weights, WeightsError
from support import posix


@pytest.fixture(scope="module")
def trunk() -> dict[str, torch.Tensor]:
    """The first two convolutions with torchvision's names."""
    torch.manual_seed(0)
    features = torchvision.models.vgg19(weights=None).features
    return {f"features.{k}": v.clone() for k, v in features[:4].state_dict().items()}


def test_random_weights_are_calibrated(weights: Weights) -> None:
    """On pictures unlike the calibration batch too, activations keep their scale to the end."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    image = torch.stack([torch.sin(x / 5), torch.sin(y / 9), torch.cos((x + y) / 7)])[None]
    features = VGG(weights.tensors, ["conv1_1", "conv3_1", "conv5_1", "conv5_4"], "avg")(image)
    for tap, feature in features.items():
        assert 0.1 < feature.std().item() < 10, tap


def test_calibration_brings_each_channel_to_zero_mean_and_unit_variance(weights: Weights) -> None:
    batch = sources._calibration_batch()
    features = VGG(weights.tensors, ["conv1_1", "conv4_2", "conv5_1"], "avg").double()(batch)
    for feature in features.values():
        std, mean = torch.std_mean(feature, dim=(0, 2, 3))
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        torch.testing.assert_close(std, torch.ones_like(std), atol=1e-3, rtol=0)


def test_random_weights_hang_on_the_seed_alone(weights: Weights) -> None:
    torch.manual_seed(99)
    again = sources.random_weights(0)
    assert again.sha256 == weights.sha256
    assert sources.random_weights(1).sha256 != weights.sha256


@pytest.mark.parametrize("form", ["full.pth", "features.pth", "full.safetensors"])
def test_local_file(trunk: dict[str, torch.Tensor], tmp_path: Path, form: str) -> None:
    state = dict(trunk)
    if form.startswith("features"):
        state = {k.removeprefix("features."): v for k, v in state.items()}
    path = tmp_path / form
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    loaded = sources.file_weights(path)
    assert set(loaded.tensors) == {f"conv1_{i}.{p}" for i in (1, 2) for p in ("weight", "bias")}
    assert torch.equal(loaded.tensors["conv1_2.weight"], trunk["features.2.weight"])
    assert (loaded.source, loaded.detail) == ("file", str(path))
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_whole_state_dict_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = torchvision.models.vgg19(weights=None, num_classes=2).state_dict()
    kept = {k: v for k, v in state.items() if "classifier.6" in k or k.startswith("features")}
    torch.save(kept, tmp_path / "a.pth")
    loaded = sources.file_weights(tmp_path / "a.pth")
    assert torch.equal(loaded.tensors["conv5_4.bias"], state["features.34.bias"])
    assert len(loaded.tensors) == 32


def test_files_that_are_not_vgg19(trunk: dict[str, torch.Tensor], tmp_path: Path) -> None:
    other = torchvision.models.resnet18(weights=None).state_dict()
    shape = {**trunk, "features.2.weight": torch.zeros(64, 32, 3, 3)}
    broken = {**trunk, "features.0.bias": torch.full((64,), float("nan"))}
    for state, reason in (
        (other, "not VGG-19: it has no features.0.weight"),
        (shape, r"not VGG-19: features.2.weight is \(64, 32, 3, 3\), conv1_2 needs"),
        (broken, "conv1_1.bias holds values that are not finite"),
        ([1, 2], "unreadable"),
    ):
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match=reason):
            sources.file_weights(tmp_path / "a.pth")


def test_damaged_files(trunk: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(trunk, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("cut.pth", "text.pth", "empty.pth", "text.safetensors"):
        with pytest.raises(WeightsError, match=f"{name}: unreadable weights"):
            sources.file_weights(tmp_path / name)
    with pytest.raises(WeightsError, match="no such weights file"):
        sources.file_weights(tmp_path / "none.pth")


def test_weights_file_cannot_run_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "a.pth").write_bytes(pickle.dumps({"features.0.weight": Malicious()}))
    torch.save({"features.0.weight": Malicious()}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match="unreadable weights"):
            sources.file_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; paths below /cut/ break off half-way, those below /slow/ stop there."""

    def do_GET(self) -> None:
        path = Path(self.directory) / self.path.rpartition("/")[2]
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[:half])
        if self.path.startswith("/slow/"):
            self.server.go_on.wait(60)  # type: ignore[attr-defined]
        elif not self.path.startswith("/cut/"):
            self.wfile.write(data[half:])

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def server(
    trunk: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves tiny.pth on loopback; torch hub's cache is an empty folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save(trunk, folder / "tiny.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def handler(*arguments: object) -> Handler:
        return Handler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.requests = []  # type: ignore[attr-defined]
        running.go_on = threading.Event()  # type: ignore[attr-defined]
        running.url = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
        running.sha256 = hashlib.sha256(  # type: ignore[attr-defined]
            (folder / "tiny.pth").read_bytes()
        ).hexdigest()
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_download_then_cache(server, tmp_path: Path) -> None:
    for _ in range(2):
        loaded = sources.imagenet_weights(f"{server.url}/tiny.pth", server.sha256[:8])
        assert (loaded.source, loaded.sha256) == ("imagenet", server.sha256)
    assert server.requests == ["/tiny.pth"]
    assert cached(tmp_path) == ["tiny.pth"]


@pytest.mark.parametrize("fault", ["cut", "hash"])
def test_bad_download_never_takes_the_real_name(server, tmp_path: Path, fault: str) -> None:
    url = f"{server.url}/{'cut/' if fault == 'cut' else ''}tiny.pth"
    digest = "0" * 8 if fault == "hash" else server.sha256[:8]
    with pytest.raises(WeightsError, match=r"cut off or altered|cannot download"):
        sources.imagenet_weights(url, digest)
    assert cached(tmp_path) == []


def test_download_says_what_it_is_before_it_begins(
    server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.imagenet_weights(f"{server.url}/tiny.pth", server.sha256[:8])
    assert "Downloading ImageNet's VGG-19 (548 MB, once) to " in caplog.text
    assert "model.weights=embedded needs no download" in caplog.text
    assert "100%" in capsys.readouterr().err


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_first_signal_ends_a_download_and_leaves_no_half_file(
    server, tmp_path: Path, name: str, code: int
) -> None:
    program = f"""
import sys
from nst.cli import app
from nst.network import weights
weights.IMAGENET_URLS["vgg19"] = "{server.url}/slow/tiny.pth"
sys.argv = ["nst", "model.weights=imagenet", "size=32", "hydra.run.dir=run"]
app.main()
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as running:
        try:
            while not (cached(tmp_path) and server.requests):
                assert running.poll() is None
                time.sleep(0.05)
            assert cached(tmp_path)[0].endswith(".partial")
            assert server.requests == ["/slow/tiny.pth"]
            running.send_signal(getattr(signal, name))
            assert running.wait(60) == code
        finally:
            running.kill()
            server.go_on.set()
    assert cached(tmp_path) == []


def test_cached_file_that_was_altered_is_set_aside_and_fetched_again(
    server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{server.url}/tiny.pth"
    sources.imagenet_weights(url, server.sha256[:8])
    path = tmp_path / "torch" / "hub" / "checkpoints" / "tiny.pth"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert sources.imagenet_weights(url, server.sha256[:8]).sha256 == server.sha256
    assert cached(tmp_path) == ["tiny.pth", "tiny.pth.corrupt"]
    assert "wrong SHA-256" in caplog.text


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(WeightsError, match="cannot download"):
        sources.imagenet_weights("http://127.0.0.1:1/tiny.pth", "0")
    assert cached(tmp_path) == []


def test_auto_falls_back_with_one_warning_and_imagenet_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def offline(url: str, architecture: str) -> Weights:
        raise WeightsError("no network")

    monkeypatch.setattr(sources, "imagenet_weights", offline)
    sources.resolve.cache_clear()
    try:
        assert sources.resolve("auto").source == "embedded"
        assert sources.resolve("auto").source == "embedded"
        assert caplog.text.count("NO IMAGENET WEIGHTS") == 1
        with pytest.raises(WeightsError, match="no network"):
            sources.resolve("imagenet")
    finally:
        sources.resolve.cache_clear()


def test_published_hash_is_the_one_in_the_published_name() -> None:
    models = torchvision.models
    official = {"vgg19": models.VGG19_Weights, "vgg16": models.VGG16_Weights}
    urls = {name: kind.IMAGENET1K_V1.url for name, kind in official.items()}
    assert urls == sources.IMAGENET_URLS
