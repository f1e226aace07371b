"""Signals end a run in good order: its state is saved, and the exit code says which one it was."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

_AT_WORK = "Stopping when this evaluation is done, with everything saved; once more stops at once"
_NOT_BEGUN = "stopped before the first evaluation; the same command starts again"
_AT_ONCE = "stopped at once; what the last checkpoint holds is saved"
EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}
# Seconds until a run that has been asked to stop, and is still at work, says so.
_PATIENCE = 2.0


@contextmanager
def signals() -> Iterator[Callable[[], str | None]]:
    """Note signals instead of dying; a second one is not held back.

    Until what is yielded has been asked for the first time nothing is there to be saved, and a
    signal ends the `with` block at once, with a SystemExit. Where SIGUSR1 ends it, Slurm is asked
    to run its job again.

    Yields:
        What returns the name of the first signal, None before there is one.
    """
    received: list[str] = []
    begun = threading.Event()
    previous: dict[int, Any] = {}
    # In a thread of its own: a signal may come in the middle of another message.
    at_work = threading.Timer(_PATIENCE, log.info, [_AT_WORK])
    at_work.daemon = True

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        for each, handler in previous.items():
            signal.signal(each, handler)
        if not begun.is_set():
            raise KeyboardInterrupt(_NOT_BEGUN)
        at_work.start()

    def stop_requested() -> str | None:
        begun.set()
        return next(iter(received), None)

    try:
        for name in EXIT_CODES:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue  # SIGUSR1 on Windows; SIGHUP under nohup
            previous[number] = signal.signal(number, note)
    except ValueError:
        pass  # not the main thread, where a launcher may run jobs: its signals are its own
    try:
        try:
            yield stop_requested
        except KeyboardInterrupt as interrupt:
            if not received:
                raise
            log.info("%s: %s", received[0], str(interrupt) or _AT_ONCE)
            sys.exit(EXIT_CODES[received[0]])
    except SystemExit as stop:
        if stop.code == EXIT_CODES["SIGUSR1"]:
            _requeue()
        raise
    finally:
        at_work.cancel()
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
