"""Seconds of one evaluation: the reference's loop, a textbook loop, nst, the bare convolutions.

An evaluation is one forward and backward pass of the objective, with its loss terms read out as
numbers. Timed are

- `reference's loop`: `ReferenceLoop` of reference_loop.py, which computes the targets and the
  gradients of the network's weights at every evaluation, as many first implementations do;
- `textbook loop`: `TextbookLoop` of the same file, frozen, cut at the deepest tap, with the targets
  computed once;
- `nst`: one evaluation of `nst.run.trainer.Trainer` (so its bookkeeping counts against nst), and
  the same with the network in bfloat16 (`precision=bf16`), on CUDA rounded to tf32 too;
- `convolutions`: the 13 convolutions up to conv5_1 on the inputs that nst gives them, in nst's
  memory layout and precision, each forward and backward to its input. No evaluation can do without
  them, so that they are the floor for torch's convolutions;
- `matrix product`: one of two square matrices, in either precision: the rate that the device
  reaches at its best;
- one iteration of L-BFGS alone, torch's and nst's, with a full history of 100 pairs.

The rows `+ L-BFGS` add the latter to the former within each repeat: torch's to the two loops, nst's
to nst.

All work on the same image, content and style (white noise), with max pooling, torch's default
settings and the calibrated random weights of `nst.network.weights` (no download; the values do not
matter for the time). In the first evaluation, which is not timed, both loops compute in whole
float32, and nst must agree with them on the losses (in bfloat16 and tf32 to 5 %). Then they take
turns in one process: each repeat times every one of them once, over as many evaluations as last
half a second, so that a slow spell of the machine meets all of them alike. One more, untimed, comes
before each. nst and the convolutions run with nst's settings (`memory_kept` and `tf32` of
`nst.run.devices`), the two loops with those of a program of their own, whose convolutions CUDA
rounds to tf32. The table shows medians over the repeats, of the seconds and of the ratios taken
within each repeat (so they need not be the ratios of the medians). Ratios are speeds: 2.00 is twice
as fast. `TFLOP/s` counts the multiplications and additions of the 13 convolutions, forward and to
the input, and nothing else. On a GPU the clock is read only after the device has finished.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks import common
from nst.network.architecture import VGG_19
from nst.network.weights import Weights, random_weights
from nst.objective import Objective, Precision
from nst.objective.cost import LARGEST
from nst.optim.lbfgs import LBFGS
from nst.optim.optimizers import adam
from nst.optim.schedules import Stage
from nst.run.devices import memory_kept, tf32
from nst.run.records import Budget
from nst.run.trainer import Trainer
from reference_loop import ReferenceLoop, TextbookLoop

# Does so many evaluations.
Evaluate = Callable[[int], object]
REFERENCE, TEXTBOOK, NST, FLOOR = "reference's loop", "textbook loop", "nst", "convolutions"
HALF, ROUNDED = ", bf16", ", tf32"
PRODUCT = "matrix product"
TORCH_LBFGS, NST_LBFGS, PLUS = "torch's L-BFGS", "nst's L-BFGS", " + L-BFGS"
# What nst does not run, nor with its settings.
OTHERS = (REFERENCE, TEXTBOOK, TORCH_LBFGS)
# No evaluations, to be compared with each other alone.
ASIDE = (PRODUCT, PRODUCT + HALF, TORCH_LBFGS, NST_LBFGS)
# Side of the matrices.
PRODUCT_SIDE = 4096
# Which optimizer goes with which loop.
WITH_LBFGS = {
    REFERENCE: TORCH_LBFGS,
    TEXTBOOK: TORCH_LBFGS,
    NST: NST_LBFGS,
    NST + ROUNDED: NST_LBFGS,
    NST + HALF: NST_LBFGS,
}
# Seconds that one repeat of one contender lasts about at least, for the sake of fast devices.
REPEAT_SECONDS = 0.5


def measure(size: int, repeats: int, device: torch.device) -> dict[str, Any]:
    """Time everything at one size, print the table, and return it with every repeat.

    Args:
        size: side in px of the square pictures.
        repeats: timings of each.
        device: where.
    """
    evaluates = contenders(random_weights(0), size, device)
    seconds = take_turns(evaluates, repeats, device, LARGEST * size**2)
    for name, iteration in WITH_LBFGS.items():
        if name not in seconds:
            continue
        pairs = zip(seconds[name], seconds[iteration], strict=True)
        seconds[name + PLUS] = [a + b for a, b in pairs]
    summary = summarise(seconds, convolution_flops(size))
    print(f"\n{size} x {size} px, {repeats} repeats\n{table(summary)}", flush=True)
    return {"size": size, "repeats": repeats, "summary": summary, "seconds": seconds}


def contenders(weights: Weights, size: int, device: torch.device) -> dict[str, Evaluate]:
    """What is timed, by name.

    Raises:
        SystemExit: the loops do not agree on the losses, so they do not compute the same thing.
    """
    generator = torch.Generator().manual_seed(0)
    content, style, image = (
        torch.randn(1, 3, size, size, generator=generator).to(device) for _ in range(3)
    )
    state = common.state_dict(weights)
    with tf32(False):
        reference = ReferenceLoop(state, content, style, image)
        textbook = TextbookLoop(state, content, style, image)
        totals = [reference.evaluate().item(), textbook.evaluate().item()]
    found = {REFERENCE: repeated(reference.evaluate), TEXTBOOK: repeated(textbook.evaluate)}
    recorded = device.type == "cuda"
    for suffix, precision in precisions(device).items():
        with tf32(suffix == ROUNDED):
            objective = common.objective(weights, content, style, precision)
            stages = [Stage(lambda own=objective: own, (size, size), recorded=recorded)]
            trainer = Trainer(stages, image, adam, Budget(evaluations=1))
            totals.append(trainer.run().rows[0].total)
        tolerance = 5e-2 if suffix else 1e-3
        if not all(math.isclose(total, totals[0], rel_tol=tolerance) for total in totals):
            sys.exit(f"the loops' total losses differ: {totals}")
        found[NST + suffix] = partial(go_on, trainer)
        found[FLOOR + suffix] = bare_convolutions(objective, image)
    for suffix, dtype in ("", torch.float32), (HALF, torch.bfloat16):
        matrix = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device, dtype=dtype)
        found[PRODUCT + suffix] = repeated(partial(torch.mm, matrix, matrix))
    found[TORCH_LBFGS] = lbfgs_iteration(torch.optim.LBFGS, image)
    found[NST_LBFGS] = lbfgs_iteration(LBFGS, image)
    return found


def precisions(device: torch.device) -> dict[str, Precision]:
    """Those of nst's network by what its rows are called; a CPU rounds nothing to tf32."""
    rounded: dict[str, Precision] = {ROUNDED: "tf32"} if device.type == "cuda" else {}
    return {"": "fp32", **rounded, HALF: "bf16"}


def go_on(trainer: Trainer, count: int) -> None:
    """So many evaluations more; what a GPU records for them is recorded by then."""
    trainer.budget = Budget(evaluations=trainer.state.at.evaluation + count)
    if (reason := trainer.run().stop_reason) != "evaluations":
        sys.exit(f"nst stopped early: {reason}")


def lbfgs_iteration(make: Callable[..., Optimizer], image: Tensor) -> Evaluate:
    """One iteration with a full history, of an objective that costs next to nothing."""
    variable = image.clone().requires_grad_()
    curvatures = torch.rand_like(variable) + 0.1
    # So small a step that the image has not converged, and the pairs do not vanish, at the end.
    options = {"lr": 0.02, "max_iter": 1, "history_size": 100}
    optimizer = make([variable], **options, tolerance_grad=0.0, tolerance_change=0.0)

    @torch.no_grad()
    def closure() -> Tensor:
        variable.grad = curvatures * variable
        return curvatures.new_zeros(())

    for _ in range(101):
        optimizer.step(closure)
    return repeated(partial(optimizer.step, closure))


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

    return repeated(evaluate)


def repeated(evaluate: Callable[[], object]) -> Evaluate:
    """As many calls of a function as asked for."""

    def evaluates(count: int) -> None:
        for _ in range(count):
            evaluate()

    return evaluates


def take_turns(
    evaluates: dict[str, Evaluate], repeats: int, device: torch.device, piece: int
) -> dict[str, list[float]]:
    """Seconds per evaluation: for each name one figure per repeat.

    `piece` is for nst's setting of memory.
    """

    def timed(name: str, count: int) -> float:
        evaluate = evaluates[name]
        with ExitStack() as settings:
            if name not in OTHERS:
                settings.enter_context(memory_kept(device, piece))
                settings.enter_context(tf32(name.endswith(ROUNDED)))
            evaluate(1)
            synchronize(device)
            start = time.perf_counter()
            evaluate(count)
            synchronize(device)
            return (time.perf_counter() - start) / count

    counts = {name: math.ceil(REPEAT_SECONDS / timed(name, 1)) for name in evaluates}
    seconds: dict[str, list[float]] = {name: [] for name in evaluates}
    for _ in range(repeats):
        for name in evaluates:
            seconds[name].append(timed(name, counts[name]))
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def convolution_flops(size: int) -> float:
    """Operations of the convolutions up to conv5_1, forward and to the input; a pair counts two."""
    total = 0.0
    for name, _, inputs, outputs in VGG_19.convolutions:
        total += 2 * 2 * 9 * inputs * outputs * (size >> VGG_19.level(name)) ** 2
        if name == "conv5_1":
            break
    return total


def summarise(
    seconds: dict[str, list[float]], evaluation_flops: float
) -> dict[str, dict[str, float]]:
    """For each name the columns of the table."""
    summary: dict[str, dict[str, float]] = {}
    for name, own in seconds.items():
        summary[name] = {"evaluations/s": 1 / median(own), "seconds": median(own)}
        if name in (TORCH_LBFGS, NST_LBFGS):
            continue
        flops = 2 * PRODUCT_SIDE**3 if name in ASIDE else evaluation_flops
        summary[name]["TFLOP/s"] = flops / median(own) / 1e12
        if name in ASIDE:
            continue
        plus = PLUS if name.endswith(PLUS) else ""
        columns = {"x reference": REFERENCE + plus, "x textbook": TEXTBOOK + plus}
        own_precision = next((one for one in (HALF, ROUNDED) if one in name), "")
        columns["x floor"] = FLOOR + own_precision
        for column, other in columns.items():
            ratios = (a / b for a, b in zip(seconds[other], own, strict=True))
            summary[name][column] = median(ratios)
    return summary


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary as plain text."""
    lines = [" " * 26 + "".join(f"{column:>14}" for column in summary[NST])]
    for name, figures in summary.items():
        lines.append(f"{name:<26}" + "".join(f"{figure:>14.4g}" for figure in figures.values()))
    return "\n".join(lines)
