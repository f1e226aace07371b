"""Train the VGG-19 trunk that the package carries, on pictures drawn by `textures.py` alone.

The network learns to tell texture programs apart. Three kinds of classes make it see both form and
colour: a *form* is one program in any palette, colour says nothing; a *palette* is one palette on
any program, form says nothing; a *pair* is one program in one palette, where the same program in
other palettes and the same palette on other programs are other classes, so only both together tell.

Linear classifiers on the mean and standard deviation of each tapped layer (what a Gram matrix
holds, in little) train every layer directly: none has to wait for the gradient from the deepest.
The convolutions have batch norm while they learn; afterwards it is folded into them, and each
filter is divided by its mean activation over the training pictures, as Gatys et al. did
(arXiv 1508.06576), which leaves what the network computes as it was.

    python scripts/train_embedded.py --out outputs/embedded          # 1 h 40 min on two cores
    tensorboard --logdir outputs/embedded

Stopped or killed, the same command goes on from the last checkpoint. Everything random follows
from the seed and the number of the step, so a run in stretches equals a run in one piece.
"""

import argparse
import io
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from nst.files import atomic_write
from nst.network.architecture import VGG_19
from nst.pictures.images import statistics
from textures import realisations

# Layers with a classifier of their own: those that the configs of the package tap.
TAPS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")


@dataclass(frozen=True)
class Settings:
    """What a training run is made of; the defaults made the file in the package.

    Attributes:
        seed: of programs, palettes, filters and order.
        steps: gradient steps.
        batch: crops of `crop` px per step; the larger crops at the end come in proportion fewer.
        crop: side of the pictures of the first steps, in px.
        final_crop: side of those of the last quarter, which sees whole scenes.
        forms: programs that are classes by themselves.
        paired: programs seen in four palettes each, every pair a class.
        palettes: palettes that are classes by themselves.
        realisations: how many of each program are drawn.
        side: of a realisation, in px; crops are taken from it.
        rate: highest learning rate.
    """

    seed: int = 0
    steps: int = 6000
    batch: int = 48
    crop: int = 64
    final_crop: int = 128
    forms: int = 700
    paired: int = 50
    palettes: int = 100
    realisations: int = 13
    side: int = 160
    rate: float = 1e-3

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.forms + 4 * self.paired + self.palettes

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a short rise, then half a cosine down to 0."""
        rise = min(1.0, (step + 1) / min(200, self.steps))
        return self.rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def crops(self, step: int) -> tuple[int, int]:
        """How many crops of which side a step takes."""
        if step < 0.75 * self.steps:
            return self.batch, self.crop
        return max(2, round(self.batch * (self.crop / self.final_crop) ** 2)), self.final_crop


# --- Pictures -------------------------------------------------------------------------------------


def draw_pool(settings: Settings) -> Tensor:
    """All realisations: programs x realisations x 2 (tone, hue) x side x side, bytes."""
    count = settings.forms + settings.paired
    seeds = range(settings.seed * 100_000, settings.seed * 100_000 + count)
    draw = partial(realisations, count=settings.realisations, side=settings.side)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        drawn = pool.map(draw, seeds, chunksize=4)
        return torch.from_numpy(np.stack(list(tqdm(drawn, "Drawing programs", total=count))))


def random_palettes(count: int, generator: torch.Generator) -> Tensor:
    """Palettes: count x 2 gradients x 4 stops x RGB in [0, 1].

    A realisation's tone runs along a gradient, its hue goes from the first gradient to the second.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    stops = uniform(count, 2, 4, 1)
    # Mostly from dark to light or back, as paint on canvas; else in any order.
    ordered = stops.sort(dim=2, descending=False).values
    ordered = torch.where(uniform(count, 1, 1, 1) < 0.35, ordered.flip(2), ordered)
    light = torch.where(uniform(count, 1, 1, 1) < 0.75, ordered, stops)
    # Half of them differ in colour alone from gradient to gradient.
    light[:, 1:] = torch.where(uniform(count, 1, 1, 1) < 0.5, light[:, :1], light[:, 1:])
    contrast, middle = 0.35 + 0.65 * uniform(count, 1, 1, 1), uniform(count, 1, 1, 1)
    light = light * contrast + middle * (1 - contrast)
    chroma = torch.randn(count, 2, 4, 3, generator=generator)
    common = torch.randn(count, 1, 1, 3, generator=generator)
    chroma = 0.8 * chroma + 0.35 * common
    chroma = chroma - chroma.mean(-1, keepdim=True)
    strength = 0.35 * uniform(count, 1, 1, 1) * (uniform(count, 1, 1, 1) < 0.75)
    return (light + strength * chroma).clamp(0, 1)


def colour(planes: Tensor, palettes: Tensor) -> Tensor:
    """Tone and hue (n x 2 x h x w in [0, 1]) as n x 3 x h x w images in [0, 1]."""
    count, _, height, width = planes.shape
    tone, hue = planes[:, 0].flatten(1), planes[:, 1].reshape(count, 1, -1, 1)
    place = tone * (palettes.shape[2] - 1)
    lower = place.floor().clamp(max=palettes.shape[2] - 2)
    weight = (place - lower)[:, None, :, None]
    index = lower.long()[:, None, :, None].expand(-1, 2, -1, 3)
    colours = palettes.gather(2, index).lerp(palettes.gather(2, index + 1), weight)
    image = colours[:, 0].lerp(colours[:, 1], hue[:, 0])
    return image.transpose(1, 2).reshape(count, 3, height, width)


class Pictures:
    """Batches of crops and their classes, a function of the number of the step."""

    def __init__(self, settings: Settings, pool: Tensor, device: torch.device):
        self.settings, self.pool = settings, pool.to(device)
        generator = torch.Generator().manual_seed(settings.seed)
        self.fixed = random_palettes(settings.palettes, generator)
        # The palettes of pairs are few, so that each meets many programs.
        self.shared = random_palettes(12, generator)

    def batch(
        self, step: int, count: int, side: int, held_out: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Normalised crops (count x 3 x side x side) and classes (count).

        The last realisation of each program is seen only with `held_out`.
        """
        s = self.settings
        generator = torch.Generator().manual_seed(1_000_003 * (s.seed + 1) + 2 * step + held_out)

        def integers(high: int) -> Tensor:
            return torch.randint(high, (count,), generator=generator)

        def uniform(*shape: int) -> Tensor:
            return torch.rand((count, *shape), generator=generator)

        palettes, kind = random_palettes(count, generator), uniform()
        program = label = integers(s.forms)
        palette = integers(max(s.palettes, 1))
        as_palette = (kind > 0.65) & (kind < 0.8) & (s.palettes > 0)
        label = torch.where(as_palette, s.forms + palette, label)
        palettes[as_palette] = self.fixed[palette[as_palette]]
        paired, which = integers(max(s.paired, 1)), integers(4)
        as_pair = (kind >= 0.8) & (s.paired > 0)
        program = torch.where(as_pair, s.forms + paired, program)
        label = torch.where(as_pair, s.forms + s.palettes + 4 * paired + which, label)
        shared = (5 * paired + 3 * which) % len(self.shared)
        palettes[as_pair] = self.shared[shared[as_pair]]
        grey = (kind < 0.2)[:, None, None, None]
        palettes = torch.where(grey, palettes.mean(-1, keepdim=True), palettes)

        number = (
            torch.full((count,), s.realisations - 1)
            if held_out
            else integers(max(s.realisations - 1, 1))
        )
        device = self.pool.device
        start = integers(s.side - side + 1), integers(s.side - side + 1)
        rows, columns = ((at[:, None] + torch.arange(side)).to(device) for at in start)
        crops = self.pool[
            program.to(device)[:, None, None, None],
            number.to(device)[:, None, None, None],
            torch.arange(2, device=device)[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
        images = colour(crops.float() / 255, palettes.to(device))
        # Exposure and tint vary, as between photographs of one painting.
        gain = 1 + 0.2 * (uniform(1, 1, 1) - 0.5) + 0.06 * (uniform(3, 1, 1) - 0.5)
        offset = 0.1 * (uniform(1, 1, 1) - 0.5)
        images = (images * gain.to(device) + offset.to(device)).clamp(0, 1)
        mean, std = statistics(images)
        normalised = (images - mean) / std
        return normalised.contiguous(memory_format=torch.channels_last), label.to(device)


# --- Network --------------------------------------------------------------------------------------


class Trunk(nn.Module):
    """VGG-19 with batch norm to the last tap, and a linear classifier on each tap."""

    def __init__(self, classes: int):
        super().__init__()
        self.layers, self.heads = nn.ModuleDict(), nn.ModuleDict()
        for name, _, inputs, outputs in VGG_19.convolutions:
            self.layers[name] = nn.ModuleList(
                [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            )
            if name in TAPS:
                self.heads[name] = nn.Linear(2 * outputs, classes)
            if name == TAPS[-1]:
                break
        for layer in self.layers.values():
            nn.init.kaiming_normal_(layer[0].weight, nonlinearity="relu")

    def activations(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each convolution's name and its output after batch norm and ReLU."""
        signal = images
        for name, (convolution, norm) in self.layers.items():
            if VGG_19.pooling_before(name):
                signal = F.max_pool2d(signal, 2)
            signal = F.relu(norm(convolution(signal)))
            yield name, signal

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (n x classes) of every head."""
        logits = {}
        for name, signal in self.activations(images):
            if name in self.heads:
                variance, mean = torch.var_mean(signal.float(), dim=(2, 3))
                logits[name] = self.heads[name](torch.cat([mean, (variance + 1e-4).sqrt()], 1))
        return logits


@torch.no_grad()
def fold(trunk: Trunk, pictures: Pictures, batches: int) -> dict[str, Tensor]:
    """The trained convolutions alone, with torchvision's names, each filter's mean activation 1.

    Batch norm's statistics and the mean activations are taken over the same `batches` of large
    crops. A filter that hardly ever fires is not magnified more than twentyfold.
    """
    settings = pictures.settings
    count, side = settings.crops(settings.steps)
    for _, norm in trunk.layers.values():
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
    trunk.train()
    for k in range(batches):
        for _ in trunk.activations(pictures.batch(-1 - k, count, side)[0]):
            pass
    trunk.eval()
    means: dict[str, Tensor] = {}
    for k in range(batches):
        for name, signal in trunk.activations(pictures.batch(-1 - k, count, side)[0]):
            means[name] = means.get(name, 0) + signal.double().mean((0, 2, 3)) / batches
    tensors, before = {}, torch.ones(3, dtype=torch.float64, device=pictures.pool.device)
    for name, index, _, _ in VGG_19.convolutions:
        if name not in trunk.layers:
            break
        convolution, norm = trunk.layers[name]
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - gain * norm.running_mean.double()
        scale = means[name].clamp(min=0.05 * float(means[name].mean()))
        weight = convolution.weight.double() * (gain / scale)[:, None, None, None]
        tensors[f"features.{index}.weight"] = (
            (weight * before[:, None, None]).half().cpu().contiguous()
        )
        tensors[f"features.{index}.bias"] = (bias / scale).half().cpu()
        before = scale
    return tensors


# --- Training -------------------------------------------------------------------------------------


def train(settings: Settings, out: Path, device: torch.device, every: int = 250) -> Path:
    """Train, or go on where the last checkpoint in `out` left off, and write the weights.

    Args:
        settings: of the run; those of a checkpoint in `out` must be the same.
        out: folder of checkpoint, TensorBoard log, figures and weights.
        device: where to.
        every: steps between checkpoints and held-out accuracies.

    Returns:
        The path of the weights, `vgg19.safetensors`.
    """
    torch.manual_seed(settings.seed)
    trunk = Trunk(settings.classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(trunk.parameters(), settings.rate, weight_decay=0.02)
    checkpoint, start = out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["settings"] != asdict(settings):
            raise SystemExit(f"{checkpoint} was made with other settings: {state['settings']}")
        trunk.load_state_dict(state["trunk"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    pictures = Pictures(settings, draw_pool(settings), device)
    mixed = torch.autocast(device.type, torch.bfloat16)
    with SummaryWriter(str(out), purge_step=start) as board:
        if start == 0:
            images, _ = pictures.batch(0, 64, settings.crop)
            board.add_image("training pictures", make_grid(images, normalize=True), 0)
        for step in tqdm(
            range(start, settings.steps), "Training", initial=start, total=settings.steps
        ):
            images, labels = pictures.batch(step, *settings.crops(step))
            with mixed:
                logits = trunk(images)
            losses = {name: F.cross_entropy(of.float(), labels) for name, of in logits.items()}
            loss = torch.stack(list(losses.values())).mean()
            optimizer.param_groups[0]["lr"] = settings.rate_at(step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done = step + 1
            if done % 20 == 0:
                board.add_scalar("loss/mean", loss.item(), done)
                for name, of in losses.items():
                    board.add_scalar(f"loss/{name}", of.item(), done)
                board.add_scalar("learning rate", optimizer.param_groups[0]["lr"], done)
            if done % every == 0 or done == settings.steps:
                accuracies = held_out(trunk, pictures, done)
                for name, accuracy in accuracies.items():
                    board.add_scalar(f"accuracy/{name}", accuracy, done)
                state = {"trunk": trunk.state_dict(), "optimizer": optimizer.state_dict()}
                state |= {"step": done, "settings": asdict(settings)}
                buffer = io.BytesIO()
                torch.save(state, buffer)
                atomic_write(checkpoint, buffer.getvalue())
        accuracies = held_out(trunk, pictures, settings.steps)
    tensors = fold(trunk, pictures, batches=100 if settings.steps > 100 else 2)
    figures = {"settings": asdict(settings), "held_out_accuracy": accuracies}
    atomic_write(out / "figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    weights = out / "vgg19.safetensors"
    atomic_write(weights, save(tensors, {"settings": json.dumps(asdict(settings))}))
    return weights


@torch.no_grad()
def held_out(trunk: Trunk, pictures: Pictures, step: int, batches: int = 6) -> dict[str, float]:
    """Each head's share of right answers on realisations that training never shows."""
    trunk.eval()
    count, side = pictures.settings.crops(step)
    right: dict[str, float] = {}
    with torch.autocast(pictures.pool.device.type, torch.bfloat16):
        for k in range(batches):
            images, labels = pictures.batch(k, count, side, held_out=True)
            for name, logits in trunk(images).items():
                hits = (logits.argmax(1) == labels).float().mean().item()
                right[name] = right.get(name, 0) + hits / batches
    trunk.train()
    return right


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/embedded"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, value in asdict(Settings()).items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")
    given = vars(parser.parse_args())
    out, device = given.pop("out"), torch.device(given.pop("device"))
    out.mkdir(parents=True, exist_ok=True)
    print(train(Settings(**given), out, device))


if __name__ == "__main__":
    main()
