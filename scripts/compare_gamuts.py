"""Compare ways to keep an image within the displayable range, by the loss of the saved picture.

    python scripts/compare_gamuts.py content.jpg style.jpg --weights embedded --size 96

The loss is that of `loss=reference`. Every way runs with L-BFGS in pixels and in Fourier
coefficients and with Adam in pixels, from the content picture and from noise. What is printed is
the total loss of the picture as it is saved; of `free`, which does not keep the range, also the
total of the image that was optimised.

- `free`: none; clipped when it is saved;
- `sine`: the image is the sine of unbounded values;
- `reflected`: a triangle wave of them, which turns round at the bounds;
- `srgb`: a triangle wave with rounded corners, what nst does;
- `projected`: after every step values are clamped to the range. L-BFGS then leaves out the
  components of gradient and direction that lead out of it. For pixels alone.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nst
from nst import gamuts
from nst.optim.gamuts import Gamut
from nst.optim.inits import Init
from nst.optim.lbfgs import LBFGS
from nst.optim.optimizers import OptimizerFactory
from nst.optim.parametrizations import Parametrization
from nst.pictures.images import statistics

INITS: dict[str, Init] = {"content": nst.inits.content, "noise": nst.inits.random}
ADAM = partial(nst.adam, lr=0.1)


def main() -> None:
    """Read the command line, run everything, print a table."""
    parser = argparse.ArgumentParser(description="Compare ways to keep an image in range.")
    parser.add_argument("content", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("--weights", default="embedded", help="see model.weights (embedded)")
    parser.add_argument("--size", type=int, default=96, help="longest side in px (96)")
    parser.add_argument("--evaluations", type=int, default=100, help="of each run (100)")
    arguments = parser.parse_args()
    names = ["L-BFGS", "Fourier", "Adam"]
    print(f"{'':<10}" + "".join(f"{f'{n}, {i}':>20}" for i in INITS for n in names))
    for name, ways in WAYS.items():
        cells = [
            _total(arguments, way, init) if way else "-" for init in INITS.values() for way in ways
        ]
        print(f"{name:<10}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def _total(arguments: argparse.Namespace, way: dict[str, Any], init: Init) -> str:
    result = nst.stylize(
        arguments.content,
        arguments.style,
        size=arguments.size,
        network=nst.Network(arguments.weights),
        init=init,
        loss=nst.Loss(strength=None),
        budget=nst.Budget(evaluations=arguments.evaluations),
        **way,
    )
    assert result.best is not None
    total = f"{result.picture_losses.total:.4g}"
    return f"{result.best.total:.4g} -> {total}" if way["gamut"] is gamuts.free else total


class _Mapped:
    """An image whose values go through a function; see `nst.optim.parametrizations.Image`."""

    def __init__(
        self,
        parametrization: Parametrization,
        function: Callable[[Tensor], Tensor],
        inverse: Callable[[Tensor], Tensor],
        image: Tensor,
    ) -> None:
        self._function, self._inverse = function, inverse
        self._values = parametrization(inverse(image))
        self.variables = self._values.variables

    def __call__(self) -> Tensor:
        return self._function(self._values())

    @torch.no_grad()
    def assign(self, image: Tensor) -> None:
        self._values.assign(self._inverse(image))


def sine(parametrization: Parametrization) -> Parametrization:
    """The image is the sine of unbounded values, with a slope of 1 in the middle."""

    def function(values: Tensor) -> Tensor:
        low, high = _bounds(values)
        middle, reach = (low + high) / 2, (high - low) / 2
        return middle + reach * torch.sin((values - middle) / reach)

    def inverse(image: Tensor) -> Tensor:
        low, high = _bounds(image)
        middle, reach = (low + high) / 2, (high - low) / 2
        share = ((image - middle) / reach).clamp(-1 + 1 / 256, 1 - 1 / 256)
        return middle + reach * torch.asin(share)

    return partial(_Mapped, parametrization, function, inverse)


def reflected(parametrization: Parametrization) -> Parametrization:
    """The image is a triangle wave of unbounded values."""

    def function(values: Tensor) -> Tensor:
        low, high = _bounds(values)
        width = high - low
        beyond = torch.remainder(values - low, 2 * width)
        return torch.where(beyond <= width, low + beyond, high - (beyond - width))

    return partial(_Mapped, parametrization, function, _clamped)


def clamped(parametrization: Parametrization) -> Parametrization:
    """Values of a step that led out of the range are clamped; for `projected` optimizers."""
    return partial(_Mapped, parametrization, _clamped, _clamped)


class ProjectedAdam(torch.optim.Adam):
    """Adam whose variables are clamped after every step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step."""
        loss = super().step(closure)
        for group in self.param_groups:
            for variable in group["params"]:
                variable.copy_(_clamped(variable))
        return loss


class ProjectedLBFGS(LBFGS):
    """L-BFGS among the variables that are free to move; all are clamped after every iteration."""

    def _take_gradient(self) -> Tensor:
        gradient = super()._take_gradient()
        (variable,) = self._variables
        low, high = _bounds(variable)
        slope = gradient.view_as(variable)
        out = ((variable <= low) & (slope > 0)) | ((variable >= high) & (slope < 0))
        self._held = out.flatten()
        return gradient.masked_fill(self._held, 0)

    def _move(self, direction: Tensor, length: Tensor) -> None:
        (variable,) = self._variables
        before = variable.clone()
        super()._move(direction.masked_fill(self._held, 0), length)
        variable.copy_(_clamped(variable))
        self._moved = (variable - before).flatten()

    def _next_direction(self, gradient: Tensor) -> Tensor:
        assert self._history is not None
        self._history.add(self._moved, gradient - self._gradient, gradient)
        return self._history.direction(gradient)


def _bounds(like: Tensor) -> tuple[Tensor, Tensor]:
    """The range of each channel in normalised space, 3 x 1 x 1."""
    mean, std = statistics(like)
    return -mean / std, (1 - mean) / std


def _clamped(image: Tensor) -> Tensor:
    # At the bounds themselves its gradient is whole, unlike that of `minimum` and `maximum`.
    return torch.clamp(image, *_bounds(image))


def _ways(gamut: Gamut) -> tuple[dict[str, Any], ...]:
    return (
        {"gamut": gamut, "parametrization": nst.pixel},
        {"gamut": gamut, "parametrization": partial(nst.fourier, wavelength=32)},
        {"gamut": gamut, "parametrization": nst.pixel, "optimizer": ADAM},
    )


_LBFGS: OptimizerFactory = partial(ProjectedLBFGS, max_step_rms=0.1)
WAYS: dict[str, tuple[dict[str, Any] | None, ...]] = {
    "free": _ways(gamuts.free),
    "sine": _ways(sine),
    "reflected": _ways(reflected),
    "srgb": _ways(gamuts.srgb),
    "projected": (
        {"gamut": clamped, "parametrization": nst.pixel, "optimizer": _LBFGS},
        None,
        {
            "gamut": clamped,
            "parametrization": nst.pixel,
            "optimizer": partial(ProjectedAdam, lr=0.1),
        },
    ),
}


if __name__ == "__main__":
    main()
