"""Interrupted and killed runs go on, to the very image of a run that was left alone."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nst.cli import resume
from nst.errors import InputError
from support import Command, posix

pytestmark = [posix, pytest.mark.slow]

# A run of three seconds, whose checkpoints are most of its work.
ARGUMENTS = (
    *("size=32", "model.weights=embedded", "init=random", "optimizer.max_iter=5"),
    *("budget.evaluations=120", "checkpoint.every=1", "output.image_every=10"),
)


def start(folder: Path, *arguments: str) -> multiprocessing.process.BaseProcess:
    """The command line in a process of its own, forked from one that has torch imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nst.cli.app"])
    process = context.Process(target=_main, args=(folder, arguments))
    process.start()
    return process


def _main(folder: Path, arguments: tuple[str, ...]) -> None:
    from nst.cli import app

    os.chdir(folder)
    sys.argv = ["nst", *arguments]
    app.main()


def finish(folder: Path, *arguments: str) -> int | None:
    process = start(folder, *arguments)
    process.join(120)
    return process.exitcode


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


def totals(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / "losses.jsonl").read_text().splitlines()
    return [(row["evaluation"], row["total"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(folder, *ARGUMENTS, "hydra.run.dir=run") == 0
    return folder / "run"


def test_run_killed_at_twenty_random_moments_ends_with_the_same_image(
    undisturbed: Path, tmp_path: Path
) -> None:
    run, kills = tmp_path / "outputs" / "single" / "lake", 0
    generator = random.Random(0)
    command = [*ARGUMENTS, "name=lake"]
    process = start(tmp_path, *command)
    while kills < 20:
        # From within its start to well into its work, where it is saving half of the time.
        process.join(generator.choice([0.2, generator.uniform(0.5, 3)]))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:  # done between two kills: once more from the start
            assert process.exitcode == 0
            assert_equal(run, undisturbed)
            shutil.rmtree(run)
        by_folder = any(run.glob("checkpoint*.pt")) and kills % 2
        process = start(tmp_path, *(["resume=outputs/single/lake"] if by_folder else command))
    process.join(120)
    assert process.exitcode == 0
    assert_equal(run, undisturbed)


def assert_equal(run: Path, undisturbed: Path) -> None:
    assert pixels(run / "result.png") == pixels(undisturbed / "result.png")
    assert totals(run) == totals(undisturbed)
    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    logged = [event.step for event in board.Scalars("loss/total")]
    assert logged == [evaluation for evaluation, _ in totals(undisturbed)]


def test_interrupted_run_is_gone_on_with_by_its_folder(
    undisturbed: Path, nst_command: Command, tmp_path: Path
) -> None:
    process = start(tmp_path, *ARGUMENTS, "hydra.run.dir='a run, 1=2'")
    run = tmp_path / "a run, 1=2"
    while not (run / "images" / "000020.png").exists():
        assert process.is_alive()
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    record = json.loads((run / "result.json").read_text())
    assert (record["status"], record["resumed_after"]) == ("interrupted", None)

    refused = nst_command("resume=a run, 1=2", "optimizer.lr=0.5", "loss.style_weight=5")
    assert refused.returncode == 2
    assert "made with another optimizer.lr (1.0 there, 0.5 here), style_weight" in refused.stderr
    assert json.loads((run / "result.json").read_text()) == record
    overrides = (run / ".hydra" / "overrides.yaml").read_text()
    assert "optimizer.lr" not in overrides

    less = record["evaluations"] - 1  # the checkpoint may be of before that
    refused = nst_command("resume=a run, 1=2", f"budget.evaluations={less}")
    assert refused.returncode == 2
    assert f"after {less + 1} evaluations, which is past budget.evaluations" in refused.stderr
    assert json.loads((run / "result.json").read_text()) == record

    done = nst_command("resume=a run, 1=2", "output.format=webp")
    assert done.returncode == 0, done.stderr
    assert totals(run) == totals(undisturbed)
    record = json.loads((run / "result.json").read_text())
    assert record["status"] == "ok"
    assert 20 <= record["resumed_after"] < 120
    assert (run / "result.webp").exists()
    assert not (run / "result.png").exists()
    again = nst_command("resume=a run, 1=2", "output.format=webp")
    assert (again.returncode, "already done" in again.stdout) == (0, True)
    longer = nst_command("resume=a run, 1=2", "budget.evaluations=200")
    assert longer.returncode == 2
    assert "was finished" in longer.stderr
    assert json.loads((run / "result.json").read_text()) == record
    assert (run / ".hydra" / "overrides.yaml").read_text() == overrides


def test_finished_run_killed_before_its_result_was_written_gets_it(
    undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / ".result.png.0123456789ab.tmp").write_bytes(b"half")
    (run / "result.png").unlink()
    (run / "result.json").unlink()
    assert finish(tmp_path, "resume=run") == 0
    assert_equal(run, undisturbed)
    assert not list(run.glob(".*.tmp"))


def test_sweep_goes_on_with_its_interrupted_job(undisturbed: Path, tmp_path: Path) -> None:
    sweep = [a for a in ARGUMENTS if not a.startswith("init")] + ["init=random,content", "name=s"]
    process = start(tmp_path, *sweep, "--multirun")
    run = tmp_path / "outputs" / "s" / "init-random"
    while not (run / "images" / "000030.png").exists():
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join()
    assert finish(tmp_path, *sweep, "--multirun") == 0
    record = json.loads((run / "result.json").read_text())
    assert record["resumed_after"] >= 25  # the step of five that image 30 ends was not saved yet
    assert not (run / "previous").exists()
    assert pixels(run / "result.png") == pixels(undisturbed / "result.png")


def test_damaged_checkpoint_gives_way_to_the_one_before(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *ARGUMENTS, "hydra.run.dir=run")
    run = tmp_path / "run"
    while not (run / "checkpoint.previous.pt").exists():
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join()
    data = (run / "checkpoint.previous.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(data[:-1000])
    assert finish(tmp_path, "resume=run") == 0
    assert "going on from checkpoint.previous.pt" in (run / "nst.log").read_text()
    assert pixels(run / "result.png") == pixels(undisturbed / "result.png")


def test_end_of_a_jobs_time_asks_slurm_to_run_it_again(tmp_path: Path) -> None:
    """With a stand-in for Slurm's command; `tests/test_launchers.py` has the real cluster."""
    stand_in = tmp_path / "bin" / "scontrol"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\n")
    stand_in.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{stand_in.parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "12",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    command = [sys.executable, "-m", "nst", *ARGUMENTS, "budget.evaluations=100000"]
    process = subprocess.Popen([*command, "hydra.run.dir=run"], cwd=tmp_path, env=environment)
    while not (tmp_path / "run" / "images" / "000010.png").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 138
    assert (tmp_path / "asked").read_text() == "requeue 7_3\n"
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_files_and_folders_are_found_from_elsewhere(tmp_path: Path) -> None:
    run = tmp_path / "project" / "out" / "x"
    (run / ".hydra").mkdir(parents=True)
    (tmp_path / "project" / "earlier").mkdir()
    (tmp_path / "project" / "a${x}.png").touch()
    (run / "checkpoint.pt").touch()
    (run / ".hydra" / "overrides.yaml").write_text("- init=result\n- init.folder=earlier\n")
    settings = {"init": {"folder": "earlier"}, "content": r"a\${x}.png", "style": "lost.png"}
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    runtime = {"cwd": str(tmp_path / "project"), "output_dir": str(run)}
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": runtime}}))
    found = resume.expand([f"resume={run}"])
    assert f"init.folder={tmp_path}/project/earlier" in found
    assert f"content='{tmp_path}/project/a\\${{x}}.png'" in found
    assert not any(argument.startswith("style=") for argument in found)


def test_expansion_of_a_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "it's"
    (folder / ".hydra").mkdir(parents=True)
    with pytest.raises(InputError, match="no run was started there"):
        resume.expand([f"resume={folder}"])
    (folder / ".hydra" / "overrides.yaml").write_text("- optimizer=adam\n- size=64\n- resume=x\n")
    with pytest.raises(InputError, match="before its first checkpoint"):
        resume.expand([f"resume={folder}"])
    (folder / "checkpoint.pt").touch()
    assert resume.expand(["a=1"]) == ["a=1"]
    quoted = str(folder).replace("'", "\\'")
    where = [f"resume='{quoted}'", f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null"]
    found = resume.expand([f"resume={folder}", "size=32", "+b.c=2"])
    assert found == ["optimizer=adam", *where, "size=32", "+b.c=2"]
    sources = [{"path": "nst", "provider": "main"}, {"path": "/my", "provider": "command-line"}]
    kept = {"hydra": {"runtime": {"config_sources": sources}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(kept))
    found = resume.expand([f"resume={where[0]}"[7:], "size=32", "--cfg", "job"])
    assert found == ["optimizer=adam", *where, "size=32", "--cfg", "job", "--config-dir=/my"]
    found = resume.expand([f"resume={folder}", "--config-dir", "/other"])
    assert found == ["optimizer=adam", "size=64", *where, "--config-dir", "/other"]
    (folder / ".hydra" / "overrides.yaml").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        resume.expand([f"resume={folder}"])
    (folder / "multirun.yaml").touch()
    with pytest.raises(InputError, match="is a sweep"):
        resume.expand([f"resume={folder}"])
