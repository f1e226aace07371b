"""What a system has or lacks: the C library's memory, POSIX's signals and locks."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from support import TINY

# Prints pages that the system had to find for 768 MiB of tensors, and bytes in memory, in units
# of 64 MiB.
PROGRAM = """
import json, resource, torch
from pathlib import Path
from nst.run.devices import memory_kept, memory_returned

def faults(mebibytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(768 // mebibytes):
        torch.ones(mebibytes << 18)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * page / 2**26

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**26

# Larger pieces from block to block: a gap that one leaves in the heap may serve the next ones.
page = resource.getpagesize()
with memory_returned(torch.device("cpu"), True):
    found = {"small, returned": faults(8), "before": resident()}
    with memory_kept(torch.device("cpu"), 1 << 30):
        found |= {"small, kept": faults(16)}
    found |= {"small, returned again": faults(24)}
found |= {"small": faults(24)}
with memory_returned(torch.device("cpu"), False):
    found |= {"unwanted": faults(24)}
found |= {"plain": faults(64)}
with memory_kept(torch.device("meta"), 1 << 30):
    found |= {"elsewhere": faults(64)}
with memory_kept(torch.device("cpu"), 1 << 30):
    found |= {"kept": faults(64), "during": resident()}
found |= {"after": resident()}
print(json.dumps(found))
"""


@pytest.mark.slow
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
    # By itself glibc keeps pieces of 24 MiB; one block within another leaves it as it was.
    for name in ("small", "unwanted", "small, kept"):
        assert found[name] < found["plain"] / 3
    for name in ("small, returned", "small, returned again"):
        assert found[name] > found["plain"] / 2


# What Windows lacks is taken away, once the libraries that ask for the system are loaded.
WITHOUT_POSIX = f"""
import os, signal, sys
import hydra, matplotlib.pyplot, tensorboard, torch, torchvision, torch.utils.tensorboard
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2"):
    delattr(signal, name)
for name in ("fork", "geteuid", "getuid", "killpg", "mkfifo", "sched_getaffinity", "sysconf"):
    delattr(os, name)
def relpath(path):
    raise ValueError("path is on mount 'D:', start on mount 'C:'")
os.path.relpath = relpath
sys.platform = "win32"
from nst.cli import app
sys.argv = ["nst", *{TINY!r}, "name=s", "init=content,random", "--multirun"]
app.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there are enough of its own on others")
def test_a_sweep_does_without_what_windows_lacks(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_POSIX]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("outputs/s/*/result.png"))) == 2
