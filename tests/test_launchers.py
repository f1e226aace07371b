"""Launchers and search: every preset runs a real sweep, and a sweep that was killed is taken up."""

import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from nst.cli import app
from nst.errors import InputError
from nst.files import hold
from support import REPOSITORY, TINY, Command, posix

pytestmark = [posix, pytest.mark.slow]

TWO = ("optimizer=adam,lbfgs",)
FOUR = (*TWO, "init=random,content")
CLUSTER = REPOSITORY / "scripts" / "slurm_cluster"


def needs(launcher: str) -> None:
    extra = launcher.partition("_")[0]
    kind = "sweeper" if extra == "optuna" else "launcher"
    if importlib.util.find_spec(f"hydra_plugins.hydra_{extra}_{kind}") is None:
        pytest.skip(f"the extra {extra} is not installed")


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`python -m nst`; how many threads its jobs have is left to the launcher, if there is one."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    if not any(argument.startswith("hydra/launcher=") for argument in arguments):
        environment["OMP_NUM_THREADS"] = "1"
    return subprocess.Popen(
        [sys.executable, "-m", "nst", *arguments, "name=sweep", "--multirun"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep(folder: Path, *arguments: str) -> str:
    """Run a sweep to its end; return what it printed."""
    with start(folder, *arguments) as running:
        try:
            output, errors = running.communicate(timeout=240)
        finally:
            running.kill()
    assert running.returncode == 0, errors
    return output


def results(folder: Path) -> dict[str, dict[str, object]]:
    found = (folder / "outputs" / "sweep").glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def check(folder: Path, *values: str) -> None:
    """A sweep over some values left a finished job for each of their combinations, and a report."""
    found = results(folder)
    expected = {",".join(sorted(each)) for each in itertools.product(*map(spelt, values))}
    assert set(found) == {each.replace("=", "-").replace(",", "_") for each in expected}
    assert {record["status"] for record in found.values()} == {"ok"}
    made = folder / "outputs" / "sweep"
    assert {path.name for path in made.glob("*/.hydra")} == {".hydra"}
    for name in ("summary.csv", "comparison.png", "losses.png", "report.html"):
        assert (made / name).exists()


def spelt(values: str) -> list[str]:
    """`a=1,2` as `a=1` and `a=2`."""
    key, _, each = values.partition("=")
    return [f"{key}={value}" for value in each.split(",")]


def threads(folder: Path) -> set[object]:
    return {record["threads"] for record in results(folder).values()}


def test_joblib(tmp_path: Path) -> None:
    needs("joblib")
    from joblib import cpu_count

    sweep(tmp_path, *FOUR, *TINY, "hydra/launcher=joblib")
    check(tmp_path, *FOUR)
    assert threads(tmp_path) == {max(cpu_count() // 2, 1)}


@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_one_thread_per_job(launcher: str, tmp_path: Path) -> None:
    needs(launcher)
    sweep(tmp_path, *TWO, *TINY, f"hydra/launcher={launcher}")
    check(tmp_path, *TWO)
    assert threads(tmp_path) == {1}


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A cluster of this machine, brought up by the script and taken down again."""
    needs("submitit_slurm")
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a Slurm cluster needs root and apt-get")
    begun = subprocess.run([CLUSTER], capture_output=True, text=True, timeout=300)
    if begun.returncode == 2:
        pytest.skip(begun.stderr.strip())
    assert begun.returncode == 0, begun.stderr
    again = subprocess.run([CLUSTER], capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout == "slurm_cluster: already up\n"
    yield
    if "already up" not in begun.stdout:
        subprocess.run([CLUSTER, "stop"], capture_output=True, check=True, timeout=60)


@pytest.mark.usefixtures("slurm")
def test_slurm(tmp_path: Path) -> None:
    arguments = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")
    sweep(tmp_path, *TWO, *TINY, *arguments)
    check(tmp_path, *TWO)
    assert threads(tmp_path) == {1}
    arrays = list((tmp_path / "outputs" / "sweep" / ".submitit").glob("*_1"))
    assert len(arrays) == 1


@pytest.mark.usefixtures("slurm")
def test_slurm_runs_a_job_again_whose_time_is_up(tmp_path: Path) -> None:
    """SIGUSR1, as `sbatch --signal=B:USR1@60` sends it: saved, requeued, gone on with."""
    run = tmp_path / "run"
    long = "size=32 model.weights=embedded budget.evaluations=500 optimizer=adam"
    script = tmp_path / "job.sh"
    script.write_text(
        f"#!/bin/sh\nexec {sys.executable} -m nst {long} output.image_every=10 hydra.run.dir=run\n"
    )

    def slurm(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.strip()

    def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, slurm("scontrol", "show", "job", job)
            time.sleep(0.1)

    def status() -> object:
        path = run / "result.json"
        return json.loads(path.read_text())["status"] if path.exists() else None

    job = slurm("sbatch", "--parsable", "--requeue", str(script))
    wait(lambda: (run / "images" / "000010.png").exists())
    slurm("scancel", "--signal=USR1", "--batch", job)
    wait(lambda: status() == "interrupted")
    wait(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job))
    # Slurm would wait two minutes before it runs a requeued job, and fails one that is started
    # while the node still cleans up after it, or in the very second in which it was taken away.
    wait(lambda: "JobState=PENDING" in slurm("scontrol", "show", "job", job))
    wait(lambda: slurm("sinfo", "--noheader", "--format=%t") == "idle")
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    wait(lambda: status() == "ok")
    record = json.loads((run / "result.json").read_text())
    assert record["evaluations"] == 500
    assert 10 <= record["resumed_after"] < 500


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a finished job runs again: its result is a new file."""
    found = (folder / "outputs" / "sweep").glob("*/result.json")
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def in_the_middle(folder: Path) -> bool:
    """A job is done, another has losses and no result."""
    begun = {
        path.parent.name
        for path in (folder / "outputs" / "sweep").glob("*/losses.jsonl")
        if path.stat().st_size
    }
    done = set(stamps(folder))
    return bool(done and begun - done)


def workers(parent: int) -> list[int]:
    """Process ids of joblib's workers below a process."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(c) for c in children if b"popen_loky" in Path(f"/proc/{c}/cmdline").read_bytes()]


@pytest.mark.parametrize("launcher", [None, "joblib"])
def test_killed_sweep_is_taken_up(launcher: str | None, tmp_path: Path) -> None:
    """Without a launcher the jobs are in the program, which dies with them; joblib's are not."""
    if launcher:
        needs("joblib")
        if not Path("/proc/self/task").exists():
            pytest.skip("finding the workers needs /proc")
    long = ("size=32", "model.weights=embedded", "budget.evaluations=20", "output.image_every=null")
    arguments = (*FOUR, *long, *([f"hydra/launcher={launcher}"] if launcher else []))
    with start(tmp_path, *arguments) as running:
        try:
            wait_until(lambda: in_the_middle(tmp_path), running)
            os.kill(workers(running.pid)[0] if launcher else running.pid, signal.SIGKILL)
            _, errors = running.communicate(timeout=60)
        finally:
            running.kill()
    before = stamps(tmp_path)
    assert 0 < len(before) < 4
    if launcher is None:
        assert running.returncode == -signal.SIGKILL
    else:
        assert running.returncode == app.FAILED
        assert "nst: the sweep ended early: A worker process" in errors
        assert "Traceback" not in errors
        assert (tmp_path / "outputs" / "sweep" / "report.html").exists()
    output = sweep(tmp_path, *arguments)
    assert output.count("already done") == len(before)
    check(tmp_path, *FOUR)
    after = stamps(tmp_path)
    assert {name: after[name] for name in before} == before


def test_interrupted_sweep_is_reported_and_exits_with_130(tmp_path: Path) -> None:
    long = ("size=32", "model.weights=embedded", "budget.evaluations=100000", "seed=1,2")
    with start(tmp_path, *long) as running:
        losses = tmp_path / "outputs" / "sweep" / "seed-1" / "losses.jsonl"
        try:
            wait_until(lambda: losses.exists() and losses.stat().st_size > 0, running)
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert {name: record["status"] for name, record in results(tmp_path).items()} == {
        "seed-1": "interrupted"
    }
    assert (tmp_path / "outputs" / "sweep" / "report.html").exists()


def test_folder_has_room_for_one_process(tmp_path: Path) -> None:
    with hold(tmp_path):
        with pytest.raises(InputError, match="another process is at work"), hold(tmp_path):
            pass
    with hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from nst.files import hold
with hold(Path({str(tmp_path)!r})):
    print("held", flush=True)
    input()
"""
    holder = [sys.executable, "-c", code]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(InputError), hold(tmp_path):
            pass
        running.kill()
    with hold(tmp_path):
        pass


def test_optuna_searches_and_goes_on_where_it_was(tmp_path: Path) -> None:
    needs("optuna")

    def search(trials: int) -> str:
        return sweep(tmp_path, *TINY, "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}")

    search(2)
    before = stamps(tmp_path)
    assert len(before) == 2
    assert search(3).count("already done") == 2
    found = results(tmp_path)
    assert {name: stamps(tmp_path)[name] for name in before} == before
    assert len(found) == 3
    folder = tmp_path / "outputs" / "sweep"
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert set(best["best_params"]) == {"optimizer.lr", "loss.strength"}
    assert best["best_value"] == min(record["yardstick"]["balance"] for record in found.values())
    assert 0 < best["best_value"] < 1
    for path in folder.glob("*/.hydra/config.yaml"):
        config = yaml.safe_load(path.read_text())
        assert 0.01 <= config["optimizer"]["lr"] <= 1
        assert 0.1 <= config["loss"]["strength"] <= 0.9
    assert (folder / "report.html").exists()


def test_absent_plugin_is_one_line_that_names_its_extra(tmp_path: Path) -> None:
    code = """
import os, sys, types
import nst
plugins = types.ModuleType("hydra_plugins")  # none is installed but nst's own
plugins.__path__ = [os.path.join(os.path.dirname(nst.__file__), "cli/plugins/hydra_plugins")]
sys.modules["hydra_plugins"] = plugins
from nst.cli import app
for preset in sys.argv[1:]:
    sys.argv = ["nst", "size=32,48", "name=x", "hydra/" + preset, "--multirun"]
    try:
        app.main()
    except SystemExit as stop:
        print(stop.code)
    del os.environ["HYDRA_FULL_ERROR"]
sys.argv = ["nst", "--help"]
app.main()
"""
    extras = {
        "launcher=joblib": "joblib",
        "launcher=submitit_local": "submitit",
        "launcher=submitit_slurm": "submitit",
        "launcher=ray": "ray",
        "sweeper=optuna": "optuna",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *extras],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{app.BAD_INPUT}\n" * len(extras))
    assert "adam, averaged, crowsonkb, lbfgs*" in done.stdout
    for line, (preset, extra) in zip(done.stderr.splitlines(), extras.items(), strict=True):
        kind = preset.partition("=")[0]
        assert line == f"nst: the {extra} {kind} is an extra: pip install -e '.[{extra}]'"
    assert not list(tmp_path.glob("outputs/x/*/"))


def test_launcher_that_cannot_start_is_one_line(nst_command: Command, tmp_path: Path) -> None:
    needs("submitit_slurm")
    done = nst_command(*TINY, "seed=1,2", "hydra/launcher=submitit_slurm", "--multirun", PATH="")
    assert done.returncode == app.FAILED
    assert done.stderr.startswith("nst: the sweep ended early: Could not detect")
    assert done.stderr.count("\n") == 1


def test_every_preset_was_run() -> None:
    presets = {path.stem for path in (app.config_dir() / "hydra").glob("*er/*.yaml")}
    # "nst" is what every sweep has without a choice.
    assert presets == {
        "batch",
        "joblib",
        "nst",
        "submitit_local",
        "submitit_slurm",
        "ray",
        "optuna",
    }
