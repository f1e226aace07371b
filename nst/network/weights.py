"""Where the network's weights come from, and that they are what they claim to be.

Every source ends in the same thing: the tensors of a VGG's convolutions by name (`conv1_1.weight`,
`conv1_1.bias`, ...) and a record of what they are.
"""

import hashlib
import logging
import pickle
import socket
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor

from nst import files
from nst.errors import InputError
from nst.network.architecture import ARCHITECTURES, VGG_19, Architecture, Name
from nst.network.preprocessing import Convention

log = logging.getLogger(__name__)

# What is published of a file's SHA-256, its first eight hexadecimal digits, is in its name.
IMAGENET_URLS: dict[Name, str] = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
}
# Likewise of the networks of the VGG paper's authors, turned from Caffe's files by Justin Johnson:
# https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth and vgg16-00b39a1b.pth.
CAFFE_SHA256 = ("d01eb7cb", "00b39a1b")
# MB of ImageNet's files, as torchvision counts them.
_SIZES: dict[Name, int] = {"vgg19": 548, "vgg16": 528}
# The trunk that comes with the package, and what its file must hash to.
EMBEDDED = Path(__file__).parent / "embedded" / "vgg19.safetensors"
EMBEDDED_SHA256 = "3c84f806e32a71e7a87f99235219775fbf9a14168a53e69057f811a40c5ea6b3"
# Seconds without an answer after which a download is given up.
_TIMEOUT = 20.0


class WeightsError(InputError):
    """Weights that cannot be fetched, read or verified; the message says why."""


@dataclass(frozen=True)
class Weights:
    """The weights of a VGG's convolutions.

    Attributes:
        tensors: `convB_I.weight` (out x in x 3 x 3) and `convB_I.bias` (out), float32 on the CPU,
            for an input of R, G and B in this order. A file may hold only the first convolutions.
        source: `imagenet`, `embedded`, `random` or `file`.
        sha256: of the file; for `random` of the tensors themselves.
        detail: the path, or the seed.
        architecture: the network.
        convention: of its input, see `nst.network.preprocessing`.
    """

    tensors: Mapping[str, Tensor]
    source: str
    sha256: str
    detail: str
    architecture: Architecture = VGG_19
    convention: Convention = "torchvision"


@lru_cache(maxsize=2)
def resolve(
    spec: str,
    seed: int = 0,
    architecture: Name = "vgg19",
    convention: Convention | Literal["auto"] = "auto",
) -> Weights:
    """The weights that a spec names.

    Args:
        spec: `imagenet`: torchvision's `IMAGENET1K_V1`, from torch hub's cache or downloaded;
            `embedded`: see `embedded_weights`; `random`: see `random_weights`; `auto`: `imagenet`
            where it can be had, otherwise `embedded` with a warning; anything else: the path of a
            `.pth`, `.pt` or `.safetensors` file.
        seed: of `random`.
        architecture: `vgg19`, or `vgg16`, of which there are no embedded ones.
        convention: of the network's input; `auto` is what is known of the file, see `file_weights`.

    The last answers are kept, so the jobs of a sweep in one process decide and load once.

    Raises:
        WeightsError: they cannot be had, or are not this network's.
    """
    if spec not in ("random", "embedded", "imagenet", "auto"):
        return file_weights(Path(spec), architecture=architecture, convention=convention)
    if convention == "caffe":
        raise WeightsError(f"model.input=caffe is for weights in a file, not for {spec}")
    found = _named(spec, seed, architecture)
    return found if convention == "auto" else replace(found, convention=convention)


def _named(spec: str, seed: int, architecture: Name) -> Weights:
    """The weights that a name other than a path stands for; see `resolve`."""
    if spec == "random":
        return random_weights(seed, ARCHITECTURES[architecture])
    if spec == "embedded":
        if architecture != "vgg19":
            raise WeightsError("the embedded weights are of VGG-19: use model=vgg19 with them")
        return embedded_weights()
    try:
        return imagenet_weights(IMAGENET_URLS[architecture], architecture=architecture)
    except WeightsError as error:
        if spec == "imagenet" or architecture != "vgg19":
            raise
        log.warning(
            "NO IMAGENET WEIGHTS: %s. Going on with the EMBEDDED network, trained on drawn "
            "textures: its pictures and losses differ from those with ImageNet weights. "
            "model.weights=embedded says that this is intended, model.weights=PATH uses a file "
            "of your own.",
            error,
        )
        return embedded_weights()


def imagenet_weights(
    url: str = IMAGENET_URLS["vgg19"], sha256: str | None = None, architecture: Name = "vgg19"
) -> Weights:
    """ImageNet weights of torchvision from torch hub's cache, downloaded first where missing.

    The SHA-256 is checked on every load. A cached file that fails is set aside (`.corrupt`) and
    fetched again.

    Args:
        url: where the file is; its last part is the name in the cache.
        sha256: the first digits of the file's SHA-256; None is those in its name.
        architecture: the network that they are of.

    Raises:
        WeightsError: no connection, a cut-off download, or a file with another SHA-256.
    """
    name = url.rpartition("/")[2]
    sha256 = sha256 or Path(name).stem.rpartition("-")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.exists() and not files.sha256(path).startswith(sha256):
        aside = path.with_name(path.name + ".corrupt")
        log.warning("%s: wrong SHA-256, set aside as %s", path, aside.name)
        path.replace(aside)
    if not path.exists():
        log.warning(  # which is shown where nobody has set up a log, too
            "Downloading ImageNet's %s (%d MB, once) to %s; model.weights=embedded needs no "
            "download",
            ARCHITECTURES[architecture].name,
            _SIZES[architecture],
            path,
        )
        _download(url, path, sha256)
    return file_weights(path, "imagenet", architecture, "torchvision")


def embedded_weights() -> Weights:
    """The trunk that comes with the package: conv1_1 to conv5_1, trained on drawn textures.

    How it was made and what it is good for is in `nst/network/embedded/README.md`. Its filters have
    a mean activation of 1 over the training pictures, so it needs no weights of its own for the
    losses.

    Raises:
        WeightsError: the file is missing or altered.
    """
    weights = file_weights(EMBEDDED, source="embedded")
    if weights.sha256 != EMBEDDED_SHA256:
        raise WeightsError(f"{EMBEDDED}: altered (wrong SHA-256): install the package again")
    return weights


def file_weights(
    path: Path,
    source: str = "file",
    architecture: Name = "vgg19",
    convention: Convention | Literal["auto"] = "auto",
) -> Weights:
    """Weights from a local file.

    Args:
        path: a state dict saved by `torch.save` (read with `weights_only=True`, so that nothing in
            it can run code) or a `.safetensors` file, with torchvision's names: all of `vgg19()`
            (`features.0.weight`, ...) or its `features` alone (`0.weight`, ...); or with the names
            that Gatys et al. have in theirs (`conv1_1.weight`, ...).
        source: recorded in the result.
        architecture: the network that they must be of.
        convention: of the network's input; `auto` is `caffe` for the files in `CAFFE_SHA256` and
            for those with the names of Gatys et al., otherwise `torchvision`.

    Raises:
        WeightsError: missing or unreadable file, or the weights of another network.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weights file (model.weights is auto, imagenet, embedded, random or "
            "a path)"
        )
    try:
        digest = files.sha256(path)
        state = _read(path)
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        AttributeError,
        Warning,
        struct.error,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise WeightsError(
            f"{path}: unreadable weights: neither .safetensors nor tensors saved by torch.save "
            f"({type(error).__name__})"
        ) from error
    if convention == "auto":
        original = digest.startswith(CAFFE_SHA256) or "conv1_1.weight" in state
        convention = "caffe" if original else "torchvision"
    tensors = _pick(state, path, ARCHITECTURES[architecture])
    if convention == "caffe":
        # Its first filters see B, G and R in this order.
        tensors["conv1_1.weight"] = tensors["conv1_1.weight"].flip(1)
    return Weights(tensors, source, digest, str(path), ARCHITECTURES[architecture], convention)


def random_weights(seed: int = 0, architecture: Architecture = VGG_19) -> Weights:
    """A calibrated random network: a control that needs no file.

    Filters are He-normal. Then, layer by layer, each channel's pre-activation is brought to zero
    mean and unit variance on a fixed batch of smooth random images, so that activations neither
    vanish nor explode and the Gram matrices of deep layers carry signal (in the spirit of
    Mishkin, Matas, *All you need is a good init*, arXiv 1511.06422). The poolings of the
    calibration are averages: use it with `pooling=avg`.

    Args:
        seed: of the filters; the calibration batch never changes.
        architecture: the network.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    # float64, so that the last bit of the result does not depend on the number of threads.
    signal = _calibration_batch()
    for name, _, inputs, outputs in architecture.convolutions:
        if architecture.pooling_before(name):
            signal = F.avg_pool2d(signal, 2)
        filters = (
            torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        )
        response = F.conv2d(signal, filters.double(), padding=1)
        std, mean = torch.std_mean(response, dim=(0, 2, 3))
        signal = ((response - mean[:, None, None]) / std[:, None, None]).relu_()
        tensors[f"{name}.weight"] = (filters / std[:, None, None, None]).float()
        tensors[f"{name}.bias"] = (-mean / std).float()
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.numpy().tobytes())
    return Weights(tensors, "random", digest.hexdigest(), f"seed {seed}", architecture)


def _calibration_batch() -> Tensor:
    """Four 64 px images with the 1/f amplitude spectrum of natural scenes, unit variance."""
    generator = torch.Generator("cpu").manual_seed(1508_06576)
    noise = torch.randn(4, 3, 64, 64, generator=generator, dtype=torch.float64)
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]) * 64
    images = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency.clamp(min=1), s=(64, 64))
    calibrated: Tensor = images / images.std()
    return calibrated


def _download(url: str, path: Path, sha256: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(_TIMEOUT):
            # Downloads to a temporary name beside `path`, with a progress bar, and renames once the
            # hash is right. What ends it early removes the temporary file.
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=True)
    except URLError as error:
        raise WeightsError(f"cannot download {url} ({error.reason})") from error
    except OSError as error:
        raise WeightsError(f"cannot download {url} to {path} ({error})") from error
    except RuntimeError as error:
        raise WeightsError(f"downloaded {url}, but it is cut off or altered ({error})") from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Torch hub sets no time limit of its own: a silent firewall would hang the program."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    with warnings.catch_warnings():
        # What loads only with a warning was not written by torch.save.
        warnings.simplefilter("error")
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping):
        raise ValueError(f"holds a {type(state).__name__}, not a state dict")
    return state


def _pick(state: Mapping[str, Tensor], path: Path, architecture: Architecture) -> dict[str, Tensor]:
    """The convolutions out of a state dict, checked for shape.

    Raises:
        WeightsError: they are another network's.
    """
    tensors = _fitting(state, path, architecture)
    for name, other in ARCHITECTURES.items():
        if len(_fitting(state, path, other)) > len(tensors):
            raise WeightsError(f"{path}: {other.name}, not {architecture.name}: use model={name}")
    if not tensors:
        raise WeightsError(
            f"{path}: not {architecture.name}: it has no features.0.weight and features.0.bias"
        )
    tensors = {key: tensor.float() for key, tensor in tensors.items()}
    for key, tensor in tensors.items():
        if not all(map(torch.isfinite, tensor.aminmax())):
            raise WeightsError(f"{path}: {key} holds values that are not finite")
    return tensors


def _fitting(
    state: Mapping[str, Tensor], path: Path, architecture: Architecture
) -> dict[str, Tensor]:
    """A network's first convolutions, as far as a state dict has tensors for them.

    A file may be of a trunk: the taps decide later whether it reaches deep enough.

    Raises:
        WeightsError: a tensor has not the network's shape.
    """
    prefix = "features." if any(str(key).startswith("features.") for key in state) else ""
    tensors: dict[str, Tensor] = {}
    for name, index, inputs, outputs in architecture.convolutions:
        for key in (f"{prefix}{index}", name):
            weight, bias = state.get(f"{key}.weight"), state.get(f"{key}.bias")
            if weight is not None and bias is not None:
                break
        else:
            break
        expected = (outputs, inputs, 3, 3)
        if tuple(weight.shape) != expected or tuple(bias.shape) != (outputs,):
            raise WeightsError(
                f"{path}: not {architecture.name}: {key}.weight is {tuple(weight.shape)}, "
                f"{name} needs {expected}"
            )
        tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return tensors
