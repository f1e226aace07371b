"""Time one evaluation: the reference's loop, a textbook loop, nst, and the bare convolutions.

An evaluation is one forward and backward pass of the objective, with its loss terms read out as
numbers; the optimizer's own arithmetic is left out. Timed are

- `reference's loop`: `ReferenceLoop` of reference_loop.py, which computes the targets and the
  gradients of the network's weights at every evaluation, as many first implementations do;
- `textbook loop`: `TextbookLoop` of the same file, frozen, cut at the deepest tap, with the targets
  computed once;
- `nst`: one evaluation of `nst.trainer.Trainer` (so its bookkeeping counts against nst), and the
  same with the network in bfloat16 (`precision=bf16`);
- `convolutions`: the 13 convolutions up to conv5_1 on the inputs that nst gives them, in nst's
  memory layout and precision, each forward and backward to its input. No evaluation can do without
  them, so that they are the floor for torch's convolutions.

All work on the same image, content and style (white noise), with max pooling, torch's default
settings and the calibrated random weights of `nst.weights` (no download; the values do not matter
for the time). In the first evaluation, which is not timed, the three loops must agree on the losses
(bfloat16 to 5%). Then they take turns in one process: each repeat times every one of them once,
over as many evaluations as last about 0.3 s, so that a slow spell of the machine meets all of them
alike. The table shows medians over the repeats, of the seconds and of the ratios taken within each
repeat (so they need not be the ratios of the medians). Ratios are speeds: 2.00 is twice as fast. On
a GPU the clock is read only after the device has finished.

    python scripts/bench.py --size 256 512 --repeats 7 --device cpu --json bench.json

Needs torch, torchvision, Pillow and NumPy.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout's nst

from nst.devices import resolve_device
from nst.errors import InputError
from nst.objective import Objective
from nst.optimizers import adam
from nst.records import Budget
from nst.schedules import Stage
from nst.trainer import Trainer
from nst.vgg import VGG19
from nst.weights import Weights, convolutions, random_weights
from nst.yardstick import GATYS_CONTENT, GATYS_STYLE
from reference_loop import ReferenceLoop, TextbookLoop

Evaluate = Callable[[], object]
REFERENCE, TEXTBOOK, NST, FLOOR = "reference's loop", "textbook loop", "nst", "convolutions"
HALF = ", bf16"
# Seconds that one repeat of one contender lasts at least, for the sake of fast devices.
REPEAT_SECONDS = 0.3


def main() -> None:
    """Read the command line, time, print, write."""
    parser = argparse.ArgumentParser(
        description="Time one evaluation (forward and backward) of nst and of its yardsticks."
    )
    parser.add_argument("--size", type=int, nargs="+", default=[256], help="side in px (256)")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each (7)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (cpu)")
    parser.add_argument("--json", type=Path, help="file for the figures, with every repeat")
    arguments = parser.parse_args()
    try:
        device = resolve_device(arguments.device)
    except InputError as error:
        parser.error(str(error))
    about = machine(device)
    print(", ".join(f"{key}: {value}" for key, value in about.items()), flush=True)
    weights = random_weights(0)
    results = []
    for size in arguments.size:
        seconds = take_turns(contenders(weights, size, device), arguments.repeats, device)
        summary = summarise(seconds)
        print(f"\n{size} x {size} px, {arguments.repeats} repeats\n{table(summary)}", flush=True)
        results.append({"size": size, "summary": summary, "seconds": seconds})
    if arguments.json:
        report = {"machine": about, "repeats": arguments.repeats, "results": results}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def contenders(weights: Weights, size: int, device: torch.device) -> dict[str, Evaluate]:
    """What is timed, by name: functions that do one evaluation.

    Raises:
        SystemExit: the loops do not agree on the losses, so they do not compute the same thing.
    """
    generator = torch.Generator().manual_seed(0)
    content, style, image = (
        torch.randn(1, 3, size, size, generator=generator).to(device) for _ in range(3)
    )
    state = {
        f"features.{index}.{kind}": weights.tensors[f"{name}.{kind}"]
        for name, index, *_ in convolutions()
        for kind in ("weight", "bias")
    }
    reference = ReferenceLoop(state, content, style, image)
    textbook = TextbookLoop(state, content, style, image)
    objectives = {}
    for suffix, precision in ("", "fp32"), (HALF, "bf16"):
        objectives[suffix] = Objective(
            VGG19(weights.tensors, [*GATYS_CONTENT, *GATYS_STYLE], "max").to(device),
            content,
            style,
            content_layers=GATYS_CONTENT,
            style_layers=GATYS_STYLE,
            precision=precision,
        )

    def nst(objective: Objective) -> float:
        stages = [Stage(lambda: objective, (size, size))]
        (row,) = Trainer(stages, image, adam, Budget(evaluations=1)).run().rows
        return row.total

    totals = [reference.evaluate().item(), textbook.evaluate().item()]
    for objective, tolerance in zip(objectives.values(), (1e-3, 5e-2), strict=True):
        totals.append(nst(objective))
        if not all(math.isclose(total, totals[0], rel_tol=tolerance) for total in totals):
            sys.exit(f"the loops' total losses differ: {totals}")
    found: dict[str, Evaluate] = {REFERENCE: reference.evaluate, TEXTBOOK: textbook.evaluate}
    for suffix, objective in objectives.items():
        found[NST + suffix] = partial(nst, objective)
        found[FLOOR + suffix] = bare_convolutions(objective, image)
    return found


def bare_convolutions(objective: Objective, image: Tensor) -> Evaluate:
    """Every convolution of the objective's network alone, on the input that it gets there."""
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Copies, which keep the memory layout: the next ReLU works in place.
        calls.append((layer, inputs[0].clone().requires_grad_(), torch.randn_like(output)))

    layers = [layer for layer in objective.network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        objective(image)
    for hook in hooks:
        hook.remove()

    def evaluate() -> None:
        for layer, features, gradient in calls:
            torch.autograd.grad(layer(features), features, gradient)

    return evaluate


def take_turns(
    evaluates: dict[str, Evaluate], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds per evaluation: for each name one figure per repeat."""

    def timed(evaluate: Evaluate, count: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(count):
            evaluate()
        synchronize(device)
        return (time.perf_counter() - start) / count

    counts = {}
    for name, evaluate in evaluates.items():
        timed(evaluate, 1)
        counts[name] = math.ceil(REPEAT_SECONDS / timed(evaluate, 1))
    seconds: dict[str, list[float]] = {name: [] for name in evaluates}
    for _ in range(repeats):
        for name, evaluate in evaluates.items():
            seconds[name].append(timed(evaluate, counts[name]))
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """For each name the columns of the table."""
    summary = {}
    for name, own in seconds.items():
        floor = FLOOR + (HALF if name.endswith(HALF) else "")
        columns = {"x reference": REFERENCE, "x textbook": TEXTBOOK, "x floor": floor}
        summary[name] = {"evaluations/s": 1 / median(own), "seconds": median(own)}
        for column, other in columns.items():
            ratios = (a / b for a, b in zip(seconds[other], own, strict=True))
            summary[name][column] = median(ratios)
    return summary


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary as plain text."""
    lines = [" " * 19 + "".join(f"{column:>14}" for column in summary[NST])]
    for name, figures in summary.items():
        lines.append(f"{name:<19}" + "".join(f"{figure:>14.4g}" for figure in figures.values()))
    return "\n".join(lines)


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures hang on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def cpu_model() -> str:
    """The CPU's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
