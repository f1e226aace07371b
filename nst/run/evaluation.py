"""One evaluation: from the variables to the image, its terms and their gradient.

On a CUDA device this is some hundreds of kernels, each of which takes the host longer to launch
than a small picture takes it to run. A CUDA graph launches them all at once: the first evaluation
records it, the others replay it on the same memory.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from threading import Lock

import torch
from torch import Tensor

from nst.free_memory import give_back
from nst.objective import Terms
from nst.optim.parametrizations import Image

log = logging.getLogger(__name__)

# Evaluations before the recording, in which libraries choose their algorithms and make their plans.
_WARM_UP = 3
# Held by what records: torch allows one recording at a time in a process.
_RECORDING = Lock()


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        total: what is minimised, a scalar.
        image: that was evaluated, 1 x 3 x H x W, detached. It may be memory that the next
            evaluation writes to.
        gradients: of the variables; likewise.
        numbers: the terms, their total, the gradient's largest component, and then the layers'
            distances: all in one tensor, so that they take one transfer to the host.
        terms: names of the terms.
        layers: names of the layers' distances.
    """

    total: Tensor
    image: Tensor
    gradients: list[Tensor]
    numbers: Tensor
    terms: tuple[str, ...]
    layers: tuple[str, ...]


class Evaluation:
    """Evaluates an image as often as it is called, and leaves the gradients with its variables.

    Args:
        image: as a function of its variables, which are only ever changed in place.
        objective: image to terms.
        recorded: replay a CUDA graph. Where none can be recorded, or what it gives is not what was
            recorded, a warning says so, and kernels are launched one by one.
    """

    def __init__(
        self, image: Image, objective: Callable[[Tensor], Terms], *, recorded: bool = False
    ) -> None:
        self._image, self._objective = image, objective
        self._recorded = recorded
        self._replay: Callable[[], Evaluated] | None = None

    def __call__(self) -> Evaluated:
        """Evaluate the image as it is now."""
        if self._recorded and self._replay is None:
            self._replay = self._checked_recording()
            self._recorded = self._replay is not None
        if self._replay is None:
            return self._run()
        found = self._replay()
        for variable, gradient in zip(self._image.variables, found.gradients, strict=True):
            variable.grad = gradient
        # Optimizers keep it to compare with the next one.
        return replace(found, total=found.total.clone())

    def _run(self) -> Evaluated:
        variables = self._image.variables
        for variable in variables:
            variable.grad = None
        image = self._image()
        terms = self._objective(image)
        terms.total.backward()  # type: ignore[no-untyped-call]
        gradients = [variable.grad for variable in variables if variable.grad is not None]
        steepest = torch.stack([torch.linalg.vector_norm(g, torch.inf) for g in gradients]).max()
        scalars = *terms.terms.values(), terms.total, steepest, *terms.layers.values()
        numbers = torch.stack([each.detach() for each in scalars])
        names = tuple(terms.terms), tuple(terms.layers)
        return Evaluated(terms.total.detach(), image.detach(), gradients, numbers, *names)

    def _checked_recording(self) -> Callable[[], Evaluated] | None:
        try:
            found, expected = record(self._run, self._image.variables[0].device)
            numbers = found().numbers
        except RuntimeError as error:
            log.warning("No CUDA graph: %s", str(error).splitlines()[0])
            return None
        if not torch.allclose(numbers, expected, rtol=1e-3, equal_nan=True):
            log.warning("No CUDA graph: it gives %s, not %s", numbers.tolist(), expected.tolist())
            return None
        return found


def record(
    run: Callable[[], Evaluated], device: torch.device
) -> tuple[Callable[[], Evaluated], Tensor]:
    """A function's kernels as a CUDA graph.

    Args:
        run: launches the same kernels on the same memory at every call, and waits for none.
        device: a CUDA device, on which they run.

    Returns:
        What launches them all at once, its results in the same tensors at every call; and the
        numbers that the function gave without a graph.

    Raises:
        RuntimeError: something in it cannot be recorded, or there is not enough memory.
    """
    with _RECORDING, torch.cuda.device(device):
        # Neither the warm-up nor the graph has a use for what was freed before.
        give_back(device)
        aside = _aside(device)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                expected = run().numbers
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):
            found = run()

    def replay() -> Evaluated:
        graph.replay()
        return found

    return replay, expected


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream of all recordings; what cuBLAS works with takes up to 64 MiB for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
