"""Measure how well weights of VGG-19 see style: retrieval on pictures, and a grid of stylisations.

Retrieval: crops of 128 px in greyscale are taken from every picture of a folder, and each asks
which other crop has the most similar Gram matrices; the answer is right where that crop comes from
the same picture. The matrices are centred (features minus their mean over positions), their entries
drawn together by a signed square root, and the result scaled to unit length, layer by layer; `all`
is the mean of the layers' similarities. Grey, so that the palette cannot give the picture away.
Artworks are what to measure on: photographs share one texture, that of the camera.

    python scripts/eval_weights.py FOLDER
    python scripts/eval_weights.py FOLDER --weights embedded random vgg19.pth --disjoint
    python scripts/eval_weights.py --grid photo.jpg art.jpg --grid other.jpg print.jpg --size 256

The figures go to `OUT/retrieval.json`, the grid to `OUT/grid.png`: a row for each pair of content
and style, a column for each of the weights.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import nst
from nst.files import atomic_write
from nst.network.vgg import VGG, Trunk
from nst.network.weights import resolve
from nst.objective.statistics import Gram, Positions
from nst.objective.yardstick import GATYS_STYLE
from nst.pictures import images
from nst.report.canvas import Box, Sheet
from nst.run.devices import resolve_device

TAPS = tuple(GATYS_STYLE)


def crops(
    picture: Image.Image,
    count: int,
    side: int,
    longest: int,
    random: np.random.Generator,
    *,
    disjoint: bool,
) -> Tensor:
    """Greyscale crops of one picture, count x 3 x side x side, ImageNet-normalised.

    Args:
        picture: mode RGB.
        count: how many; fewer where disjoint crops do not fit.
        side: of a crop, in px.
        longest: the picture's longer side is brought to this many px first.
        random: picks the places.
        disjoint: crops do not overlap, so that none can be found by what it shares with another.
    """
    height, width = images.target_size(picture, longest)
    factor = max(1.0, side / min(height, width))
    grey = picture.convert("L").convert("RGB")
    image = images.to_tensor(grey, (round(height * factor), round(width * factor)))
    height, width = image.shape[2:]
    if disjoint:
        rows, columns = height // side, width // side
        places = [
            (y * side + (height - rows * side) // 2, x * side + (width - columns * side) // 2)
            for y in range(rows)
            for x in range(columns)
        ]
        chosen = [places[k] for k in random.permutation(len(places))[:count]]
    else:
        chosen = [
            (int(random.integers(height - side + 1)), int(random.integers(width - side + 1)))
            for _ in range(count)
        ]
    return torch.cat([image[:, :, y : y + side, x : x + side] for y, x in chosen])


@torch.no_grad()
def retrieval(network: VGG, sets: Sequence[Tensor]) -> dict[str, float]:
    """Share of crops whose nearest neighbour among all others is of the same picture.

    Args:
        network: taps are compared one by one and together.
        sets: the crops of each picture.

    Returns:
        By tap, and `all`.
    """
    owner = torch.cat([torch.full((len(crops),), k) for k, crops in enumerate(sets)])
    device = next(network.parameters()).device
    vectors: dict[str, list[Tensor]] = {}
    for batch in sets:
        for tap, features in network(batch.to(device)).items():
            centred = features - features.mean((2, 3), keepdim=True)
            matrices = Gram().gather(centred, Positions(tuple(centred.shape)))
            rooted = matrices.sign() * matrices.abs().sqrt()
            unit = torch.nn.functional.normalize(rooted.flatten(1))
            vectors.setdefault(tap, []).append(unit)
    accuracies, together = {}, torch.zeros(len(owner), len(owner))
    for tap, parts in vectors.items():
        unit = torch.cat(parts)
        similarity = (unit @ unit.T).cpu().fill_diagonal_(-1)
        together += similarity
        accuracies[tap] = (owner[similarity.argmax(1)] == owner).float().mean().item()
    accuracies["all"] = (owner[together.argmax(1)] == owner).float().mean().item()
    return accuracies


def load_network(weights: str, device: torch.device) -> VGG:
    """The network with its usual pooling."""
    return Trunk.of(resolve(weights)).network(TAPS).to(device)


def grid(
    pairs: Sequence[tuple[str, str]], weights: Sequence[str], options: argparse.Namespace
) -> bytes:
    """A PNG: content, style and the stylisation with each of the weights, a row for each pair."""
    tile, gap, head = 2.6, 0.1, 0.3
    names = ["content", "style", *(Path(spec).name for spec in weights)]
    sheet = Sheet(len(names) * (tile + gap) + gap, len(pairs) * (tile + gap) + head)
    for column, name in enumerate(names):
        sheet.write(gap + column * (tile + gap) + tile / 2, head / 2, name)
    for row, (content, style) in enumerate(pairs):
        shown = [images.load(content), images.load(style)]
        for spec in weights:
            budget = nst.Budget(evaluations=options.evaluations)
            print(f"{Path(content).stem} x {Path(style).stem}: {spec}", flush=True)
            result = nst.stylize(
                content,
                style,
                network=nst.Network(spec),
                size=options.size,
                compute=nst.Compute(options.device),
                budget=budget,
            )
            shown.append(result.picture)
        for column, picture in enumerate(shown):
            box = Box(gap + column * (tile + gap), head + row * (tile + gap), tile, tile)
            sheet.tile(box, np.asarray(picture))
    return sheet.png()


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="pictures for the retrieval")
    parser.add_argument("--weights", nargs="+", default=["embedded", "random"], metavar="SPEC")
    parser.add_argument("--crops", type=int, default=10, help="per picture")
    parser.add_argument("--side", type=int, default=128, help="of a crop, px")
    parser.add_argument("--longest", type=int, default=512, help="longer side of a picture, px")
    parser.add_argument("--disjoint", action="store_true", help="crops that do not overlap")
    parser.add_argument("--seed", type=int, default=0, help="of the places of the crops")
    parser.add_argument(
        "--grid", nargs=2, action="append", metavar=("CONTENT", "STYLE"), default=[]
    )
    parser.add_argument("--size", type=int, default=256, help="of the grid's pictures, px")
    parser.add_argument("--evaluations", type=int, default=200, help="of the grid's runs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("outputs/weights"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.folder:
        paths = sorted(path for path in options.folder.iterdir() if path.is_file())
        random, device = np.random.default_rng(options.seed), resolve_device(options.device)
        sets = [
            crops(
                images.load(path),
                options.crops,
                options.side,
                options.longest,
                random,
                disjoint=options.disjoint,
            )
            for path in paths
        ]
        table = {spec: retrieval(load_network(spec, device), sets) for spec in options.weights}
        print(f"{len(sets)} pictures, {sum(map(len, sets))} crops of {options.side} px")
        print(f"{'':24}" + "".join(f"{column:>9}" for column in (*TAPS, "all")))
        for spec, row in table.items():
            print(f"{spec[-24:]:24}" + "".join(f"{row[column]:9.3f}" for column in (*TAPS, "all")))
        atomic_write(options.out / "retrieval.json", json.dumps(table, indent=2).encode())
    if options.grid:
        atomic_write(options.out / "grid.png", grid(options.grid, options.weights, options))
        print(options.out / "grid.png")


if __name__ == "__main__":
    main()
