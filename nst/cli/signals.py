"""Signals end a run in good order: its state is saved, and the exit code says which one it was."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nst.network.weights import is_downloading

log = logging.getLogger(__name__)

EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}


@contextmanager
def signals() -> Iterator[Callable[[], str | None]]:
    """Note signals instead of dying; a second one is not held back.

    A download is cut off all the same, by a KeyboardInterrupt: there is nothing yet to be saved.
    Where SIGUSR1 ends the `with` block, Slurm is asked to run its job again.

    Yields:
        What returns the name of the first signal, None before there is one.
    """
    received: list[str] = []
    previous: dict[int, Any] = {}

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        for each, handler in previous.items():
            signal.signal(each, handler)
        if is_downloading():
            raise KeyboardInterrupt

    try:
        for name in EXIT_CODES:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue  # SIGUSR1 on Windows; SIGHUP under nohup
            previous[number] = signal.signal(number, note)
    except ValueError:
        pass  # not the main thread, where a launcher may run jobs: its signals are its own
    try:
        yield lambda: next(iter(received), None)
    except SystemExit as stop:
        if stop.code == EXIT_CODES["SIGUSR1"]:
            _requeue()
        raise
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _requeue() -> None:
    """Ask Slurm to run the job again; the same command then goes on from the checkpoint."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        # Slurm's own command, with the number of the job that this process belongs to.
        subprocess.run(["scontrol", "requeue", job], check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        log.error("nst: scontrol requeue %s: %s", job, error)
