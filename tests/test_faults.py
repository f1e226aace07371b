"""What goes wrong around a run: full disks, folders that vanish, no memory, several at once."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import nst
from nst import free_memory
from nst.errors import InputError
from nst.files import atomic_write
from nst.network import weights as sources
from nst.objective.cost import Cost, cost
from nst.objective.statistics import MSE, Gram
from nst.run import checkpoint, devices, memory
from nst.run.checkpoint import CheckpointError
from nst.run.memory import OutOfMemory
from nst.run.records import Row
from nst.run.results import Start
from support import TINY, Command, checker_picture, stylize, xor_picture

resource = pytest.importorskip("resource", reason="disks, limits and locks of POSIX")

LONG = ("size=32", "model.weights=embedded", "budget.evaluations=100000", "optimizer=adam")


def record(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_bytes())


# --- Disks and folders ----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_ends_the_run_with_one_line_and_whole_files(
    nst_command: Command, small_disk: Path
) -> None:
    done = nst_command(*LONG, "output.image_every=1", f"hydra.run.dir={small_disk}/run")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    pictures = list((small_disk / "run" / "images").glob("*.png"))
    assert len(pictures) > 10
    for path in pictures:
        Image.open(path).load()
    assert not list(small_disk.rglob("*.tmp"))


def test_full_disk_of_one_job_harms_no_other(
    nst_command: Command, small_disk: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "outputs" / "s"
    folder.mkdir(parents=True)
    (folder / "size-48").symlink_to(small_disk, target_is_directory=True)
    (small_disk / "ballast").write_bytes(bytes(590_000))
    done = nst_command(*TINY, "size=32,48,40", "name=s", "--multirun")
    assert done.returncode == 1
    assert record(folder / "size-32")["status"] == "ok"
    assert record(folder / "size-40")["status"] == "ok"
    assert "No space left" in done.stderr


def test_files_larger_than_a_quota_are_an_error_and_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            atomic_write(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_read_only_folder(nst_command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() == 0:  # whom permissions do not stop
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("file systems cannot be mounted here")
    else:
        folder.chmod(0o500)
    try:
        done = nst_command(*TINY, "hydra.run.dir=locked/run")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True)
        folder.chmod(0o700)
    assert done.returncode != 0
    assert "locked/run" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_folder_removed_under_a_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nst", *LONG, "hydra.run.dir=run", "output.image_every=5"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "run" / "images" / "000010.png").exists():
            assert process.poll() is None
            time.sleep(0.02)
        (tmp_path / "run").rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone")
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "No such file or directory" in errors
    assert "/run/" in errors
    assert "Traceback" not in errors


def test_sink_that_fails_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    class Full:
        def on_start(self, start: Start) -> None: ...

        def on_image(self, evaluation: int, image: Tensor) -> None: ...

        def on_end(self, result: nst.Result) -> None: ...

        def on_evaluation(self, row: Row) -> None:
            if row.evaluation == 6:
                raise OSError(28, "No space left on device")

    given = {"size": 32, "weights": "random", "optimizer": nst.adam, "seed": 1}
    given |= {"budget": nst.Budget(evaluations=8)}
    path = tmp_path / "checkpoint.pt"
    pictures = xor_picture(), checker_picture()
    with pytest.raises(OSError, match="No space left"):
        stylize(*pictures, sinks=[Full()], checkpoint=path, checkpoint_every=2, **given)
    rest = stylize(*pictures, resume=path, **given)
    assert rest.start.rows[-1].evaluation == 4
    whole = stylize(*pictures, **given)
    assert rest.last_picture.tobytes() == whole.last_picture.tobytes()


# --- Memory ---------------------------------------------------------------------------------------


GATYS = cost([(MSE(), ["relu4_2"]), (Gram(), ["relu1_1", "relu5_1"])])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
)
def test_no_memory_is_one_error_that_says_what_would_fit(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free", lambda device: 2**30)
    cpu, advice = torch.device("cpu"), r"for L-BFGS optimizer.history_size=auto, or size=\d+"
    for tile_size, how in (
        (None, "as a whole; set memory=tiled"),
        (2000, "in tiles of 2000 px; set a smaller tile_size"),
    ):
        match = rf"4000 x 3000 px need about .* GiB on cpu {how}, {advice}"
        with pytest.raises(OutOfMemory, match=match):
            with memory.explained(cpu, 3000, 4000, GATYS, tile_size):
                raise error
    monkeypatch.setattr(memory, "free", lambda device: 2**40)
    with pytest.raises(OutOfMemory, match=r"or a smaller size$"):
        with memory.explained(cpu, 3000, 4000, GATYS):
            raise error
    with pytest.raises(RuntimeError, match="another"):
        with memory.explained(torch.device("cpu"), 3000, 4000, GATYS):
            raise RuntimeError("another")


def test_size_that_fits_needs_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda device: 2**30)
    with pytest.raises(OutOfMemory) as caught:
        with memory.explained(torch.device("cpu"), 3000, 4000, GATYS):
            raise MemoryError
    size = int(re.findall(r"size=(\d+)", str(caught.value))[-1])
    needed, more = (GATYS.needed(one * 3 // 4, one) for one in (size, size + 2))
    assert needed <= 0.8 * 2**30 < more


def test_auto_tiles_what_takes_more_than_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def chosen(
        room: int | None, mode: str = "auto", tile_size: int | None = None, of: Cost = GATYS, **more
    ) -> int | None:
        monkeypatch.setattr(memory, "free", lambda device: room)
        options = {"joint": True, "kept": 0, "size": 3000, **more}
        # Another device than a CPU refuses nothing here.
        device = torch.device("cuda")
        return memory.choose_tile_size(mode, tile_size, device, 2000, 3000, of, **options)

    caplog.set_level("INFO", "nst")
    whole = GATYS.needed(2000, 3000)
    assert chosen(2 * whole) is None
    assert chosen(None) is None
    assert not caplog.messages
    assert chosen(2 * whole - 2) == 1024
    assert "tile_size=1024" in caplog.text
    half = cost([(Gram(), ["relu5_1"])], "bf16")
    assert chosen(2 * whole - 2, of=half) is None
    assert chosen(2 * whole - 2, joint=False) is None
    assert chosen(2 * whole - 2, tile_size=100) == 100
    in_tiles = GATYS.needed(2000, 3000, 512)
    assert chosen(2 * in_tiles) == 512
    assert chosen(2 * in_tiles - 2) == 384
    assert chosen(2 * in_tiles, kept=2) == 384
    assert chosen(2 * (in_tiles + 2), kept=2) == 512
    # More of what is free rather than small tiles.
    quite_small, small = (GATYS.needed(2000, 3000, size) for size in (256, 192))
    assert chosen(2 * quite_small) == chosen(int(in_tiles / 0.75) + 2) == 512
    assert chosen(int(quite_small / 0.75) - 2) == chosen(2 * in_tiles, kept=in_tiles) == 384
    assert chosen(int(small / 0.9) + 2) == 192
    assert chosen(1) == 64
    assert chosen(1, "full") is None
    assert chosen(2 * whole, "tiled") == chosen(None, "tiled") == 1024
    assert chosen(2 * whole, "full", 512) is None
    for options in ({"memory": "some"}, {"memory": "tiled", "tile_size": 0}):
        with pytest.raises(InputError):
            nst.Compute(**options)
    # The whole is less than half, but does not fit beside the optimizer.
    assert chosen(3 * whole, kept=whole) is None
    assert chosen(3 * whole, kept=2 * whole) == 768


@pytest.mark.parametrize(
    ("memory_mode", "tile_size", "joint", "vectors", "advice"),
    [
        ("full", None, True, 3, "memory=auto, or size="),
        ("auto", None, False, 3, "loss.joint=true, or size="),
        ("tiled", 1024, True, 3, "tile_size=64, or size="),
        ("tiled", 64, True, 3, "size="),
        ("tiled", 64, True, 200, "optimizer=lbfgs with optimizer.history_size=auto, or size="),
    ],
)
def test_what_the_system_would_kill_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    memory_mode: memory.Memory,
    tile_size: int | None,
    joint: bool,
    vectors: int,
    advice: str,
) -> None:
    cpu, shape, kept = torch.device("cpu"), (2000, 3000), vectors * 12 * 2000 * 3000
    options = {"joint": joint, "kept": kept, "size": 3000}

    def choose(device: torch.device, room: int) -> int | None:
        monkeypatch.setattr(memory, "free", lambda device: room)
        return memory.choose_tile_size(memory_mode, tile_size, device, *shape, GATYS, **options)

    needed = GATYS.needed(*shape, tile_size) + kept
    assert choose(cpu, needed) == tile_size
    how = "as a whole" if tile_size is None else f"in tiles of {tile_size} px"
    with pytest.raises(InputError, match=rf"size=3000: 3000 x 2000 px {how} take") as caught:
        choose(cpu, needed - 1)
    assert f"; {advice}" in str(caught.value)
    for room in (needed - 1, needed // 2):
        with pytest.raises(InputError, match="takes less") as caught:
            choose(cpu, room)
        (size,) = map(int, re.findall(r"size=(\d+) takes", str(caught.value)))
        assert size < 3000
        # The optimizer's part is by the picture's px, too.
        fits, more = (
            GATYS.needed(round(one * 2 / 3), one, tile_size) + kept * one**2 / 3000**2
            for one in (size, size + 2)
        )
        assert fits <= 0.9 * room < more
    # Elsewhere what runs out is an exception, but for what an optimizer only has after a while.
    gpu = torch.device("cuda")
    choose(gpu, kept)
    with pytest.raises(InputError, match=r"size=\d+ takes less"):
        choose(gpu, kept - 1)
    assert not caplog.messages


def test_advice_that_is_not_enough_comes_with_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    room = GATYS.needed(2000, 3000, 64) // 2
    monkeypatch.setattr(memory, "free", lambda device: room)
    options = {"joint": True, "kept": 0, "size": 3000}
    cpu = torch.device("cpu")
    with pytest.raises(InputError, match=r"; memory=auto with size=(\d+), or size=") as caught:
        memory.choose_tile_size("full", None, cpu, 2000, 3000, GATYS, **options)
    (size,) = map(int, re.findall(r"with size=(\d+)", str(caught.value)))
    assert memory.choose_tile_size("auto", None, cpu, size * 2 // 3, size, GATYS, **options)
    monkeypatch.setattr(memory, "free", lambda device: 2**20)
    with pytest.raises(InputError, match=r"of which 0\.0 GiB are free$"):
        memory.choose_tile_size("auto", None, cpu, 96, 96, GATYS, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux alone")
def test_free_memory_is_bounded_by_the_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = iter([(used + 2**28, -1), (2**20, -1), (resource.RLIM_INFINITY, -1)])
    monkeypatch.setattr(resource, "getrlimit", lambda kind: next(limits))
    cpu = torch.device("cpu")
    assert free_memory.free(cpu) == pytest.approx(2**28, rel=0.1)
    assert free_memory.free(cpu) == 0
    assert (free_memory.free(cpu) or 0) > 2**28


def test_free_memory_is_bounded_by_control_groups(tmp_path: Path) -> None:
    def group(path: str, **files: str) -> None:
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / path / name.replace("__", ".")).write_text(text + "\n")

    membership = tmp_path / "membership"
    membership.write_text("9:cpu:/x\n4:memory:/host/job\n0::/slice/unit\n")
    group("slice", memory__max="900", memory__current="300", memory__stat="inactive_file 100")
    group("slice/unit", memory__max="max", memory__current="5", memory__stat="inactive_file 0")
    names = ("memory__limit_in_bytes", "memory__usage_in_bytes", "memory__stat")
    group("memory", **dict(zip(names, ("50", "60", "total_inactive_file 0"), strict=True)))
    assert sorted(free_memory._control_groups(tmp_path, membership)) == [0, 700]
    assert list(free_memory._control_groups(tmp_path, tmp_path / "none")) == []
    assert free_memory.free(torch.device("mps")) is None
    if sys.platform == "linux":  # elsewhere nobody knows
        assert free_memory.free(torch.device("cpu")) > 2**20


@pytest.mark.parametrize(
    ("before", "status", "message"),
    [
        # The limit is seen before the run; where nobody knows of one, an allocation fails.
        ("", 2, r"size=4096: 4096 x 3072 px in tiles of 64 px take .* GiB are free; size="),
        (
            "nst.run.memory.free = nst.optim.history.free = lambda device: None",
            1,
            "out of memory: 4096 x 3072 px need about",
        ),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory hold on Linux")
def test_run_without_memory_says_what_to_set(
    nst_command: Command, tmp_path: Path, before: str, status: int, message: str
) -> None:
    """A real limit, and a real allocation that the system refuses."""
    code = f"""
import nst.optim.history, nst.run.memory, resource, sys, torch
from nst.cli import app
torch.ones(8).sum()
{before}
free = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (free + 2**29, free + 2**29))
sys.argv = ["nst", "size=4096", *{TINY[1:]!r}]
app.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "outputs" / "single").iterdir()
    assert re.search(message, record(folder)["error"])


# --- Determinism ----------------------------------------------------------------------------------


def test_same_command_gives_the_same_bytes(nst_command: Command, tmp_path: Path) -> None:
    """The settings that go with the picture too: no time, no folder among them."""
    for name in ("a", "b"):
        done = nst_command(*TINY, "deterministic=true", f"hydra.run.dir={name}", f"name={name}")
        assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / name / "result.png").read_bytes() for name in ("a", "b"))
    assert first == second
    with Image.open(tmp_path / "a" / "result.png") as picture:
        assert picture.info["Software"] == f"nst {nst.__version__}"
        settings = json.loads(picture.info["nst settings"])
    assert (settings["size"], settings["optimizer"]["lr"]) == (32, 1.0)
    found = record(tmp_path / "a")
    assert {"torch", "python", "nst"} <= set(found["versions"])
    assert found["threads"] >= 1
    assert found["device"] == "cpu"


def test_deterministic_algorithms_end_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with devices.deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()


# --- Transparency ---------------------------------------------------------------------------------


def test_transparency_of_the_content_is_kept_or_dropped(tmp_path: Path) -> None:
    content = xor_picture()
    content.putalpha(Image.linear_gradient("L").resize(content.size))
    given = {"size": 32, "weights": "random", "budget": nst.Budget(evaluations=2)}
    kept = stylize(content, checker_picture(), **given).picture
    assert kept.mode == "RGBA"
    alpha = kept.getchannel("A")
    assert alpha.getpixel((0, 0)) < 20 < 235 < alpha.getpixel((0, alpha.height - 1))
    dropped = stylize(content, checker_picture(), alpha="drop", **given).picture
    assert dropped.mode == "RGB"
    assert dropped.tobytes() == kept.convert("RGB").tobytes()


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_programs_that_fetch_weights_at_once_both_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"0.weight": torch.ones(64, 3, 3, 3), "0.bias": torch.ones(64)}, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    arrived = threading.Barrier(2)

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            arrived.wait(30)  # both are under way before either has anything
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for start in range(0, len(data), 1000):
                self.wfile.write(data[start : start + 1000])
                time.sleep(0.01)

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/w.pth"
        digest = hashlib.sha256(data).hexdigest()
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(sources.imagenet_weights, url, digest[:8]) for _ in range(2)]
            found = [job.result(60) for job in jobs]
        server.shutdown()
    assert [weights.sha256 for weights in found] == [digest] * 2
    assert [path.name for path in (tmp_path / "torch" / "hub" / "checkpoints").iterdir()] == [
        "w.pth"
    ]


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "was here",)

    path = tmp_path / "checkpoint.pt"
    for state in ({"variables": [Evil()]}, Evil()):
        torch.save(state, path)
        data = path.read_bytes()
        path.write_bytes(data + hashlib.sha256(data).digest())  # whole, as far as anyone can tell
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            checkpoint.load(path)
    assert not (tmp_path / "was here").exists()
