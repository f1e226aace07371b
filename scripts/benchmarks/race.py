"""Seconds to what a textbook loop has after so many evaluations: to its picture and to its loss.

The textbook loop (`TextbookLoop` of reference_loop.py: float32, pixels, torch's L-BFGS, no bounds)
optimises the sample pictures. What it leaves is a picture of 8 bits, which is clipped to what such
a picture can hold; its total loss is the goal. Then nst runs in several settings until the picture
that it would leave is as good. Beside it stands the race to the lowest loss of the tensor that the
textbook loop optimised, which nobody sees.

What counts is the loss in float32 of the very image that nst has at that moment, which is judged
every evaluation with the clock stopped; a setting that is not there after as many full-size
evaluations as the textbook loop made has not arrived.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nst
from benchmarks import common
from nst.network.weights import resolve
from nst.objective import Objective
from nst.optim.inits import Canvas, Init
from nst.optim.parametrizations import Parametrization, fourier, pixel
from nst.optim.schedules import SINGLE, Scale, Schedule
from nst.pictures import images
from nst.run.devices import tf32
from nst.run.records import Row
from nst.run.results import Result, Start
from reference_loop import TextbookLoop

INITS: dict[str, Init] = {"content": nst.inits.content, "random": nst.inits.random}
SAMPLES = [Path(nst.__file__).parent / "samples" / f"{name}.jpg" for name in ("content", "style")]
# Twenty evaluations of a quarter cost little more than one of the full size.
PYRAMID = (Scale(0.25, 20), Scale(1.0, None))
# In px: a quarter of the sample pictures' shorter side must do for the network.
SMALLEST = 96
# The wavelength that serves the textbook loop's loss best.
FOURIER = partial(fourier, wavelength=32)
SETTINGS: dict[str, tuple[Parametrization, Schedule]] = {
    "pixels": (pixel, SINGLE),
    "Fourier": (FOURIER, SINGLE),
    "Fourier, pyramid": (FOURIER, PYRAMID),
}
GOALS = ("picture", "tensor")


@dataclass
class Judge:
    """A sink that judges images by the objective in float32.

    Attributes:
        objective: in float32 and the full size.
        goals: the totals to be reached, by name.
        reached: seconds and full-size evaluations of the first image that was there, by goal.
        lowest: the lowest total that was judged, by goal, until it was reached.
        last: the row of the image that comes next to be judged.
    """

    objective: Objective
    goals: dict[str, float]
    reached: dict[str, tuple[float, float]] = field(default_factory=dict)
    lowest: dict[str, float] = field(default_factory=dict)
    last: Row | None = None

    def on_start(self, start: Start) -> None:
        """Nothing to do."""

    def on_evaluation(self, row: Row) -> None:
        """Remember when."""
        self.last = row

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Judge an image of the full size."""
        assert self.last is not None
        if self.last.scale != 1:
            return
        measures = {"picture": saved, "tensor": total}
        for goal in self.goals.keys() - self.reached.keys():
            value = measures[goal](self.objective, image)
            self.lowest[goal] = min(self.lowest.get(goal, math.inf), value)
            if value <= self.goals[goal]:
                self.reached[goal] = self.last.seconds, self.last.cost

    def on_end(self, result: Result) -> None:
        """Nothing to do."""

    def arrived(self) -> str | None:
        """Ends the run."""
        return "arrived" if len(self.reached) == len(self.goals) else None


@torch.no_grad()
def total(objective: Objective, image: Tensor) -> float:
    """The total loss of an image, in whole float32."""
    with tf32(False):
        return objective(image).total.item()


def saved(objective: Objective, image: Tensor) -> float:
    """The total loss of an image as it is saved."""
    picture = images.to_tensor(images.to_picture(image), image.shape[2:])
    return total(objective, picture.to(image))


def measure(
    size: int,
    init: str,
    evaluations: int,
    device: torch.device,
    source: str,
    precisions: Sequence[str],
    wanted: Sequence[str] = GOALS,
) -> dict[str, Any]:
    """Run the textbook loop, then every setting; print and return what each needed.

    Args:
        size: longest side in px.
        init: `content` or `random`.
        evaluations: of the textbook loop, which ends with the step of 20 that makes so many.
        device: where.
        source: of the network's weights, see `nst.network.weights.resolve`.
        precisions: of nst's network.
        wanted: goals; a run ends when it is at all of them.
    """
    weights = resolve(source)
    content, style = (images.to_tensor(images.load(path), size).to(device) for path in SAMPLES)
    start = INITS[init](Canvas(content, [style], (1.0,), 0, load=NotImplemented))
    loop = TextbookLoop(common.state_dict(weights), content, style, start, "lbfgs")
    objective = common.objective(weights, content, style)
    seconds, pictures = 0.0, {}
    while len(loop.rows) < evaluations:
        began = time.perf_counter()
        loop.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds += time.perf_counter() - began
        pictures[len(loop.rows)] = saved(objective, loop.image.detach())
    totals = {"picture": pictures[len(loop.rows)], "tensor": min(row[2] for row in loop.rows)}
    best = min(pictures, key=pictures.__getitem__)
    clipped = images.clipped(loop.image)
    print(
        f"\n{size} px from {init}, {Path(source).stem} weights: textbook loop, {len(loop.rows)} "
        f"evaluations in {seconds:.1f} s: total {totals['tensor']:.4g}, of its picture "
        f"{totals['picture']:.4g} ({100 * clipped:.2g} % of the pixels clipped); its best picture, "
        f"{pictures[best]:.4g}, after {best}"
    )
    titles = "".join(
        f"{f'to the {goal}':>12}{'evals':>8}{'times':>8}{'total':>10}" for goal in wanted
    )
    print(f"{'':<24}{titles}", flush=True)
    rows = []
    for precision in precisions:
        run = partial(
            nst.stylize,
            *SAMPLES,
            size=size,
            init=INITS[init],
            network=nst.Network(source),
            loss=nst.Loss(strength=None),
            compute=nst.Compute(str(device), precision),
        )
        run(budget=nst.Budget(evaluations=1))  # libraries are loaded and make their plans
        for name, (parametrization, schedule) in SETTINGS.items():
            judge = Judge(objective, {goal: totals[goal] for goal in wanted})
            run(
                parametrization=parametrization,
                schedule=schedule,
                budget=nst.Budget(evaluations=len(loop.rows)),
                keep=nst.Keep(sinks=[judge], image_every=1),
                stop_requested=judge.arrived,
            )
            row = {"name": f"{name}, {precision}", **vars(judge)}
            rows.append({key: row[key] for key in ("name", "reached", "lowest")})
            print(line(rows[-1], seconds), flush=True)
    return {
        "size": size,
        "init": init,
        "weights": source,
        "evaluations": len(loop.rows),
        "seconds": seconds,
        "goals": totals,
        "clipped": clipped,
        "pictures": pictures,
        "rows": rows,
    }


def line(row: dict[str, Any], textbook: float) -> str:
    """One row of the table."""
    cells = [f"{row['name']:<24}"]
    for goal in row["lowest"]:
        lowest = f"{row['lowest'][goal]:>10.4g}"
        if goal in row["reached"]:
            seconds, cost = row["reached"][goal]
            cells.append(f"{seconds:>12.1f}{cost:>8.2f}{textbook / seconds:>8.1f}{lowest}")
        else:
            cells.append(f"{'-':>12}{'-':>8}{'-':>8}{lowest}")
    return "".join(cells)
