"""The loop: counting, budgets, the best image, stopping, resuming."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nst.errors import InputError
from nst.objective import Terms
from nst.optim import optimizers, parametrizations
from nst.optim.schedules import Stage
from nst.run import checkpoint, evaluation
from nst.run.records import Budget, Outcome, Row
from nst.run.trainer import Trainer
from support import one_size, same_memory

GOAL = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)


def quadratic(image: Tensor) -> Terms:
    """A bowl around GOAL in place of the network."""
    loss = ((image - GOAL) ** 2 * torch.linspace(1, 30, 48).reshape(GOAL.shape)).mean()
    zero = loss.new_zeros(())
    return Terms({"content": loss, "style": zero, "tv": zero}, loss, {"content/x": loss})


class Recorder:
    """Keeps what a sink gets."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.images: dict[int, Tensor] = {}

    def on_evaluation(self, row: Row) -> None:
        self.rows.append(row)

    def on_image(self, evaluation: int, image: Tensor) -> None:
        self.images[evaluation] = image.clone()


def trainer(
    budget: Budget, make=optimizers.adam, objective=quadratic, ahead=False, **options
) -> Trainer:
    """Of a small picture, and where `ahead` as on a GPU, with a stand-in for its graph."""
    start = torch.zeros(1, 3, 4, 4)
    return Trainer(one_size(objective, start, ahead), start, make, budget, **options)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "record", same_memory)


def test_steps_and_evaluations_of_adam_and_lbfgs() -> None:
    adam = trainer(Budget(steps=3)).run()
    assert [(row.step, row.evaluation) for row in adam.rows] == [(1, 1), (2, 2), (3, 3)]
    assert adam.stop_reason == "steps"
    lbfgs = trainer(Budget(steps=2), lambda p: optimizers.lbfgs(p, max_iter=4)).run()
    assert [row.step for row in lbfgs.rows] == [1] * 4 + [2] * 4
    assert [row.evaluation for row in lbfgs.rows] == list(range(1, 9))


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("make", [optimizers.adam, optimizers.lbfgs])
def test_evaluation_budget_is_exact_and_ends_at_the_measured_image(make, ahead) -> None:
    outcome = trainer(Budget(evaluations=7), make, ahead=ahead).run()
    assert len(outcome.rows) == 7
    assert (outcome.status, outcome.stop_reason) == ("ok", "evaluations")
    measured = quadratic(outcome.last_image).total.item()
    assert measured == pytest.approx(outcome.rows[-1].total, rel=1e-6)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("make", [optimizers.adam, optimizers.lbfgs])
def test_target_loss_and_seconds(make, ahead) -> None:
    outcome = trainer(Budget(target_loss=0.5, evaluations=10_000), make, ahead=ahead).run()
    assert outcome.stop_reason == "target_loss"
    assert outcome.rows[-1].total <= 0.5 < outcome.rows[-2].total
    assert quadratic(outcome.image).total.item() == pytest.approx(outcome.rows[-1].total)
    assert trainer(Budget(seconds=0.05)).run().stop_reason == "seconds"


def test_first_limit_stops() -> None:
    assert trainer(Budget(steps=5, evaluations=3)).run().stop_reason == "evaluations"
    assert trainer(Budget(steps=3, evaluations=5)).run().stop_reason == "steps"


def test_budget_needs_a_positive_limit() -> None:
    with pytest.raises(InputError, match="at least one of steps, evaluations"):
        Budget()
    with pytest.raises(InputError, match=r"budget\.steps must be greater than 0, not -1"):
        Budget(steps=-1)


def test_best_image_is_kept_when_the_loss_rises() -> None:
    outcome = trainer(Budget(steps=12), lambda p: torch.optim.SGD(p, lr=1.7)).run()
    totals = [row.total for row in outcome.rows]
    assert totals[-1] > min(totals)
    assert outcome.best is not None
    assert outcome.best.total == min(totals)
    assert quadratic(outcome.image).total.item() == pytest.approx(min(totals))


def test_non_finite_loss_fails_the_run_and_keeps_the_best_image() -> None:
    count = 0

    def poisoned(image: Tensor) -> Terms:
        nonlocal count
        count += 1
        terms = quadratic(image)
        bad = terms.content * float("nan") if count == 4 else terms.content
        return Terms({**terms.terms, "content": bad}, bad, {})

    outcome = trainer(Budget(evaluations=9), objective=poisoned).run()
    assert (outcome.status, outcome.stop_reason) == ("failed", "non_finite")
    assert outcome.error is not None
    assert "not finite (content) at evaluation 4 (step 4)" in outcome.error
    assert len(outcome.rows) == 3
    assert torch.isfinite(outcome.image).all()
    assert quadratic(outcome.image).total.item() == pytest.approx(outcome.rows[-1].total)


def test_converged_optimizer_ends_the_run() -> None:
    outcome = trainer(Budget(evaluations=10_000), optimizers.lbfgs).run()
    assert outcome.stop_reason == "converged"
    torch.testing.assert_close(outcome.image, GOAL, atol=1e-3, rtol=0)


def test_request_to_stop_interrupts_after_the_evaluation() -> None:
    asked = iter([None, None, "SIGINT"])
    outcome = trainer(Budget(evaluations=9), stop_requested=lambda: next(asked)).run()
    assert (outcome.status, outcome.stop_reason) == ("interrupted", "SIGINT")
    assert len(outcome.rows) == 3


def test_nobody_sees_a_row_before_a_stop_would_be_heard() -> None:
    """Whoever reads the first row in a file and then sends a signal has the run saved."""
    seen: list[str] = []

    class Watch(Recorder):
        def on_evaluation(self, row: Row) -> None:
            seen.append("row")

    def asked() -> None:
        seen.append("asked")

    trainer(Budget(evaluations=2), sinks=[Watch()], stop_requested=asked).run()
    assert seen == ["asked", "row"] * 2


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("make", [optimizers.adam, optimizers.lbfgs])
def test_sinks_get_every_row_and_the_image_that_each_named_evaluation_measured(make, ahead) -> None:
    sink = Recorder()
    run = trainer(Budget(evaluations=11), make, ahead=ahead, sinks=[sink], image_every=4)
    outcome = run.run()
    assert sink.rows == outcome.rows
    assert list(sink.images) == [1, 4, 8, 11]
    for number, image in sink.images.items():
        total = quadratic(image).total.item()
        assert total == pytest.approx(outcome.rows[number - 1].total, rel=1e-6)
    assert torch.equal(sink.images[1], torch.zeros(1, 3, 4, 4))


def test_seconds_count_the_optimisation_and_not_the_sinks(monkeypatch) -> None:
    now = 0.0
    monkeypatch.setattr("nst.run.clock.time.perf_counter", lambda: now)

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Slow(Recorder):
        def on_evaluation(self, row: Row) -> None:
            wait(100)

    def one_second(image: Tensor) -> Terms:
        wait(1)
        return quadratic(image)

    outcome = trainer(Budget(evaluations=4), objective=one_second, sinks=[Slow()]).run()
    assert [row.seconds for row in outcome.rows] == [1, 2, 3, 4]
    assert outcome.seconds == 4


def test_time_of_a_row_counts_where_the_device_works_on_and_time_of_an_image_does_not(
    monkeypatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("nst.run.clock.time.perf_counter", lambda: now)

    class Slow(Recorder):
        def on_evaluation(self, row: Row) -> None:
            nonlocal now
            now += 1

        def on_image(self, evaluation: int, image: Tensor) -> None:
            nonlocal now
            now += 100

    run = trainer(Budget(evaluations=4), ahead=True, sinks=[Slow()], image_every=1)
    assert run.run().seconds == 4


MAKERS = {
    "adam": optimizers.adam,
    "lbfgs": lambda p: optimizers.lbfgs(p, max_iter=3),
    "lbfgs_wolfe": lambda p: optimizers.lbfgs(p, max_iter=3, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_four_steps_are_two_and_two(make, tmp_path: Path) -> None:
    whole = trainer(Budget(steps=4), make).run()
    path = tmp_path / "checkpoint.pt"
    first = trainer(Budget(evaluations=10_000), make, checkpoint_path=path, checkpoint_every=1)
    first.stop_requested = lambda: "SIGINT" if first.state.at.step == 3 else None
    assert first.run().status == "interrupted"
    assert_the_same(resumed(path, make), whole)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("parametrization", [parametrizations.pixel, parametrizations.fourier])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_stopped_after_any_evaluation_a_run_goes_on_to_the_same_bits(
    make, parametrization, ahead, tmp_path: Path
) -> None:
    """In the middle of a step too: the state on disk is then the one before that step."""
    given = {"parametrization": parametrization, "ahead": ahead}
    whole = trainer(Budget(steps=4), make, **given).run()
    assert len(whole.rows) >= 4
    for last in range(1, len(whole.rows) + 1):
        path = tmp_path / f"{last}.pt"
        first = trainer(Budget(steps=4), make, checkpoint_path=path, **given)
        first.stop_requested = lambda run=first, last=last: (
            "SIGTERM" if run.state.at.evaluation == last else None
        )
        assert first.run().status == "interrupted"
        assert_the_same(resumed(path, make, **given), whole)


@pytest.mark.parametrize("parametrization", [parametrizations.pixel, parametrizations.fourier])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_run_that_reads_its_rows_late_is_the_same_run(make, parametrization) -> None:
    def outcome(recorded: bool, budget: Budget) -> Outcome:
        def halved(image: Tensor) -> Terms:
            return quadratic(torch.nn.functional.interpolate(image, (4, 4)))

        stages = [
            Stage(lambda: halved, (2, 2), 0.5, 5, 0.25, recorded=recorded),
            Stage(lambda: quadratic, (4, 4), recorded=recorded),
        ]
        start = torch.zeros(1, 3, 2, 2)
        return Trainer(stages, start, make, budget, parametrization).run()

    for budget in Budget(steps=7), Budget(evaluations=7), Budget(steps=7, evaluations=4):
        late, plain = outcome(True, budget), outcome(False, budget)
        assert late.stop_reason == plain.stop_reason
        assert [row.scale for row in late.rows][4:6] == [0.5, 1.0]
        assert_the_same(late, plain)


def test_row_is_read_when_the_next_evaluation_of_its_step_is_launched() -> None:
    events: list[str] = []

    class Listener(Recorder):
        def on_evaluation(self, row: Row) -> None:
            events.append(f"row {row.evaluation}")

    def listening(image: Tensor) -> Terms:
        events.append("launch")
        return quadratic(image)

    run = trainer(Budget(evaluations=5), MAKERS["lbfgs"], listening, True, sinks=[Listener()])
    run.run()
    # Three evaluations to a step; two more at the beginning for the recording and its check.
    step = ["launch", "launch", "row 1", "launch", "row 2", "row 3"]
    last = ["launch", "launch", "row 4", "row 5"]
    assert events == ["launch"] * 2 + step + last


@pytest.mark.parametrize("make", [optimizers.adam, optimizers.lbfgs])
def test_bad_numbers_end_a_run_one_evaluation_late(make) -> None:
    launched = 0

    def poisoned(image: Tensor) -> Terms:
        nonlocal launched
        launched += 1
        terms = quadratic(image)
        return replace(terms, total=terms.total * float("nan")) if launched == 6 else terms

    outcome = trainer(Budget(evaluations=9), make, poisoned, True).run()
    assert (outcome.status, outcome.stop_reason) == ("failed", "non_finite")
    assert "evaluation 4" in (outcome.error or "")
    assert [row.evaluation for row in outcome.rows] == [1, 2, 3]
    best = min(row.total for row in outcome.rows)
    assert quadratic(outcome.image).total.item() == pytest.approx(best)


def test_finished_checkpoint_gives_its_outcome_again_but_no_more(tmp_path: Path) -> None:
    """As where a run was killed after its last evaluation, before its result was written."""
    path = tmp_path / "checkpoint.pt"
    whole = trainer(Budget(evaluations=6), checkpoint_path=path).run()
    again = trainer(Budget(evaluations=6), checkpoint_path=path)
    again.restore(path)
    outcome = again.run()
    assert (outcome.status, outcome.stop_reason) == ("ok", "evaluations")
    assert_the_same(outcome, whole)
    with pytest.raises(checkpoint.CheckpointError, match="was finished"):
        trainer(Budget(evaluations=7)).restore(path)
    with pytest.raises(checkpoint.CheckpointError, match=r"after 6 evaluations, .*evaluations=5"):
        trainer(Budget(evaluations=5)).restore(path)


def test_run_is_not_resumed_with_less_than_it_had_reached_beyond_its_checkpoint(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None, None, None, None, "SIGINT"])  # in the second step of three evaluations
    stopped = trainer(
        Budget(steps=4),
        MAKERS["lbfgs"],
        checkpoint_path=path,
        stop_requested=lambda: next(asked),
    ).run()
    assert (stopped.steps, len(stopped.rows)) == (2, 5)
    assert checkpoint.load(path)["position"]["evaluation"] == 3
    with pytest.raises(checkpoint.CheckpointError, match=r"after 5 evaluations, .*evaluations=4"):
        trainer(Budget(evaluations=4), MAKERS["lbfgs"]).restore(path)
    with pytest.raises(checkpoint.CheckpointError, match=r"after 2 steps, .*steps=1"):
        trainer(Budget(steps=1), MAKERS["lbfgs"]).restore(path)
    assert len(resumed(path, MAKERS["lbfgs"]).rows) == 12


def test_checkpoint_whose_history_was_kept_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None, None, None, None, "SIGTERM"])
    trainer(
        Budget(evaluations=12),
        MAKERS["lbfgs"],
        checkpoint_path=path,
        stop_requested=lambda: next(asked),
    ).run()
    saved = checkpoint.load(path)
    del saved["optimizer"]["state"][0]["inverse"]
    checkpoint.save(saved, path)
    with pytest.raises(checkpoint.CheckpointError, match=r"another version of nst .*'inverse'"):
        trainer(Budget(evaluations=12), MAKERS["lbfgs"]).restore(path)


def test_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    checkpoint.save({"image": torch.ones(1), "optimizer": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(checkpoint.CheckpointError, match="another version of nst"):
        trainer(Budget(steps=1)).restore(tmp_path / "checkpoint.pt")


def resumed(path: Path, make, **given) -> Outcome:
    run = trainer(Budget(steps=4), make, **given)
    run.restore(path)
    return run.run()


def assert_the_same(outcome: Outcome, whole: Outcome) -> None:
    assert torch.equal(outcome.last_image, whole.last_image)
    assert torch.equal(outcome.image, whole.image)
    assert outcome.steps == whole.steps
    assert [(row.evaluation, row.total) for row in outcome.rows] == [
        (row.evaluation, row.total) for row in whole.rows
    ]


def test_checkpoint_is_of_the_run_that_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None, "SIGINT"])
    first = trainer(Budget(steps=9), checkpoint_path=path, stop_requested=lambda: next(asked))
    first.identity = {"size": "32", "weights": "a"}
    first.run()
    other = trainer(Budget(steps=9))
    other.identity = {"size": "64", "weights": "a", "mask": "b"}
    with pytest.raises(checkpoint.CheckpointError) as caught:
        other.restore(path)
    assert "another mask (nothing there, b here), size (32 there, 64 here)" in str(caught.value)


def test_checkpoints_come_after_the_evaluations_or_seconds_asked_for(
    monkeypatch, tmp_path: Path
) -> None:
    saved: list[int] = []

    def at(state: dict[str, Any]) -> int:
        return state["position"]["evaluation"]

    monkeypatch.setattr(checkpoint, "save", lambda state, path: saved.append(at(state)))
    path = tmp_path / "checkpoint.pt"
    trainer(Budget(steps=9), checkpoint_path=path, checkpoint_every=4).run()
    assert saved == [4, 8, 9]
    saved.clear()
    now = 0.0
    monkeypatch.setattr("nst.run.clock.time.perf_counter", lambda: now)

    def one_second(image: Tensor) -> Terms:
        nonlocal now
        now += 1
        return quadratic(image)

    clocked = trainer(Budget(steps=9), objective=one_second, checkpoint_path=path)
    clocked.checkpoint_seconds = 3
    clocked.run()
    assert saved == [3, 6, 9]


def test_finished_run_keeps_its_images_but_no_optimizer_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    outcome = trainer(Budget(steps=2), checkpoint_path=path).run()
    state = checkpoint.load(path)
    assert torch.equal(state["best_image"], outcome.image)
    with pytest.raises(checkpoint.CheckpointError, match="was finished"):
        trainer(Budget(steps=4)).restore(path)


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(checkpoint.CheckpointError, match="no such checkpoint"):
        checkpoint.load(path)
    checkpoint.save({"image": torch.ones(1000)}, path)
    checkpoint.save({"image": torch.ones(1000)}, path)
    before = checkpoint.previous(path).read_bytes()
    data = bytearray(path.read_bytes())
    position = data.find(torch.ones(50).numpy().tobytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert torch.equal(checkpoint.load(path)["image"], torch.ones(1000))  # the one before
    assert path.read_bytes() == before  # which is then the last
    assert not checkpoint.previous(path).exists()
    path.write_bytes(data)
    with pytest.raises(checkpoint.CheckpointError, match=r"damaged|not a readable"):
        checkpoint.load(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(checkpoint.CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(b"")
    with pytest.raises(checkpoint.CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.unlink()
    checkpoint.previous(path).write_bytes(before)
    assert torch.equal(checkpoint.load(path)["image"], torch.ones(1000))
