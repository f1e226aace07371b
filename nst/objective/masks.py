"""Masks of a picture: what each position of a layer counts.

A mask says of each pixel how far it belongs to a region, from 0 to 1. A layer sees the picture in
fewer positions, each of which looks at pixels around it, so at the border of a region they see both
sides (Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer*, arXiv 1611.07865,
section 4).
"""

import torch.nn.functional as F
from torch import Tensor

from nst.network.architecture import Architecture
from nst.pictures.regions import Border


def at_layer(mask: Tensor, architecture: Architecture, tap: str, border: Border) -> Tensor:
    """What a layer's positions count, 1 x 1 x H' x W', not normalised.

    Args:
        mask: 1 x 1 x H x W in [0, 1].
        architecture: of the network.
        tap: the layer.
        border: `simple`: each position counts by the share of its own pixels; `inside`: by the
            least that any pixel in its receptive field belongs, so that it sees nothing of other
            regions; `all`: by the most, so that all count that see anything of the region.
    """
    step = 2 ** architecture.level(tap)
    if border == "simple":
        return F.avg_pool2d(mask, step) if step > 1 else mask
    # Of the receptive fields, first along rows, then along columns, then of each position's pixels.
    reach = architecture.reach(tap)
    signed = mask if border == "all" else -mask
    for kernel, padding in (((1, 2 * reach + 1), (0, reach)), ((2 * reach + 1, 1), (reach, 0))):
        signed = F.max_pool2d(signed, kernel, 1, padding)
    signed = F.max_pool2d(signed, step)
    return signed if border == "all" else -signed
