"""A process that has imported what commands need, and forks itself for each of them.

A command then takes its own work alone, without the seconds in which Python, torch and matplotlib
start. It is a process of its own all the same, which nothing has run in before.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from hydra.core.plugins import Plugins

IMPORTED = (
    *("nst.cli.app", "nst.report", "safetensors.torch", "tqdm.auto"),
    *("torch.utils.tensorboard", "tensorboard.plugins.hparams.metadata"),
)
# Seconds that no command takes.
TIMEOUT = 300


class Commands:
    """Runs `python -W error -m nst`, by the processes that this file's program makes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        command = [sys.executable, "-W", "error", __file__]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(
        self, arguments: list[str], folder: Path, environment: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, as `subprocess.run` does.

        Args:
            arguments: of `nst`.
            folder: that it runs in.
            environment: its variables, `PYTHONPATH` among them.
        """
        outputs = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        asked = [arguments, str(folder), environment, list(map(str, outputs))]
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        texts = [path.read_text() for path in outputs]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self) -> None:
        """End the program."""
        self._server.communicate()
        self._folder.cleanup()


def serve() -> None:
    """Become the commands that are asked for, one per line; answer with their exit codes."""
    for name in IMPORTED:
        importlib.import_module(name)
    Plugins.instance()  # imports Hydra's
    gc.freeze()  # or each command looks through all of it again and again
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(*json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(
    arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]
) -> None:
    """Run the command in this process, which ends as it would by itself."""
    signal.alarm(TIMEOUT)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    opened += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in outputs]
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # As `python -m` has it, without this file's folder.
    sys.path[0] = folder
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["nst", *arguments]
    warnings.simplefilter("error")
    runpy.run_module("nst", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
