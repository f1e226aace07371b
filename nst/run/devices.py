"""Where a run computes, and how repeatably."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from nst.errors import InputError

# Of glibc's mallopt(3), whose values are ints.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_INT_MAX = 2**31 - 1


def resolve_device(name: str) -> torch.device:
    """The device that a name means here.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"device={name}: must be auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not cuda:
        raise InputError(f"device={name}: no CUDA device is available here (device=cpu would work)")
    if index and int(index) >= torch.cuda.device_count():
        raise InputError(f"device={name}: there are only {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not mps:
        raise InputError("device=mps: no MPS device is available here (device=cpu would work)")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The device as results name it, a GPU with its model."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def wake(device: torch.device) -> None:
    """Let the thread in which autograd differentiates use a CUDA device.

    Where cuBLAS is the first to use it in a thread, it warns that it has to make itself a context.
    """
    if device.type == "cuda":
        with torch.enable_grad():
            one = torch.ones(1, device=device, requires_grad=True)
            torch.autograd.grad(one.exp(), one)


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Compute alike whatever the caller has set in torch, and leave all of that as it was.

    That is the default type and device, whether gradients are wanted, inference mode, automatic
    mixed precision, and the random numbers, which are those of the seed inside.

    Args:
        seed: of torch's random numbers.
        device: whose random numbers are brought back, beside the CPU's.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        accelerated = device.type != "cpu"
        stack.enter_context(
            torch.random.fork_rng(
                [device] if accelerated else [], device_type=device.type if accelerated else "cuda"
            )
        )
        torch.manual_seed(seed)
        yield


@contextmanager
def memory_kept(device: torch.device, largest: int) -> Iterator[None]:
    """On a CPU, keep the memory of freed tensors for the next ones.

    What was freed before is given back at the beginning, the rest at the end. glibc alone returns
    every large piece to the system at once, which has to find and clear its pages again for the
    next evaluation: a third of its time at 512 px. Other C libraries are left as they are.

    Args:
        device: elsewhere than on a CPU nothing is done.
        largest: bytes; larger pieces are given back at once. They are few beside a tile's features,
            and where each goes where it just fits, large gaps remain.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if device.type != "cpu" or libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(_M_MMAP_THRESHOLD, min(largest, _INT_MAX))
    libc.mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
    try:
        yield
    finally:
        # Where glibc itself puts them once it has seen large pieces.
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Let CUDA's matrix units round float32 inputs to 10 bits where `wanted`, else keep them whole.

    Torch's own default is yes for convolutions and no for matrix products.
    """
    units: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    setting: tuple[str, bool | str] = ("allow_tf32", wanted)
    if hasattr(torch.backends.cudnn, "conv"):  # torch 2.9 and later
        units = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
        setting = ("fp32_precision", "tf32" if wanted else "ieee")
    name, value = setting
    before = [getattr(unit, name) for unit in units]
    for unit in units:
        setattr(unit, name, value)
    try:
        yield
    finally:
        for unit, old in zip(units, before, strict=True):
            setattr(unit, name, old)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits every time, where `wanted`.

    An operation that has none then raises a RuntimeError. Without it a CPU gives the same bits too
    (with the same number of threads); a GPU adds up in any order.
    """
    if not wanted:
        yield
        return
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
