"""How much memory there is for a run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch


def free(device: torch.device) -> int | None:
    """Bytes to be had on a device; None where that cannot be found out.

    On Linux: what the kernel can hand out without swapping, or less where a control group of the
    process (a container, a Slurm job) or its address space (`ulimit -v`, h_vmem of Grid Engine) is
    bounded more tightly.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    groups = _control_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    bounds = [_available(), _address_space(), *groups]
    return min((bound for bound in bounds if bound is not None), default=None)


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (ValueError, OSError):
        pass
    return None


def _address_space() -> int | None:
    """What is left of the addresses that the process may use; None where there is no bound."""
    if sys.platform != "linux":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, limit - used)


def _control_groups(mount: Path, membership: Path) -> Iterator[int]:
    """What each control group that the process is in has left, version 2 or 1.

    Inside a container the groups' paths are often the host's, and only the mount's root is there.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cache = mount, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, cache = mount / "memory", "total_inactive_file"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                try:
                    bound = int((folder / limit).read_text())
                    used = int((folder / usage).read_text())
                    # Cached files count as used, but make room.
                    for entry in (folder / "memory.stat").read_text().splitlines():
                        name, _, value = entry.partition(" ")
                        used -= int(value) if name == cache else 0
                except (OSError, ValueError):  # not there, or "max"
                    continue
                yield max(0, bound - used)


def give_back(device: torch.device) -> None:
    """Let a GPU have what torch keeps of freed tensors, which `free` does not count."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def gib(count: float) -> str:
    """Bytes as text."""
    return f"{count / 2**30:.1f} GiB"
