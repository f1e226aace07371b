"""The C library's memory, which a run on a CPU keeps and then gives back."""

import json
import platform
import subprocess
import sys

import pytest

# Prints pages that the system had to find, and bytes in memory, in units of one tensor of 64 MiB.
PROGRAM = """
import json, resource, torch
from pathlib import Path
from nst.run.devices import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(12):
        torch.ones(1 << 24)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * page / 2**26

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**26

page = resource.getpagesize()
found = {"plain": faults(), "before": resident()}
with memory_kept(torch.device("meta"), 1 << 30):
    found |= {"elsewhere": faults()}
with memory_kept(torch.device("cpu"), 1 << 30):
    found |= {"kept": faults(), "during": resident()}
found |= {"after": resident()}
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_freed_memory_is_kept_for_the_next_tensor_and_given_back_at_the_end() -> None:
    # In a process of its own, where no other test has left freed memory behind.
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["kept"] < found["plain"] / 3
    assert found["elsewhere"] > found["plain"] / 2
    assert found["during"] > found["before"] + 0.8
    assert found["after"] < found["before"] + 0.3
