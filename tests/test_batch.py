"""Runs that share a batch: the same numbers as alone, and nobody waits for who is gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

import nst
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, transfer
from nst.objective.batch import Batch, signature
from nst.objective.statistics import Gram
from nst.run import memory
from nst.run.rendezvous import Member, Rendezvous
from nst.run.strategy import Alone
from support import Command, checker_picture, posix, stylize, xor_picture

CONTENT, STYLE = {"relu2_2": 2.0}, {"relu1_1": 0.5, "relu2_1": 3.0}
SIZE = (16, 20)
# Two layers of the network, for runs that are done in no time.
THIN = (
    *("size=32", "model.weights=embedded", "budget.evaluations=4", "output.image_every=2"),
    *("~layers.content.relu4_2", "+layers.content.relu2_1=1"),
    *(f"~layers.style.relu{i}_1" for i in (3, 4, 5)),
)


def picture(seed: int, size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make(network: VGG, seed: int, dtype: torch.dtype = torch.float64, **options) -> Objective:
    """An objective with pictures, weights and a style size of its own."""
    given = {
        "content_layers": {tap: weight + seed for tap, weight in CONTENT.items()},
        "style_layers": {tap: weight * (1 + seed) for tap, weight in STYLE.items()},
        "content_weight": 1.0 + seed,
        "style_weight": 10.0 ** (3 + seed),
        "tv_weight": 0.5 * seed,
        **options,
    }
    content, style = picture(seed, dtype=dtype), picture(9 + seed, (24, 12 + seed), dtype)
    return transfer(network, content, style, **given)


def network(weights: Weights, dtype: torch.dtype = torch.float64) -> VGG:
    return VGG(weights.tensors, [*CONTENT, *STYLE]).to(dtype)


def gradient(evaluate: Callable[[Tensor], nst.objective.Terms], image: Tensor):
    image = image.clone().requires_grad_()
    terms = evaluate(image)
    terms.total.backward()
    return terms, image.grad


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("gram", ["chw", "hw"])
def test_batch_has_the_terms_and_gradients_of_single_images(
    weights: Weights, dtype: torch.dtype, close: float, gram: str
) -> None:
    shared = network(weights, dtype)
    objectives = [make(shared, seed, dtype, style_loss=Gram(gram)) for seed in range(3)]
    images = [picture(20 + seed, dtype=dtype) for seed in range(3)]
    leaves = [image.clone().requires_grad_() for image in images]
    found = Batch(objectives, images[0])(leaves)
    for objective, image, leaf, terms in zip(objectives, images, leaves, found, strict=True):
        single, slope = gradient(objective, image)
        terms.total.backward()
        assert leaf.grad is not None
        assert leaf.grad.is_contiguous()
        torch.testing.assert_close(leaf.grad, slope, rtol=close, atol=close * slope.abs().max())
        for name in ("content", "style", "tv", "total"):
            ours, theirs = getattr(terms, name), getattr(single, name)
            torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=close, atol=0)
        assert set(terms.layers) == set(single.layers)
        for name, value in single.layers.items():
            torch.testing.assert_close(terms.layers[name], value.detach(), rtol=close, atol=0)


def test_bad_image_harms_no_other(weights: Weights) -> None:
    shared = network(weights)
    objectives = [make(shared, seed) for seed in range(2)]
    broken, image = torch.full((1, 3, *SIZE), torch.nan).double(), picture(5).requires_grad_()
    first, second = Batch(objectives, image)([broken, image])
    assert torch.isnan(first.total)
    second.total.backward()
    _, alone = gradient(objectives[1], image.detach())
    torch.testing.assert_close(image.grad, alone, rtol=1e-10, atol=1e-12)


def test_what_may_share_a_batch(weights: Weights) -> None:
    shared, image = network(weights), picture(1)
    same = signature(make(shared, 0), image)
    assert same is not None
    assert signature(make(shared, 2), picture(2)) == same
    others = [
        signature(make(shared, 0), picture(1, (20, 16))),
        signature(make(network(weights), 0), image),
        signature(make(shared, 0, style_loss=Gram("hw")), image),
        signature(make(shared, 0, content_weight=0), image),
        signature(make(shared, 0), image.float()),
    ]
    assert same not in others
    assert None not in others
    assert signature(make(shared, 0, joint=False), image) is None
    assert signature(make(shared, 0, tile_size=4), image) is None


# --- Threads --------------------------------------------------------------------------------------


def together(*runs: Callable[[Member], object], members: int | None = None) -> list[object]:
    """Each run in a thread of its own; what it returned or raised. A deadlock fails the test."""
    rendezvous = Rendezvous(members or len(runs))
    outcomes: list[object] = [None] * len(runs)

    def work(number: int) -> None:
        with rendezvous.membership():
            try:
                outcomes[number] = runs[number](Member(rendezvous, number))
            except BaseException as error:
                outcomes[number] = error

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(runs))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    return outcomes


@pytest.fixture
def sizes() -> "list[int]":
    """How many images each pass had, while the fixture is in use."""
    found: list[int] = []
    original = Batch.__call__

    def noted(self: Batch, images: list[Tensor]):
        found.append(len(images))
        return original(self, images)

    with patch.object(Batch, "__call__", noted):
        yield found


def evaluations(count: int, objective: Callable[[], object], member: Member) -> int:
    """Evaluate some images, checking each against the objective itself."""
    own = objective()
    for index in range(count):
        image = picture(100 * member.number + index)
        terms, slope = gradient(partial(member.evaluate, own), image)
        single, alone = gradient(own, image)
        torch.testing.assert_close(terms.total, single.total, rtol=1e-10, atol=0)
        torch.testing.assert_close(slope, alone, rtol=1e-8, atol=1e-10 * alone.abs().max())
    return count


def test_members_leave_when_they_are_done(weights: Weights, sizes: list[int]) -> None:
    shared = network(weights)
    runs = [
        partial(evaluations, count, partial(make, shared, i)) for i, count in enumerate((1, 2, 4))
    ]
    assert together(*runs) == [1, 2, 4]
    assert sizes == [3, 2]  # the last two rounds have one image, which needs no batch


@pytest.mark.parametrize("when", [0, 1])
def test_member_that_fails_leaves(weights: Weights, sizes: list[int], when: int) -> None:
    shared = network(weights)

    def fails(member: Member) -> None:
        for index in range(when):
            member.evaluate(make(shared, 0), picture(index))
        raise ValueError("of its own")

    runs = [partial(evaluations, 3, partial(make, shared, i)) for i in (1, 2)]
    # Last, so that the others wait already when it leaves.
    *others, failed = together(*runs, fails)
    assert isinstance(failed, ValueError)
    assert others == [3, 3]
    assert sizes == [3] * when + [2] * (3 - when)


def test_other_sizes_and_other_ways_go_alone(weights: Weights, sizes: list[int]) -> None:
    shared = network(weights)
    options = [{}, {}, {"tile_size": 4}, {"joint": False}]
    runs = [
        partial(evaluations, 2, partial(make, shared, i, **each)) for i, each in enumerate(options)
    ]

    def other(member: Member) -> str:
        taps = {"content_layers": CONTENT, "style_layers": STYLE}
        own = transfer(shared, picture(1, (24, 18)), picture(2), **taps)
        for index in range(2):
            image = picture(index, (24, 18))
            terms, slope = gradient(partial(member.evaluate, own), image)
            single, alone = gradient(own, image)
            assert torch.equal(terms.total, single.total)
            assert torch.equal(slope, alone)
        return "alone"

    assert together(*runs, other) == [2, 2, 2, 2, "alone"]
    assert sizes == [2, 2]


def test_pass_that_fails_is_halved_and_stays_so(weights: Weights) -> None:
    shared, tried = network(weights), []
    original = Batch.__call__

    def small(self: Batch, images: list[Tensor]):
        tried.append(len(images))
        if len(images) > 2:
            raise MemoryError("too many")
        return original(self, images)

    runs = [partial(evaluations, 2, partial(make, shared, i)) for i in range(4)]
    with patch.object(Batch, "__call__", small):
        assert together(*runs) == [2] * 4
    assert tried == [4, 2, 2, 2, 2]


def test_no_more_images_than_fit_into_memory(
    weights: Weights, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "at_once", lambda *_: 3)
    shared = network(weights)
    runs = [partial(evaluations, 1, partial(make, shared, i)) for i in range(4)]
    assert together(*runs) == [1] * 4
    assert sizes == [3]


def test_pictures_that_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    assert memory.at_once(device, 100) == 5
    assert memory.at_once(device, 10000) == 1
    monkeypatch.setattr(memory, "free", lambda _: None)
    assert memory.at_once(device, 100) is None


def test_failing_objective_is_its_own_members_error(weights: Weights) -> None:
    shared = network(weights)

    def broken(member: Member) -> None:
        own = make(shared, 0)
        own.aims.targets.pop("style/relu2_1")
        member.evaluate(own, picture(1))

    runs = [partial(evaluations, 2, partial(make, shared, i)) for i in (1, 2)]
    failed, *others = together(broken, *runs)
    assert isinstance(failed, KeyError)
    assert others == [2, 2]


def test_broken_off_rendezvous_lets_everybody_go(weights: Weights) -> None:
    shared, rendezvous, ended = network(weights), Rendezvous(2), []
    arrived = threading.Event()

    def work() -> None:
        with rendezvous.membership():
            arrived.set()
            try:
                rendezvous.evaluate(0, make(shared, 0), picture(1))
            except KeyboardInterrupt:
                ended.append(True)

    thread = threading.Thread(target=work, daemon=True)  # the other one never comes
    thread.start()
    assert arrived.wait(60)
    rendezvous.break_off()
    thread.join(60)
    assert ended == [True]


def test_random_numbers_are_a_members_own(weights: Weights) -> None:
    shared = network(weights)

    def draws(member: Member) -> list[float]:
        torch.manual_seed(member.number)
        found = []
        for index in range(3):
            member.evaluate(make(shared, 0), picture(index))
            found.append(torch.rand(()).item())
        return found

    with torch.random.fork_rng(devices=[]):
        found = together(draws, draws)
        for number, numbers in enumerate(found):
            torch.manual_seed(number)
            assert numbers == [torch.rand(()).item() for _ in range(3)]


# --- Whole runs -----------------------------------------------------------------------------------


def styled(member: Member | None, **options) -> nst.run.results.Result:
    given = {
        "content_layers": {"relu2_1": 1.0},
        "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
        "weights": "random",
        "size": 24,
        "budget": nst.Budget(evaluations=4),
        **options,
    }
    content = given.pop("content", xor_picture())
    return stylize(content, checker_picture(), strategy=member or Alone(), **given)


def test_runs_side_by_side_have_the_losses_of_runs_alone(sizes: list[int]) -> None:
    turned = xor_picture().transpose(2)  # 90 degrees, and back
    options = [
        {},
        {"optimizer": nst.adam, "init": nst.inits.random, "seed": 3},
        {
            "style_weight": 4.0,
            "strength": 0.8,
            "tv_weight": 0.1,
            "content": checker_picture(120, 96),
        },
        {"parametrization": nst.fourier, "budget": nst.Budget(evaluations=2)},
        {"content": turned, "optimizer": nst.adam},
    ]
    found = together(*(partial(styled, **each) for each in options))
    for result, each in zip(found, options, strict=True):
        assert isinstance(result, nst.run.results.Result), result
        alone = styled(None, **each)
        assert [row.evaluation for row in result.losses] == [row.evaluation for row in alone.losses]
        for ours, theirs in zip(result.losses, alone.losses, strict=True):
            assert ours.total == pytest.approx(theirs.total, rel=1e-3)
            assert list(ours.layers) == list(theirs.layers)
    assert sizes == [4, 4, 3, 3]  # the turned picture has another size


def test_stages_of_one_size_share_a_batch(sizes: list[int]) -> None:
    schedule = [nst.optim.schedules.Scale(0.5, 2), nst.optim.schedules.Scale(1, None)]
    options = [{"schedule": schedule}, {"schedule": schedule, "optimizer": nst.adam}, {"size": 12}]
    budget = nst.Budget(steps=40, evaluations=3)
    found = together(*(partial(styled, budget=budget, **each) for each in options))
    assert [type(result) for result in found] == [nst.run.results.Result] * 3, found
    assert sizes[:3] == [3, 3, 2]
    assert set(sizes[3:]) <= {2}


# --- Command line ---------------------------------------------------------------------------------


def records(folder: Path) -> dict[str, dict[str, object]]:
    found = folder.glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def losses(folder: Path) -> dict[str, list[float]]:
    return {
        path.parent.name: [json.loads(line)["total"] for line in path.read_text().splitlines()]
        for path in folder.glob("*/losses.jsonl")
    }


SWEEP = ("optimizer=adam,lbfgs", "init=random,content", *THIN)


def test_sweep_is_that_of_the_basic_launcher(nst_command: Command, tmp_path: Path) -> None:
    batch = ("hydra/launcher=batch", "hydra.launcher.jobs=3", "name=batch")
    done = nst_command(*SWEEP, *batch, "--multirun")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    basic = nst_command(*SWEEP, "name=basic", "--multirun")
    assert basic.returncode == 0, basic.stderr
    ours, theirs = tmp_path / "outputs" / "batch", tmp_path / "outputs" / "basic"
    for pattern in ("*", "*/*", "*/.hydra/*", "*/images/*"):
        names = [
            sorted(
                str(path.relative_to(folder))
                for path in folder.glob(pattern)
                if "tfevents" not in path.name and path.name != "multirun.yaml"
            )
            for folder in (ours, theirs)
        ]
        assert names[0] == names[1]
    assert len(losses(ours)) == 4
    for name, values in losses(theirs).items():
        assert losses(ours)[name] == pytest.approx(values, rel=1e-3)
        assert len(list((ours / name).glob("events.out.tfevents.*"))) == 1
        # Its own messages, all of them, and no other's.
        lines = [
            [
                line.partition(" - ")[2]
                for line in (folder / name / "nst.log").read_text().splitlines()
            ]
            for folder in (ours, theirs)
        ]
        assert [line.split()[0] for line in lines[0]] == [line.split()[0] for line in lines[1]]
        assert lines[0][-1] == f"Picture: outputs/batch/{name}/result.png"
        saved = (ours / name / ".hydra" / "overrides.yaml").read_text()
        assert saved == (theirs / name / ".hydra" / "overrides.yaml").read_text().replace(
            "name=basic", "name=batch"
        )
        assert done.stdout.count(f"Picture: outputs/batch/{name}/result.png") == 1
    again = nst_command(*SWEEP, *batch, "--multirun")
    assert again.returncode == 0
    assert again.stdout.count("already done") == 4


def test_failing_job_costs_no_other(nst_command: Command, tmp_path: Path) -> None:
    bad = ("optimizer.lr=0.02,1e30", "seed=1,2", "content=${nst.sample:content.jpg},no.jpg")
    free = ("optimizer=adam", "init=random", "gamut=free")
    (tmp_path / "no.jpg").write_text("no picture")
    done = nst_command(*THIN, *bad, *free, "hydra/launcher=batch", "name=f", "--multirun")
    assert done.returncode == 1, done.stderr
    found = records(tmp_path / "outputs" / "f")
    assert len(found) == 8
    for name, record in found.items():
        missing = "content-no.jpg" in name
        exploded = "lr-1e" in name
        assert record["status"] == ("failed" if missing or exploded else "ok"), name
        if missing:
            assert "no.jpg" in str(record["error"])
            assert "no.jpg" in (tmp_path / "outputs" / "f" / name / "nst.log").read_text()
    assert "no.jpg" in done.stderr
    assert "Traceback" not in done.stderr


def test_jobs_that_set_torch_differently_run_one_setting_after_the_other(
    nst_command: Command, tmp_path: Path
) -> None:
    swept = ("precision=tf32,fp32", "deterministic=true,false", "budget.evaluations=1")
    done = nst_command(*THIN, *swept, "hydra/launcher=batch", "name=p", "--multirun")
    assert done.returncode == 0, done.stderr
    ended = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/p/*/nst.log")}
    order = sorted(ended, key=lambda name: ended[name])
    assert order == [
        "deterministic-False_precision-fp32",
        "deterministic-False_precision-tf32",
        "deterministic-True_precision-fp32",
        "deterministic-True_precision-tf32",
    ]


@pytest.mark.slow
@posix
def test_signal_ends_all_jobs_which_then_go_on(tmp_path: Path) -> None:
    long = [each for each in THIN if "evaluations" not in each]
    command = [sys.executable, "-m", "nst", "--multirun", *long]
    command += ["hydra/launcher=batch", "hydra.launcher.jobs=2"]
    command += ["optimizer=adam,lbfgs", "seed=1,2", "name=s", "checkpoint.every=null"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "outputs" / "s"

    def begun() -> int:
        return sum(path.stat().st_size > 0 for path in folder.glob("*/losses.jsonl"))

    running = subprocess.Popen(
        [*command, "budget.evaluations=100000"], cwd=tmp_path, env=environment
    )
    with running:
        try:
            deadline = time.monotonic() + 60
            while begun() < 2:
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 143
        finally:
            running.kill()
    found = records(folder)
    assert [record["status"] for record in found.values()] == ["interrupted"] * 2
    assert [(folder / each / "checkpoint.pt").exists() for each in found] == [True] * 2
    assert (folder / "report.html").exists()
    reached = {each: record["evaluations"] for each, record in found.items()}
    again = subprocess.run(
        [*command, f"budget.evaluations={max(reached.values()) + 3}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    found = records(folder)
    assert [record["status"] for record in found.values()] == ["ok"] * 4
    for each, count in reached.items():
        assert 0 < found[each]["resumed_after"] <= count


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("hydra.launcher.jobs=0", "jobs=0: must be a number of at least 1"),
        ("hydra.launcher.jobs=x", "jobs=x: must be a number of at least 1"),
        ("hydra.job.chdir=true", "paths are meant from where the command is typed"),
    ],
)
def test_what_the_launcher_cannot_do(
    nst_command: Command, tmp_path: Path, wrong: str, message: str
) -> None:
    done = nst_command(*THIN, "seed=1,2", "hydra/launcher=batch", wrong, "name=w", "--multirun")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("nst: ")
    assert done.stderr.count("\n") == 1
