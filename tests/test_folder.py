"""Folders that hold more than a run: what nst may touch, what a record is of, where runs are."""

import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import nst
from nst import InputError
from nst.cli import build, record, schema, settings
from nst.cli.arguments import prepared
from nst.run.folder import Folder, check_hydra_files, note_outcome, outcome, record_of, run_folders
from support import TINY, Command, checker_picture, composed, posix, stylize, xor_picture


def status(folder: Path) -> str:
    return str(json.loads((folder / "result.json").read_text())["status"])


@pytest.fixture
def own(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@posix
def test_what_nst_did_not_write_is_not_its_to_replace(own: Folder, tmp_path: Path) -> None:
    (tmp_path / "result.png").write_text("mine")
    (tmp_path / "images").write_text("mine")
    (tmp_path / "link.png").symlink_to("nowhere")
    for name in ("result.png", "images", "link.png"):
        with pytest.raises(InputError, match=f"{name}: was there before"):
            own.claim(tmp_path / name)
    with pytest.raises(InputError, match="images: was there before"):
        own.claim(tmp_path / "images" / "a.png")
    assert not (tmp_path / ".nst").exists()


def test_claims_outlive_the_program(own: Folder, tmp_path: Path) -> None:
    own.claim(tmp_path / "result.png").write_text("nst's")
    again = Folder(tmp_path)
    assert again.owns(tmp_path / "result.png")
    again.claim(tmp_path / "result.png")
    assert (tmp_path / ".nst" / "files").read_text() == "result.png\n"


def test_only_own_files_are_set_aside_and_only_own_leftovers_deleted(
    own: Folder, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    strangers = {"images/mine.png", "result.txt", ".my.tmp", ".result.png.tmp"}
    strangers |= {".other.png.0123456789ab.tmp", "previous/3/x", "previous/notes"}
    for name in strangers:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    for name in ("result.png", "images/000001.png", "events.out.tfevents.1.a"):
        own.claim(tmp_path / name).write_text("nst's")
    own.remember({"overrides.yaml": "[]"})
    leftover = tmp_path / ".result.png.0123456789ab.tmp"
    leftover.touch()
    own.remove_leftovers()
    assert not leftover.exists()
    own.set_aside()
    aside = tmp_path / "previous" / "4"
    assert {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()} == {
        *("result.png", "images/000001.png", "events.out.set-aside.1.a"),
        *(".nst/files", ".nst/overrides.yaml"),
    }
    for name in strangers:
        assert (tmp_path / name).read_text() == name
    own.set_aside()
    assert not (tmp_path / "previous" / "5").exists()
    own.claim(tmp_path / "result.png")
    own.forget(tmp_path / "result.png")
    assert not Folder(tmp_path).owns(tmp_path / "result.png")


@posix
def test_runs_are_found_at_any_depth_but_not_those_set_aside(tmp_path: Path) -> None:
    for name in ("a/b/.nst", "c/.hydra", "c/previous/1/.nst", ".d/.nst", "e"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "overrides.yaml").touch()
    (tmp_path / "a/b/circle").symlink_to(tmp_path)
    assert list(run_folders(tmp_path)) == [tmp_path / "a/b", tmp_path / "c"]
    assert record_of(tmp_path / "a/b").name == ".nst"
    assert record_of(tmp_path / "c").name == ".hydra"
    assert outcome(tmp_path / "c") is None
    note_outcome(tmp_path / "c", 2)
    assert outcome(tmp_path / "c") == 2


def test_a_folder_of_the_users_keeps_what_is_his(nst_command: Command, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    xor_picture().save(tmp_path / "images" / "photo.jpg")
    mine = {"images/photo.jpg": (tmp_path / "images/photo.jpg").read_bytes()}
    for name in ("result.txt", ".my.tmp", "summary.txt"):
        (tmp_path / name).write_text(name)
        mine[name] = name.encode()
    for seed, kept in ((0, []), (1, ["1"])):
        done = nst_command(
            *TINY, "content=images/photo.jpg", "init=random", f"seed={seed}", "hydra.run.dir=."
        )
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in tmp_path.glob("previous/*")) == kept
        for name, content in mine.items():
            assert (tmp_path / name).read_bytes() == content
    assert (tmp_path / "previous/1/images/000001.png").exists()
    assert not list((tmp_path / "previous").rglob("*tfevents*"))
    # A run of its own result, which is set aside only when it has been read.
    done = nst_command(*TINY, "content=result.png", "hydra.run.dir=.")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "previous/2/result.png").exists()


@pytest.mark.parametrize("name", ["result.png", "losses.jsonl", "images/000001.png"])
def test_a_file_in_the_way_is_refused_before_the_run(
    nst_command: Command, tmp_path: Path, name: str
) -> None:
    (tmp_path / "x" / "images").mkdir(parents=True)
    (tmp_path / "x" / name).write_text("mine")
    done = nst_command(*TINY, "hydra.run.dir=x")
    assert done.returncode == 2
    assert f"{name}: was there before and is not nst's to replace" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "x" / name).read_text() == "mine"
    assert not (tmp_path / "x" / "checkpoint.pt").exists()


def test_report_in_the_way_is_refused_before_the_sweep(
    nst_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("mine")
    done = nst_command(*TINY, "seed=1,2", "hydra.sweep.dir=.", "--multirun")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "report.html").read_text() == "mine"
    assert not (tmp_path / "seed-1").exists()


def test_a_mistake_leaves_the_record_of_the_finished_run(
    nst_command: Command, tmp_path: Path
) -> None:
    sweep = (*TINY, "seed=1,2", "name=s", "--multirun")
    assert nst_command(*sweep).returncode == 0
    before = (tmp_path / "outputs/s/seed-1/result.json").read_bytes()
    done = nst_command(*sweep, "style=nope.jpg")
    assert (done.returncode, done.stderr) == (2, "nst: nope.jpg: no such file\n")
    (tmp_path / "nope.jpg").write_text("no picture")
    done = nst_command(*sweep, "style=nope.jpg")
    assert done.returncode == 1
    assert done.stderr.count("nope.jpg: not a picture") == 2
    assert done.stdout.count("failed; what is there is an earlier run's") == 2
    assert (tmp_path / "outputs/s/seed-1/result.json").read_bytes() == before
    settings = yaml.safe_load((tmp_path / "outputs/s/seed-1/.nst/config.yaml").read_text())
    assert "nope" not in settings["style"]
    done = nst_command(*sweep)
    assert (done.returncode, done.stdout.count("already done")) == (0, 2)


def test_the_same_is_the_same_contents(nst_command: Command, tmp_path: Path) -> None:
    xor_picture().save(tmp_path / "a.png")
    checker_picture().save(tmp_path / "start.png")
    sweep = (*TINY, "style=a.png", "init=image", "init.path=start.png", "name=s", "--multirun")
    done = nst_command(*sweep, "seed=1,2")
    assert done.returncode == 0, done.stderr
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    done = nst_command(*sweep, "seed=1,2", "style=b.png")
    assert done.stdout.count("already done") == 2
    for name in ("a.png", "start.png"):
        xor_picture().rotate(90).save(tmp_path / name)
        done = nst_command(*sweep, "seed=1,2")
        assert (done.returncode, done.stdout.count("already done")) == (0, 0)
    assert len(list((tmp_path / "outputs/s/seed-1/previous").iterdir())) == 2


def test_the_record_is_of_the_files_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xor_picture().save(tmp_path / "a.png")
    config = composed(f"content={tmp_path}/a.png", *TINY)
    read = settings.config_sha256(config)
    stylize = build.api.stylize

    def slow(*arguments: object, **options: object) -> object:
        result = stylize(*arguments, **options)
        checker_picture().save(tmp_path / "a.png")
        return result

    monkeypatch.setattr(build.api, "stylize", slow)
    (tmp_path / "x").mkdir()
    build.run(config, tmp_path / "x", {}, lambda: None)
    assert json.loads((tmp_path / "x/result.json").read_text())["config_sha256"] == read
    assert not record.is_done(tmp_path / "x", config)


@pytest.mark.parametrize(
    "options",
    [{"_target_": "torch.nn.Identity"}, {"_target_": "torch.sigmoid", "_partial_": True}],
)
def test_callables_of_the_users_need_no_signature(options: dict[str, object]) -> None:
    assert callable(build._instantiate("init", options))


@pytest.mark.parametrize(
    "place", ["hydra.output_subdir=null", "hydra.sweep.subdir=deep/down/${size}"]
)
def test_outcomes_are_the_jobs_wherever_they_are(
    nst_command: Command, tmp_path: Path, place: str
) -> None:
    done = nst_command(*TINY, "size=32,8", place, "name=s", "--multirun")
    assert done.returncode == 1
    table = [line for line in done.stdout.splitlines() if " failed " in line or " ok " in line]
    assert len(table) == 2
    assert (tmp_path / "outputs/s/report.html").exists()


@posix
def test_a_run_goes_on_from_elsewhere_and_where_it_was_moved(
    nst_command: Command, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "pictures").mkdir(parents=True)
    xor_picture().save(project / "pictures/a.png")
    checker_picture().save(project / "style.png")
    arguments = ["size=32", "model.weights=embedded", "budget.evaluations=100000", "optimizer=adam"]
    arguments += ["content=pictures/a.png", f"style={project}/style.png", "hydra.run.dir=out/x"]
    process = subprocess.Popen([sys.executable, "-m", "nst", *arguments], cwd=project)
    try:
        while not (project / "out/x/images/000010.png").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 129
    finally:
        process.kill()
    assert status(project / "out/x") == "interrupted"
    done = nst_command("resume=project/out/x", "budget.evaluations=5")
    assert done.returncode == 2
    assert "no such file" not in done.stderr
    moved = shutil.move(project, tmp_path / "moved")
    reached = len((Path(moved) / "out/x/losses.jsonl").read_text().splitlines())
    done = nst_command("resume=moved/out/x", f"budget.evaluations={reached + 3}")
    assert done.returncode == 0, done.stderr
    assert status(Path(moved) / "out/x") == "ok"


@pytest.mark.slow
@posix
def test_a_run_outlives_its_readers_and_its_terminal(tmp_path: Path) -> None:
    ignoring = f"trap '' HUP; {sys.executable} -m nst {' '.join(TINY)} hydra.run.dir=x 2>&1"
    shell = subprocess.Popen(["bash", "-c", f"{ignoring} | true"], cwd=tmp_path, text=True)
    assert shell.wait(120) == 0
    assert status(tmp_path / "x") == "ok"
    command = [sys.executable, "-m", "nst", *TINY, "budget.evaluations=100000", "hydra.run.dir=y"]
    process = subprocess.Popen(
        ["nohup", *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while not (tmp_path / "y/images/000010.png").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_phones_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    from nst.pictures import images

    path = tmp_path / "a.heic"
    picture = Image.new("RGB", (64, 48), (200, 30, 60))
    picture.paste((20, 90, 220), (32, 0, 64, 48))
    heif.from_pillow(picture).save(path, quality=-1)
    loaded = images.load(path)
    assert loaded.size == (64, 48)
    assert ".heic" not in Image.registered_extensions()
    for x in (8, 56):
        found, expected = loaded.getpixel((x, 24)), picture.getpixel((x, 24))
        assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) <= 3
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[heif\]'"):
        images.load(path)


def test_another_hydra_programs_files_stay(nst_command: Command, tmp_path: Path) -> None:
    mine = [
        "run/.hydra/config.yaml",
        "logged/nst.log",
        "multirun.yaml",
        "sweep/1/.hydra/hydra.yaml",
    ]
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    for folder in ("run", "logged"):
        done = nst_command(*TINY, f"hydra.run.dir={folder}")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "is another program's" in done.stderr
    for options in (["hydra.sweep.dir=."], ["hydra.sweep.dir=sweep", "hydra.sweep.subdir=${seed}"]):
        done = nst_command(*TINY, "seed=0,1", *options, "--multirun")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "is another program's" in done.stderr
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(mine)
    assert all(path.read_text() == "mine" for path in found)


def test_what_hydra_left_of_a_command_that_was_killed_is_ours(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "nst.log").touch()
    (tmp_path / ".hydra/hydra.yaml").write_text("callbacks: {sweep: {_target_: nst.SweepCallback}}")
    check_hydra_files(tmp_path, [".hydra/hydra.yaml", "nst.log"])
    (tmp_path / ".hydra/hydra.yaml").unlink()
    with pytest.raises(InputError, match=r"nst\.log: is another program's"):
        check_hydra_files(tmp_path, [".hydra/hydra.yaml", "nst.log"])


def test_jobs_do_not_share_a_folder(nst_command: Command, tmp_path: Path) -> None:
    sweep = (*TINY, "name=s", "--multirun", "hydra.sweep.subdir=all")
    done = nst_command(*sweep, "seed=0,1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "hydra.sweep.subdir=all: jobs of the sweep would share this folder" in done.stderr
    assert not (tmp_path / "outputs/s/all").exists()
    assert nst_command(*sweep, "seed=1").returncode == 0


@pytest.mark.parametrize(
    "argument",
    ["~hydra.callbacks.sweep", "hydra.callbacks=null", "hydra.callbacks.sweep._target_=x"],
)
def test_the_callback_stays(argument: str) -> None:
    with pytest.raises(InputError, match=r"hydra\.callbacks.*: is nst's own"):
        prepared([argument])
    assert prepared(["+hydra.callbacks.mine._target_=x"])


@pytest.mark.parametrize(
    ("reached", "used", "done"),
    [
        ("embedded", "embedded", True),
        ("imagenet", "imagenet", True),
        ("imagenet", "embedded", False),
    ],
)
def test_imagenet_weights_that_have_come_since_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: str, used: str, done: bool
) -> None:
    config = composed("model.weights=auto")
    there = replace(record.weights.resolve("embedded"), source=reached)
    monkeypatch.setattr(record.weights, "resolve", lambda _, architecture: there)
    left = {"status": "ok", "config_sha256": settings.config_sha256(config)}
    text = json.dumps({**left, "weights": {"source": used}})
    (tmp_path / "result.json").write_text(text)
    assert record.is_done(tmp_path, config) is done


@pytest.mark.parametrize("place", ["/tmp/x${seed}", ".j${seed}", "previous/${seed}", "", "."])
def test_jobs_have_folders_where_the_report_looks(
    nst_command: Command, tmp_path: Path, place: str
) -> None:
    done = nst_command(*TINY, "seed=0,1", f"hydra.sweep.subdir={place}", "name=s", "--multirun")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "hydra.sweep.subdir=" in done.stderr


def test_what_somebody_put_in_a_pictures_place_is_kept(own: Folder, tmp_path: Path) -> None:
    path = own.claim(tmp_path / "result.png")
    path.write_text("nst's")
    own.seal(path)
    Folder(tmp_path).give_way(path)
    assert not (tmp_path / "previous").exists()
    path.write_text("retouched")
    again = Folder(tmp_path)
    again.give_way(path)
    assert (tmp_path / "previous/1/result.png").read_text() == "retouched"
    assert not path.exists()
    assert again.owns(path)


def test_report_keeps_a_changed_page(nst_command: Command, tmp_path: Path) -> None:
    sweep = (*TINY, "seed=1,2", "name=s", "--multirun")
    assert nst_command(*sweep).returncode == 0
    (tmp_path / "outputs/s/report.html").write_text("mine")
    assert nst_command(*sweep).returncode == 0
    assert (tmp_path / "outputs/s/previous/1/report.html").read_text() == "mine"
    assert "mine" != (tmp_path / "outputs/s/report.html").read_text()
    assert len(list((tmp_path / "outputs/s/previous").iterdir())) == 1


def test_strange_names_in_the_folder_of_earlier_runs(own: Folder, tmp_path: Path) -> None:
    (tmp_path / "previous" / "²").mkdir(parents=True)
    (tmp_path / ".nst").mkdir()
    (tmp_path / ".nst" / "todo").write_text("mine")
    own.claim(tmp_path / "result.png").touch()
    own.set_aside()
    assert (tmp_path / "previous/1/result.png").exists()
    assert (tmp_path / ".nst/todo").read_text() == "mine"
    shutil.rmtree(tmp_path / "previous")
    (tmp_path / "previous").write_text("mine")
    own.claim(tmp_path / "result.png").touch()
    with pytest.raises(InputError, match="previous: is in the way"):
        own.set_aside()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("content=", "content= must not be empty"),
        ("init.path=' '", "init.path= must not be empty"),
        ("init.folder=' '", "init.folder= must not be empty"),
        ("model.weights=", "model.weights= must not be empty"),
        ("max_megapixels=nan", "max_megapixels must be greater than 0"),
        ("max_megapixels=0", "max_megapixels must be greater than 0"),
        ("size=2147483648", "size must be at most 65535"),
        ("seed=99999999999999999999", "seed must be at most"),
        ("optimizer.history_size=99999999999999999999", "optimizer.history_size must be at most"),
    ],
)
def test_values_that_nothing_can_be_made_of(argument: str, said: str) -> None:
    init = {"init.path": "image", "init.folder": "result"}.get(argument.partition("=")[0])
    options = [f"init={init}"] if init else []
    with pytest.raises(InputError, match=said):
        schema.validate(composed(*options, argument))


def test_too_long_a_name_is_one_line(nst_command: Command) -> None:
    done = nst_command(*TINY, "seed=0,1", f"name={'n' * 300}", "--multirun")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_no_time_at_all_is_one_evaluation(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(*TINY, "budget.seconds=1e-9", "hydra.run.dir=x")
    assert (done.returncode, done.stderr) == (0, "")
    assert len((tmp_path / "x/losses.jsonl").read_text().splitlines()) == 1


PLUGINS = """
import sys
import torch
from nst.inits import content

def leaves(canvas): sys.exit(0)
def nothing(canvas): return None
def small(canvas): return canvas.content[..., :-1]
def numbers(canvas): return canvas.content.long()
def nan(canvas): return canvas.content * float("nan")
def in_place(canvas): return canvas.content.zero_()
def no_optimizer(params, **options): return None
def no_image(parametrization): return lambda image: None
def no_gamut(parametrization): return None
def seven(image): return 7
"""


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["init._target_=plugins.leaves"], 1, "called sys.exit(0)"),
        (["init._target_=plugins.nothing"], 2, "init: must make a floating-point tensor"),
        (["init._target_=plugins.small"], 2, "init: must make a floating-point tensor"),
        (["init._target_=plugins.numbers"], 2, "init: must make a floating-point tensor"),
        (["init._target_=plugins.nan"], 2, "init: the image that it makes has values"),
        (
            ["optimizer._target_=plugins.no_optimizer"],
            2,
            "optimizer: must make a torch optimizer",
        ),
        (["gamut._target_=plugins.no_image"], 2, "parametrization or gamut: must make an image"),
        (["gamut._target_=plugins.no_gamut"], 2, "parametrization or gamut: must be a function"),
        (
            ["parametrization=pixel", "parametrization._target_=plugins.seven"],
            2,
            "parametrization or gamut: must make an image, not 7",
        ),
    ],
)
def test_plug_ins_that_make_something_else(
    nst_command: Command, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    (tmp_path / "plugins.py").write_text(PLUGINS)
    done = nst_command(*TINY, *options, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert said in done.stderr


def test_init_that_works_in_place_changes_no_target(
    content_path: Path, style_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(tmp_path)
    in_place = importlib.import_module("plugins").in_place
    options = {
        "size": 32,
        "weights": "random",
        "budget": nst.Budget(evaluations=1),
        "device": "cpu",
    }
    black = stylize(content_path, style_path, init=in_place, **options)
    other = stylize(
        content_path, style_path, init=lambda canvas: torch.zeros_like(canvas.content), **options
    )
    assert black.losses[0].total == other.losses[0].total
    assert black.losses[0].content > 0
