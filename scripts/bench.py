"""Measure nst beside the loops that people write themselves: speed, convergence, sweeps, memory.

    python scripts/bench.py --size 256 512 --repeats 7 --device cpu --json bench.json
    python scripts/bench.py --size --race 512 --weights embedded natural.safetensors
    python scripts/bench.py --size --sweeps 128 512 --reference 512 --precision bf16 --device cuda
    python scripts/bench.py --size --memory 512 1024 2048 4096

- `--size`: seconds of one evaluation, see benchmarks/speed.py;
- `--race`: seconds to the picture that a textbook loop with L-BFGS leaves after 300 evaluations,
  and to its loss, see benchmarks/race.py;
- `--sweeps` and `--reference`: seconds of whole sweeps with several launchers, see
  benchmarks/sweeps.py;
- `--memory`: peak memory of whole runs, see benchmarks/memory.py.

Everything runs on this machine and side by side; `--json` keeps what was measured. Needs torch,
torchvision, Pillow and NumPy.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this checkout's nst

from benchmarks import memory, race, speed, sweeps
from nst.errors import InputError
from nst.run.devices import resolve_device, wake


def main() -> None:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure nst beside textbook loops.")
    add, side = parser.add_argument, at_least(16)
    add(
        "--size",
        type=side,
        nargs="*",
        default=[256],
        help="speed at these sides in px (256); without a side no speed is measured",
    )
    one = at_least(1)
    add("--repeats", type=one, default=7, help="timings of each for --size (7)")
    add(
        "--race",
        type=at_least(race.SMALLEST),
        nargs="*",
        default=[],
        help="time to a picture at these sides",
    )
    add("--evaluations", type=one, default=300, help="of the textbook loop, by 20 (300)")
    inits = list(race.INITS)
    add("--init", nargs="+", choices=inits, default=inits, help="for --race")
    add("--weights", nargs="+", default=["embedded"], help="networks for --race (embedded)")
    add(
        "--precision",
        nargs="+",
        choices=["fp32", "tf32", "bf16"],
        default=["fp32", "bf16"],
        help="of nst for --race, --sweeps and --reference (fp32 bf16)",
    )
    goals = race.GOALS
    add("--goal", nargs="+", choices=goals, default=goals, help="for --race (both)")
    add("--sweeps", type=side, nargs="*", default=[], help="sweeps of eight runs at these sides")
    add("--reference", type=side, nargs="*", default=[], help="the reference's four runs likewise")
    launchers = list(sweeps.LAUNCHERS)
    add(
        "--launchers",
        nargs="+",
        choices=launchers,
        default=launchers,
        help="for --sweeps and --reference (all)",
    )
    add("--memory", type=at_least(64), nargs="*", default=[], help="peak memory at these sides")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (cpu)")
    add("--json", type=Path, help="file for the figures, with every repeat")
    arguments = parser.parse_args()
    others = arguments.race, arguments.sweeps, arguments.reference, arguments.memory
    if not (arguments.size or any(others)):
        parser.error("--size without a side needs --race, --sweeps, --reference or --memory")
    if arguments.json and not arguments.json.parent.is_dir():
        parser.error(f"--json: {arguments.json.parent} is not there")
    try:
        device = resolve_device(arguments.device)
        wake(device)
        about = machine(device)
        print(", ".join(f"{key}: {value}" for key, value in about.items()), flush=True)
        report = {"machine": about, **measured(arguments, device)}
    except InputError as error:
        parser.error(str(error))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number of the command line that may not be smaller."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be at least {least}")
        return int(text)

    return number


def measured(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """What the command line asks for."""
    return {
        "speed": [speed.measure(size, arguments.repeats, device) for size in arguments.size],
        "race": [
            race.measure(
                size,
                init,
                arguments.evaluations,
                device,
                weights,
                arguments.precision,
                arguments.goal,
            )
            for size in arguments.race
            for weights in arguments.weights
            for init in arguments.init
        ],
        "sweeps": sweeps.measure(
            arguments.sweeps,
            arguments.reference,
            arguments.precision,
            arguments.launchers,
            arguments.device,
        ),
        "memory": memory.measure(arguments.memory, arguments.device),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures hang on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def cpu_model() -> str:
    """The CPU's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
