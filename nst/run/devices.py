"""Where a run computes, and how repeatably."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch

from nst.errors import InputError

# Of glibc's mallopt(3), whose values are ints.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_INT_MAX = 2**31 - 1

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


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
    mixed precision, and the random numbers, which are those of the seed inside. Runs in several
    threads share what torch has once in a process; the last one out leaves it as the first one
    found it.

    Args:
        seed: of torch's random numbers.
        device: whose random numbers are brought back, beside the CPU's.
    """
    with ExitStack() as stack:
        stack.enter_context(_process_restored())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
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
def _process_restored() -> Iterator[None]:
    """Leave torch's settings of the whole process as they were before the first of these blocks."""
    with _PROCESS.lock:
        if not _PROCESS.inside:
            _PROCESS.restore = _restorer()
        _PROCESS.inside += 1
    try:
        yield
    finally:
        with _PROCESS.lock:
            _PROCESS.inside -= 1
            if not _PROCESS.inside and _PROCESS.restore:
                _PROCESS.restore()


@dataclass
class _Process:
    """How many blocks are inside, and what the last one out has to do."""

    lock: Lock = field(default_factory=Lock)
    inside: int = 0
    restore: Callable[[], None] | None = None


_PROCESS = _Process()
# glibc's limits, see `_allocation`: at first where it puts them itself once it has seen large
# pieces, then those of the blocks that are inside, of several threads maybe. The last one counts.
_LIMITS = [(32 << 20, 64 << 20)]


def _restorer() -> Callable[[], None]:
    before = torch.get_default_dtype(), torch.get_rng_state()
    algorithms = _algorithms()
    precisions = [(unit, getattr(unit, name)) for unit, name in _units()]

    def restore() -> None:
        torch.set_default_dtype(before[0])
        torch.set_rng_state(before[1])
        _set_algorithms(*algorithms)
        for (unit, name), (_, value) in zip(_units(), precisions, strict=True):
            setattr(unit, name, value)

    return restore


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
    with _allocation(device, min(largest, _INT_MAX), _INT_MAX):
        yield


@contextmanager
def memory_returned(device: torch.device, wanted: bool) -> Iterator[None]:
    """On a CPU, where `wanted`, give the memory of freed tensors back at once, at a cost in time.

    By itself glibc keeps pieces of up to 32 MiB, with gaps between them: beside a large picture's
    tiles twice as much as is in use.

    Args:
        device: elsewhere than on a CPU nothing is done.
        wanted: otherwise nothing is done either.
    """
    with _allocation(device, 1 << 20, 1 << 20) if wanted else nullcontext():
        yield


@contextmanager
def _allocation(device: torch.device, large: int, kept: int) -> Iterator[None]:
    """Let glibc return pieces of `large` bytes or more at once, and keep so many of the others."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if device.type != "cpu" or libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    own = large, kept

    def put() -> None:
        libc.malloc_trim(0)
        libc.mallopt(_M_MMAP_THRESHOLD, _LIMITS[-1][0])
        libc.mallopt(_M_TRIM_THRESHOLD, _LIMITS[-1][1])

    with _PROCESS.lock:
        _LIMITS.append(own)
        put()
    try:
        yield
    finally:
        with _PROCESS.lock:
            _LIMITS.remove(own)
            put()


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Let CUDA's matrix units round float32 inputs to 10 bits where `wanted`, else keep them whole.

    Torch's own default is yes for convolutions and no for matrix products. CPUs never round.
    """
    before = [(unit, name, getattr(unit, name)) for unit, name in _units()]
    for unit, name, _ in before:
        if name == "allow_tf32":
            setattr(unit, name, wanted)
        else:
            on_cuda = any(unit is other for other, _ in _units()[:2])
            setattr(unit, name, "tf32" if wanted and on_cuda else "ieee")
    try:
        yield
    finally:
        for unit, name, value in before:
            setattr(unit, name, value)


def _units() -> list[tuple[Any, str]]:
    """What computes in float32, and the attribute that says how exactly."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):  # before torch 2.9
        return [(backends.cudnn, "allow_tf32"), (backends.cuda.matmul, "allow_tf32")]
    cuda, cpu = (backends.cudnn.conv, backends.cuda.matmul), backends.mkldnn
    return [(unit, "fp32_precision") for unit in (*cuda, cpu.conv, cpu.matmul)]


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits every time, where `wanted`.

    An operation that has none then raises a RuntimeError. Without it a CPU gives the same bits too
    (with the same number of threads); a GPU adds up in any order.
    """
    if not wanted:
        yield
        return
    before = _algorithms()
    # cuBLAS reads the variable when it is first used.
    workspace = before[-1] or ":4096:8"
    _set_algorithms(True, False, False, workspace)
    try:
        yield
    finally:
        _set_algorithms(*before)


def _algorithms() -> tuple[bool, bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(_CUBLAS),
    )


def _set_algorithms(
    deterministic: bool, warn_only: bool, benchmark: bool, workspace: str | None
) -> None:
    # Only where they change: torch imports its compiler for it, which takes two seconds.
    if (deterministic, warn_only) != _algorithms()[:2]:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.benchmark = benchmark
    if workspace is None:
        os.environ.pop(_CUBLAS, None)
    else:
        os.environ[_CUBLAS] = workspace
