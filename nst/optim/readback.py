"""Values on their way from a device to the host."""

import torch
from torch import Tensor


class Readback:
    """A copy of a tensor on the host, which need not wait for it until its values are looked at.

    Args:
        tensor: what is launched later may overwrite it. On a CUDA device the copy waits in line
            behind what was launched before; elsewhere it is made at once.
    """

    def __init__(self, tensor: Tensor) -> None:
        # With non_blocking the copy lies in memory that the device can write to by itself.
        self._copy = tensor.to("cpu", non_blocking=tensor.is_cuda, copy=True)
        self._made: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._made = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._made.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """The copy, once it is made."""
        if self._made:
            self._made.synchronize()
        return self._copy
