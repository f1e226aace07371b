"""Seconds to the loss that a textbook loop has after so many evaluations.

The textbook loop (`TextbookLoop` of reference_loop.py: float32, pixels, torch's L-BFGS) optimises
the sample pictures with the embedded weights; what it has reached at the end is the target. Then
nst runs in several settings until it is there. What counts is the loss in float32 of the very image
that nst has at that moment, which is judged every few evaluations with the clock stopped; a setting
that is not there after as many full-size evaluations as the textbook loop made has not arrived.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nst
from benchmarks import common
from nst import images
from nst.inits import Canvas, Init
from nst.objective import Objective, Precision
from nst.parametrizations import Parametrization, fourier, pixel
from nst.records import Row
from nst.results import Result, Start
from nst.schedules import SINGLE, Scale, Schedule
from nst.weights import embedded_weights
from reference_loop import TextbookLoop

INITS: dict[str, Init] = {"content": nst.inits.content, "random": nst.inits.random}
SAMPLES = [Path(nst.__file__).parent / "samples" / f"{name}.jpg" for name in ("content", "style")]
PYRAMID = (Scale(0.5, 60), Scale(1.0, None))
SETTINGS: dict[str, tuple[Parametrization, Precision, Schedule]] = {
    "pixels, bf16": (pixel, "bf16", SINGLE),
    "Fourier, bf16": (fourier, "bf16", SINGLE),
    "Fourier, bf16, pyramid": (fourier, "bf16", PYRAMID),
}
# Evaluations between two judgements.
EVERY = 5


@dataclass
class Judge:
    """A sink that judges images by the objective in float32.

    Attributes:
        objective: in float32 and the full size.
        target: the total to be reached.
        reached: seconds and full-size evaluations of the first image that was there.
        lowest: total that was judged.
        last: the row of the image that comes next to be judged.
    """

    objective: Objective
    target: float
    reached: tuple[float, float] | None = None
    lowest: float = math.inf
    last: Row | None = None

    def on_start(self, start: Start) -> None:
        """Nothing to do."""

    def on_evaluation(self, row: Row) -> None:
        """Remember when."""
        self.last = row

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Judge an image of the full size."""
        assert self.last is not None
        if self.last.scale != 1 or self.reached:
            return
        with torch.no_grad():
            self.lowest = min(self.lowest, self.objective(image).total.item())
        if self.lowest <= self.target:
            self.reached = self.last.seconds, self.last.cost

    def on_end(self, result: Result) -> None:
        """Nothing to do."""

    def arrived(self) -> str | None:
        """Ends the run."""
        return "arrived" if self.reached else None


def measure(size: int, init: str, evaluations: int, device: torch.device) -> dict[str, Any]:
    """Run the textbook loop, then every setting; print and return what each needed.

    Args:
        size: longest side in px.
        init: `content` or `random`.
        evaluations: of the textbook loop.
        device: where.
    """
    weights = embedded_weights()
    content, style = (images.to_tensor(images.load(path), size).to(device) for path in SAMPLES)
    start = INITS[init](Canvas(content, style, 0, load=NotImplemented))
    loop = TextbookLoop(common.state_dict(weights), content, style, start, "lbfgs")
    began = time.perf_counter()
    while len(loop.rows) < evaluations:
        loop.step()
    seconds = time.perf_counter() - began
    target = min(row[2] for row in loop.rows)
    rows = [{"name": "textbook loop", "seconds": seconds, "cost": len(loop.rows), "total": target}]
    print(
        f"\n{size} px from {init}: total {target:.4g} after {evaluations} evaluations", flush=True
    )
    print(f"{'':<28}{'seconds':>10}{'evaluations':>13}{'x textbook':>12}{'total':>10}")
    for name, (parametrization, precision, schedule) in SETTINGS.items():
        judge = Judge(common.objective(weights, content, style), target)
        nst.stylize(
            *SAMPLES,
            size=size,
            init=INITS[init],
            parametrization=parametrization,
            precision=precision,
            schedule=schedule,
            weights="embedded",
            budget=nst.Budget(evaluations=evaluations),
            device=str(device),
            sinks=[judge],
            image_every=EVERY,
            stop_requested=judge.arrived,
        )
        taken, cost = judge.reached or (None, None)
        rows.append({"name": name, "seconds": taken, "cost": cost, "total": judge.lowest})
    for row in rows:
        print(line(row, seconds), flush=True)
    return {"size": size, "init": init, "evaluations": evaluations, "target": target, "rows": rows}


def line(row: dict[str, Any], textbook: float) -> str:
    """One row of the table."""
    if row["seconds"] is None:
        return f"{row['name']:<28}{'-':>10}{'-':>13}{'-':>12}{row['total']:>10.4g}"
    return (
        f"{row['name']:<28}{row['seconds']:>10.1f}{row['cost']:>13.1f}"
        f"{textbook / row['seconds']:>12.2f}{row['total']:>10.4g}"
    )
