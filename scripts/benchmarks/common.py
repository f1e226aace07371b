"""What the benchmarks share: where they are, and one objective for all contenders.

That is nst's form of it, and the weights for the plain loops.
"""

from pathlib import Path

import torch
from torch import Tensor

from nst.network.architecture import VGG_19
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, Precision, transfer
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE, TAPS

# Of the checkout.
ROOT = Path(__file__).resolve().parent.parent.parent


def objective(
    weights: Weights, content: Tensor, style: Tensor, precision: Precision = "fp32"
) -> Objective:
    """What `reference_loop` minimises, on the pictures' device."""
    return transfer(
        VGG(weights.tensors, TAPS, "max").to(content.device),
        content,
        style,
        content_layers=GATYS_CONTENT,
        style_layers=GATYS_STYLE,
        precision=precision,
    )


def state_dict(weights: Weights) -> dict[str, Tensor]:
    """The weights under torchvision's names, with zeros for layers behind the deepest tap."""
    state = {}
    for name, index, inputs, outputs in VGG_19.convolutions:
        shapes = {"weight": (outputs, inputs, 3, 3), "bias": (outputs,)}
        for kind, shape in shapes.items():
            own = weights.tensors.get(f"{name}.{kind}")
            state[f"features.{index}.{kind}"] = torch.zeros(shape) if own is None else own.float()
    return state
