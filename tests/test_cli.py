"""The command line as a user sees it: files, exit codes, messages, sweeps, signals."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

import nst
from nst.cli import app
from nst.cli.arguments import prepared
from nst.errors import InputError
from nst.run.devices import device_name, resolve_device
from support import TINY, Command, posix

LINE = {
    *("step", "evaluation", "seconds", "content", "style", "tv", "total", "layers"),
    *("scale", "cost", "terms"),
}


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def record(folder: Path) -> dict[str, object]:
    return json.loads((folder / "result.json").read_text())


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def test_one_run_leaves_its_files(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(*TINY, "output.image_every=2", "init=random", "seed=3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "evaluation" in done.stdout
    folder = only(tmp_path / "outputs" / "single")
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {
        *("result.png", "result.json", "losses.jsonl", "images", "checkpoint.pt"),
        *(".hydra", ".nst", "nst.log"),
    }
    found = record(folder)
    assert (found["status"], found["stop_reason"], found["seed"]) == ("ok", "evaluations", 3)
    assert (found["evaluations"], found["size"]) == (3, [32, 24])
    assert found["weights"]["source"] == "embedded"
    assert len(found["weights"]["sha256"]) == len(found["config_sha256"]) == 64
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    lines = rows(folder)
    assert [line["evaluation"] for line in lines] == [1, 2, 3]
    assert set(lines[0]) == LINE
    assert found["final"] == lines[-1]
    assert found["best"] == min(lines, key=lambda line: line["total"])
    with Image.open(folder / "result.png") as picture:
        assert picture.size == (32, 24)
    images = {path.name for path in (folder / "images").iterdir()}
    assert images == {"content.png", "style.png", "000001.png", "000002.png", "000003.png"}
    assert f"outputs/single/{folder.name}/result.png" in done.stdout
    assert "tensorboard --logdir outputs" in done.stdout


def test_folder_elsewhere_is_where_tensorboard_is_to_look(
    nst_command: Command, tmp_path: Path
) -> None:
    done = nst_command(*TINY, "hydra.run.dir='my runs/a'")
    assert f"tensorboard --logdir '{tmp_path}/my runs/a'\n" in done.stdout
    done = nst_command(*TINY, "seed=1,2", f"hydra.sweep.dir={tmp_path}/sweep", "--multirun")
    assert f"tensorboard --logdir {tmp_path}/sweep\n" in done.stdout


def test_four_way_sweep(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(
        "optimizer=adam,lbfgs", "init=random,content", *TINY, "name=four", "--multirun"
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "four"
    runs = {path.name: path for path in folder.iterdir() if path.is_dir() and path.name != ".nst"}
    assert set(runs) == {
        f"init-{init}_optimizer-{optimizer}"
        for init in ("random", "content")
        for optimizer in ("adam", "lbfgs")
    }
    for name in ("summary.csv", "comparison.png", "losses.png", "report.html"):
        assert (folder / name).stat().st_size > 0
        assert name == "report.html" or name not in done.stderr
    for name, run in runs.items():
        assert record(run)["status"] == "ok"
        check_tensorboard(run, rows(run), name)
    table = [line for line in done.stdout.splitlines() if line.startswith("init-")]
    assert len(table) == 4
    again = nst_command(
        "optimizer=adam,lbfgs", "init=random,content", *TINY, "name=four", "--multirun"
    )
    assert again.returncode == 0
    assert again.stdout.count("already done") == 4


def tags_of(event: bytes) -> set[str]:
    """The losses in an event."""
    tags = {value.tag for value in event_pb2.Event.FromString(event).summary.value}
    return {tag for tag in tags if tag.startswith(("loss/", "per_layer/"))}


def check_tensorboard(run: Path, lines: list[dict[str, object]], name: str) -> None:
    """Scalars, images, config text and the hparams row, all in the run's one event file."""
    (file,) = run.rglob("events.out.tfevents.*")
    plotted = [tags for tags in map(tags_of, RawEventFileLoader(str(file)).Load()) if tags]
    board = events(run)
    scalars = set(board.Tags()["scalars"])
    assert {f"loss/{term}" for term in ("total", "content", "style", "tv")} <= scalars
    assert {"per_layer/content/relu4_2", "per_layer/style/relu5_1"} <= scalars
    # Quickly: an event for each evaluation, not for each value.
    losses = {tag for tag in scalars if tag.startswith(("loss/", "per_layer/"))}
    assert plotted == [losses] * len(lines)
    assert {"speed/evaluations_per_second", "summary/picture_total", "summary/clipped"} <= scalars
    assert board.Scalars("summary/picture_total")[0].value == pytest.approx(
        record(run)["picture"]["total"], rel=1e-6
    )
    logged = [(event.step, event.value) for event in board.Scalars("loss/total")]
    assert logged == [
        (line["evaluation"], pytest.approx(line["total"], rel=1e-6)) for line in lines
    ]
    assert [event.step for event in board.Images("image/current")] == [1, 3]
    panels = board.Images("image/content_style_result")
    assert [event.step for event in panels] == [3]
    assert panels[0].height == 24
    assert panels[0].width > 3 * 24
    text = board.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "weights: embedded" in text
    hparams = board.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    optimizer = name.rpartition("-")[2]
    for expected in ("optimizer", optimizer, "init", "size", "optimizer.lr"):
        assert expected.encode() in hparams


def test_changed_job_runs_again_and_keeps_what_was_there(
    nst_command: Command, tmp_path: Path
) -> None:
    for seed, expected in ((0, 0), (1, 1)):
        done = nst_command(*TINY, f"seed={seed}", "init=random,content", "name=a", "--multirun")
        assert done.returncode == 0, done.stderr
        run = tmp_path / "outputs" / "a" / "init-random"
        assert record(run)["seed"] == seed
        assert len(list(run.glob("previous/*/result.png"))) == expected


def test_failing_job_costs_no_other(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(*TINY, "size=32,8", "name=b", "--multirun")
    assert done.returncode == app.FAILED
    folder = tmp_path / "outputs" / "b"
    assert record(folder / "size-32")["status"] == "ok"
    failed = record(folder / "size-8")
    assert failed["status"] == "failed"
    assert "too small" in failed["error"]
    assert failed["error"] in (folder / "size-8" / "nst.log").read_text()
    assert (folder / "report.html").exists()
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_typo_stops_a_sweep_before_its_first_job(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command("optimizer=adam,lbfsg", *TINY, "name=c", "--multirun")
    assert done.returncode == app.BAD_INPUT
    assert "optimizer=lbfsg: there is no such option; there are adam, averaged" in done.stderr
    assert [path.name for path in (tmp_path / "outputs" / "c").iterdir()] == ["multirun.yaml"]


def test_misspelt_argument_of_a_users_class_stops_a_sweep_before_its_first_job(
    nst_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "rms.yaml").write_text(
        "_target_: torch.optim.RMSprop\n_partial_: true\nlr: 0.02\nmomentun: 0.3\n"
    )
    arguments = (*TINY, "--config-dir", "mine", "optimizer=adam,rms", "name=s", "--multirun")
    done = nst_command(*arguments)
    assert done.returncode == app.BAD_INPUT
    assert "unexpected keyword argument 'momentun'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "outputs").rglob("result.json"))
    right = nst_command(*arguments, "~optimizer.momentun", "optimizer=rms", "+optimizer.momentum=0")
    assert right.returncode == 0, right.stderr


@pytest.mark.parametrize("logging", ["none", "disabled", "stdout", "default"])
def test_stock_logging_of_hydra(nst_command: Command, tmp_path: Path, logging: str) -> None:
    done = nst_command(*TINY, f"hydra/job_logging={logging}", "hydra.run.dir=x")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x" / "result.png").exists()


def test_verbose_is_about_nst_and_hydra(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(*TINY, "seed=1,2", "hydra.verbose=true", "--multirun")
    assert done.returncode == 0, done.stderr
    assert "findfont" not in done.stdout + done.stderr


def test_version(nst_command: Command) -> None:
    shown = nst_command("--version").stdout
    assert shown.startswith(f"nst {nst.__version__} (Hydra 1.3")
    assert f"torch {torch.__version__}" in shown
    assert f"\ndevice=auto takes {device_name(resolve_device('auto'))}\n" in shown


@pytest.mark.parametrize("name", ["2024_01_15", "007", "1e3", "true", "1.50"])
def test_a_name_is_a_name(
    command: Callable[..., tuple[int, str]], tmp_path: Path, name: str
) -> None:
    assert command(*TINY, f"hydra.run.dir={name}") == (0, "")
    assert (tmp_path / name / "result.png").exists()


def test_overrides_come_before_flags_and_texts_in_quotes() -> None:
    given = ["style=2024_01_15,b.jpg", "--cfg", "job", "-m", "--info", "size=1_0", "name=7", "~x"]
    overrides = ["style='2024_01_15',b.jpg", "size=1_0", "name=7", "~x"]
    assert prepared(given) == [*overrides, "--cfg", "job", "-m", "--info"]
    around = ["optimizer=adam,lbfgs", "--multirun", "init=random", "-cd", "mine", "size=32"]
    assert prepared(around) == [*around[::2][:2], "size=32", "--multirun", "-cd", "mine"]
    functions = ["checkpoint.every=choice(10,20)", "name=sort(20,10)", "-i", "config"]
    assert prepared(functions) == functions
    with pytest.raises(InputError, match="must be KEY=VALUE, such as content=photo"):
        prepared(["photo.jpg", "art.jpg"])
    with pytest.raises(InputError, match="--multrun: there is no such flag"):
        prepared(["init=random,content", "--multrun"])


def test_every_swept_key_is_a_column_of_tensorboard(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(*TINY, "layers.style.relu5_1=0,1", "size=null", "name=s", "--multirun")
    assert done.returncode == 0, done.stderr
    for value in (0, 1):
        board = events(tmp_path / "outputs" / "s" / f"layers.style.relu5_1-{value}")
        plugin = board.summary_metadata["_hparams_/session_start_info"].plugin_data
        found = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        columns = found.session_start_info.hparams
        assert "layers.style.relu5_1" in columns
        assert columns["layers.style.relu5_1"].number_value == value
        assert columns["size"].number_value == 256
        assert "rounding" not in columns


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signal_ends_the_run_with_its_files_whole(name: str, code: int, tmp_path: Path) -> None:
    long = ("size=32", "model.weights=embedded", "budget.evaluations=100000", "optimizer=adam")
    running = subprocess.Popen(
        [sys.executable, "-m", "nst", *long],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: any(tmp_path.glob("outputs/single/*/images/000050.png")), running)
        running.send_signal(getattr(signal, name))
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == code
    assert errors == ""
    folder = only(tmp_path / "outputs" / "single")
    found = record(folder)
    assert (found["status"], found["stop_reason"]) == ("interrupted", name)
    assert found["evaluations"] == len(rows(folder)) >= 50
    Image.open(folder / "result.png").load()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """The command line within this process: quicker where many cases are tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app.SweepCallback, "folder", None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which also takes back what main() sets
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["nst", *arguments])
        with pytest.raises(SystemExit) as stop:
            app.main()
        return stop.value.code, capsys.readouterr().err

    yield run
    for handler in set(root.handlers) - set(before[0]):
        handler.close()  # Hydra leaves a run's nst.log open until the process ends
    root.handlers[:], root.level = before


BAD = [
    (["content=none.jpg"], "none.jpg: no such file"),
    (["style=text.jpg"], "text.jpg: not a picture"),
    (["content=cut.png"], "cut.png: damaged"),
    (["size=8"], "at least 16 px"),
    (["size=-5"], "size must be at least 1, not -5"),
    (["size=abc"], "size=abc Value 'abc' of type 'str' could not be converted to Integer"),
    (["seed=1.5"], "could not be converted to Integer"),
    (["+layers.style.relu9_9=1"], "unknown layer 'relu9_9'; the layers of VGG-19 are conv1_1"),
    (["optimzer=adam"], "'optimzer' not in 'RunConf' (did you mean optimizer?); valid keys: alpha"),
    (
        ["optimizer.momentum=1"],
        "valid keys: first_step, history_precision, history_size, initial_scale, "
        "line_search_fn, lr",
    ),
    (["optimizer=sgd"], "optimizer=sgd: there is no such option; there are adam, averaged"),
    (["experiment=fast"], "experiment=fast: there is no such option; there are blend, color_map"),
    (["+optimizer.weight_decay=0.9"], "optimizer.weight_decay: nothing reads this key; those"),
    (["++loss.gain=2"], "loss.gain: nothing reads this key"),
    (["+colour=1"], "colour: nothing reads this key; those beside it are: content, style"),
    (["+hydra.colour=1"], "hydra.colour: nothing reads this key"),
    (["init.path=x.png"], "'path' not in 'ContentInitConf'; this option has no keys"),
    (["size=32,"], "size=32, (a list of values to sweep has no empty ones)"),
    (["schedule.scales=[1"], "[ without ]"),
    (["layers.style={}"], "layers.style=... would be merged into the layers that are there"),
    (["++layers.content={relu1_1: 1}"], "layers.content=... would be merged"),
    (["+optimizer=adam"], "optimizer"),
    (["max_megapixels=0.001"], "px, more than max_megapixels=0.001 (max_megapixels=null"),
    (["hydra.job.chdir=true"], "hydra.job.chdir: paths are meant from where the command"),
    (["optimizer._target_=torch.optim.SGD"], "torch.optim.SGD does not take its options"),
    (["init._target_=nst.inits.blank"], "init: cannot be made from its config"),
    (["gamut._target_=nst.gamuts.free", "+gamut.power=2"], "gamut.power: nothing reads this key"),
    (["hydra/job_logging=disabled", "style=none.jpg"], "none.jpg: no such file"),
    ([f"content={'x' * 5000}=y"], "xxx ... xxx"),
    (["resize=crop"], "expected one of [fit, stretch, short, height]"),
    (["loss.gram=abc"], "expected one of [chw, hw]"),
    (["budget.evaluations=null"], "at least one of steps, evaluations, seconds, target_loss"),
    (["budget.seconds=-1"], "budget.seconds must be greater than 0"),
    (["optimizer.first_step=inf"], "optimizer.first_step must be finite"),
    (["model.weights=text.jpg"], "text.jpg: unreadable weights"),
    (["model.weights=none.pth"], "none.pth: no such weights file"),
    (["device=tpu"], "must be auto, cpu, cuda, cuda:N or mps"),
    (["init=image"], "init.path must be given"),
    (["init=image", "init.path=none.png"], "none.png: no such file"),
    (["init=result", "init.folder=none"], "init.folder: none holds no result of a run"),
    (["content=a=b (1).jpg"], "a=b (1).jpg: no such file"),
    (["style=[it's.jpg]"], "it's.jpg: no such file"),
    (["content=text.jpg,cut.png"], "(with --multirun a comma stands between values)"),
    (["content=."], "content=.: is a folder; --multirun makes a job of each picture in it"),
    (["style=c*.png"], "style=c*.png: is a pattern; --multirun"),
    (["style=c*.gif", "--multirun"], "style=c*.gif: matches no picture (PNG, JPEG"),
    (["content=empty", "--multirun"], "content=empty: holds no picture (PNG, JPEG"),
    (["content=empty/\udcff"], "empty/\\udcff: a name that is not UTF-8 cannot be used"),
    (["optimizer.lr=#"], "cannot parse the override optimizer.lr=#"),
    (["loss.content_weight=0", "loss.style_weight=0"], "nothing to optimise"),
    (["guard.policy=hope"], "stop, recover"),
    (["guard.blow_up=0.5"], "guard.blow_up must be greater than 1"),
    (["output.format=gif"], "png, jpg, webp, tiff"),
    (["checkpoint.every=soon"], "checkpoint.every must be evaluations, such as 100, or seconds"),
    (["checkpoint.every=0"], "checkpoint.every must be greater than 0"),
    (["resume=nowhere"], "resume=nowhere: no run was started there"),
    (["name=../up", "--multirun"], "name must not contain .."),
    (["resume=nowhere", "--multirun"], "a sweep is gone on with by the same command"),
    (["experiment=reference", "optimizer._target_=torch.optim.SGD"], "not for SGD"),
]


@pytest.mark.parametrize(("arguments", "reason"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_line_and_exit_code_2(
    command: Callable[..., tuple[int, str]], tmp_path: Path, arguments: list[str], reason: str
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (50, 50), "red").save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:90])
    given = {argument.partition("=")[0] for argument in arguments}
    tiny = [argument for argument in TINY if argument.partition("=")[0] not in given]
    code, errors = command(*tiny, *arguments)
    assert code == app.BAD_INPUT
    assert errors.startswith("nst: ")
    assert errors.count("\n") == 1
    assert len(errors) < 1000
    assert reason in errors


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda(command: Callable[..., tuple[int, str]]) -> None:
    assert command(*TINY, "device=cuda") == (
        app.BAD_INPUT,
        "nst: device=cuda: no CUDA device is available here (device=cpu would work)\n",
    )


def test_run_whose_loss_explodes_fails_and_keeps_its_best_picture(
    command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    leap = "optimizer.lr=1e30", "optimizer.max_step_rms=null"
    code, errors = command(*TINY, *leap, "budget.evaluations=50", "init=random")
    assert code == app.FAILED
    assert "not finite" in errors
    folder = only(tmp_path / "outputs" / "single")
    assert record(folder)["status"] == "failed"
    assert record(folder)["stop_reason"] == "non_finite"
    Image.open(folder / "result.png").load()


def test_bug_in_a_run_is_exit_code_1_and_recorded(
    command: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("nst.api.stylize", broken)
    code, _ = command(*TINY)
    assert code == app.FAILED
    assert record(only(tmp_path / "outputs" / "single"))["error"] == "ZeroDivisionError: boom"


def test_slug_is_what_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_SWEEP_CONSTANTS", json.dumps(["size=64"]))
    assert app.slug(["optimizer=adam", "init=random", "size=64"]) == "init-random_optimizer-adam"
    assert app.slug(["size=64"]) == "run"
    assert app.slug(["optimizer.lr=0.5"]) == "optimizer.lr-0.5"


def test_slugs_of_different_jobs_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NST_SWEEP_CONSTANTS", raising=False)
    values = ["a/x.jpg", "b/x.jpg", "x.jpg", "x.png", "x-jpg", "x jpg", "/", "..", "é", "e\u0301"]
    values += ["y" * 400, "y" * 401, "사" * 200, "\udcff", "[a/x,b]", "[a/x,c]", "'x.jpg'"]
    slugs = [app.slug([f"style={value}"]) for value in values]
    assert len(set(slugs)) == len(slugs)
    for name in slugs:
        assert "/" not in name
        assert len(os.fsencode(name)) < 150


def test_slugs_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NST_SWEEP_CONSTANTS", raising=False)
    for value, expected in {
        "photos/x.jpg": "x",
        "'photos/사진 हिन्दी.jpg'": "사진-हिन्दी",
        r"'it\'s (1).jpg'": "it-s-1-.jpg",
        "['a b/x.jpg',y.jpg]": "x-y.jpg",
    }.items():
        assert app.slug([f"content={value}"])[:-7] == f"content-{expected}"


def test_folder_is_swept_whatever_its_pictures_are_called(
    nst_command: Command, tmp_path: Path
) -> None:
    names = ["사진.jpg", "x.jpg", "x.png", "${x}, <b>=1.PNG"]
    (tmp_path / "it's").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (40, 32), (50 * number, 90, 200)).save(tmp_path / "it's" / name)
    (tmp_path / "it's" / "notes.txt").write_text("no picture")
    first = [f"layers.style.relu{block}_1=0" for block in range(2, 6)]
    first += ["layers.content.relu4_2=0", "+layers.content.relu1_1=1", "budget.evaluations=1"]
    launcher = "hydra/launcher=batch"
    sweep = "content=it's", "--multirun", *TINY[::2], *first, "name=all", launcher
    done = nst_command(*sweep)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "outputs" / "all"
    runs = {record.parent for record in folder.glob("*/result.json")}
    assert {run.name[:-7].removeprefix("content-") for run in runs} == {
        *("사진", "x", "x-b-1"),
    }
    assert len(runs) == len(names)
    for run in runs:
        with Image.open(run / "images" / "content.png") as picture:
            assert picture.getpixel((0, 0))[1:] == pytest.approx((90, 200), abs=2)
    page = (folder / "report.html").read_text()
    assert "${x}, &lt;b&gt;=1.PNG" in page
    assert "<b>" not in page
    assert "사진.jpg" in page
    again = nst_command(*sweep)
    assert again.stdout.count("already done") == len(names)
