"""Coarse to fine: what the trainer does from stage to stage."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture
from torch import Tensor

import nst
from nst.errors import InputError
from nst.objective import Terms
from nst.optim import optimizers, schedules
from nst.optim.parametrizations import Image
from nst.optim.schedules import Scale, Stage
from nst.pictures.images import to_tensor
from nst.report.scan import read_sweep
from nst.run.checkpoint import CheckpointError
from nst.run.records import Budget
from nst.run.trainer import Trainer
from support import Command, checker_picture, stylize, xor_picture

TINY = {
    "size": 64,
    "weights": "random",
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
}
PYRAMID = [Scale(0.5, 8), Scale(1.0, None)]


def towards(goal: float):
    """An objective with its minimum at an image of one value, in any size."""

    def objective(image: Tensor) -> Terms:
        loss = (image - goal).square().mean()
        zero = loss.detach() * 0
        return Terms({"content": loss, "style": zero, "tv": zero}, loss, {})

    return objective


def stages(made: list[int]) -> list[Stage]:
    def make(index: int, goal: float):
        def build():
            made.append(index)
            return towards(goal)

        return build

    return [
        Stage(make(0, 5.0), (2, 2), 0.25, 6, 1 / 16),
        Stage(make(1, 1.0), (4, 4), 0.5, 4, 1 / 4),
        Stage(make(2, 0.0), (8, 8)),
    ]


def test_each_stage_has_its_size_objective_and_evaluations() -> None:
    made: list[int] = []
    trainer = Trainer(stages(made), torch.zeros(1, 3, 2, 2), optimizers.adam, Budget(evaluations=4))
    assert made == [0]  # the others are made when it is their turn
    outcome = trainer.run()
    assert made == [0, 1, 2]
    assert [row.scale for row in outcome.rows] == [0.25] * 6 + [0.5] * 4 + [1.0] * 3
    assert [row.evaluation for row in outcome.rows] == list(range(1, 14))
    # 6/16 + 4/4 + 2 are below 4 still.
    assert outcome.rows[-1].cost == pytest.approx(6 / 16 + 1 + 3)
    assert outcome.stop_reason == "evaluations"
    assert outcome.image.shape == outcome.last_image.shape == (1, 3, 8, 8)


def test_a_stage_begins_with_the_best_image_of_the_one_before() -> None:
    outcome = Trainer(
        stages([]), torch.zeros(1, 3, 2, 2), optimizers.adam, Budget(evaluations=3)
    ).run()
    first, second = outcome.rows[:6], outcome.rows[6:10]
    reached = 5 - min(row.total for row in first) ** 0.5
    assert second[0].total == pytest.approx((1 - reached) ** 2, rel=1e-4)


def test_fine_detail_comes_from_the_content_picture() -> None:
    content = torch.randn(1, 3, 32, 48)
    coarse = schedules.resized(content, (16, 24))
    # What the run changed in the small size is enlarged; what that size cannot hold is content's.
    torch.testing.assert_close(schedules.enlarged(coarse, content), content)
    torch.testing.assert_close(schedules.enlarged(coarse + 0.5, content), content + 0.5)
    flat = torch.full_like(content, 2.0)
    torch.testing.assert_close(
        schedules.enlarged(coarse, flat), schedules.resized(coarse, (32, 48)), atol=1e-5, rtol=0
    )


def test_a_stage_begins_with_its_content_pictures_detail() -> None:
    content = 3 + torch.randn(1, 3, 4, 4)
    seen: list[Tensor] = []

    def objective(image: Tensor) -> Terms:
        seen.append(image.detach().clone())
        return towards(0.0)(image)

    two = [
        Stage(lambda: objective, (2, 2), 0.5, 3, 1 / 4),
        Stage(lambda: objective, (4, 4), content=lambda: content),
    ]
    start = schedules.resized(content, (2, 2))
    Trainer(two, start, optimizers.adam, Budget(evaluations=2)).run()
    # Adam's learning rate is 0.1, and the third image was the best.
    torch.testing.assert_close(seen[3], schedules.enlarged(seen[2], content))


@pytest.mark.parametrize("detail", [True, False])
def test_detail_of_a_run_is_an_option(detail: bool, tmp_path: Path) -> None:
    begun: list[Tensor] = []

    def watched(image: Tensor) -> Image:
        begun.append(image.detach().clone())
        return nst.pixel(image)

    options = {
        **TINY,
        "size": 32,
        "optimizer": optimizers.adam,
        "parametrization": watched,
        "gamut": nst.gamuts.free,
        "budget": Budget(evaluations=2),
    }
    # The first image alone is measured in the small size, and so is the best.
    schedule = [Scale(0.5, 1, detail), Scale(1.0, None, detail)]
    path = tmp_path / "checkpoint.pt"
    seen: list[int] = []

    def stop() -> str | None:
        seen.append(1)
        return "SIGTERM" if len(seen) == 2 else None

    pictures = xor_picture(), checker_picture()
    whole = stylize(*pictures, **options, schedule=schedule)
    _, coarse, full = begun[:3]  # the first one tells what memory the run will take
    content = to_tensor(pictures[0], (26, 32))
    plain = schedules.resized(coarse, (26, 32))
    expected = schedules.enlarged(coarse, content) if detail else plain
    assert torch.equal(full, expected)
    assert torch.equal(full, plain) == (not detail)
    stylize(*pictures, **options, schedule=schedule, checkpoint=path, stop_requested=stop)
    other = [Scale(0.5, 1, not detail), Scale(1.0, None, not detail)]
    with pytest.raises(CheckpointError, match="schedule"):
        stylize(*pictures, **options, schedule=other, resume=path)
    rest = stylize(*pictures, **options, schedule=schedule, resume=path)
    assert rest.picture.tobytes() == whole.picture.tobytes()


def test_best_is_of_the_last_size_alone() -> None:
    # Losses of the first size are far below all of the second's.
    two = [
        Stage(lambda: towards(0.0), (2, 2), 0.5, 3, 1 / 4),
        Stage(lambda: towards(9.0), (4, 4)),
    ]
    start = torch.zeros(1, 3, 2, 2)
    outcome = Trainer(two, start, optimizers.adam, Budget(evaluations=3)).run()
    assert outcome.best is not None
    assert outcome.best.scale == 1.0
    target = Trainer(two, start, optimizers.adam, Budget(evaluations=9, target_loss=1.0)).run()
    assert target.stop_reason == "evaluations"


def test_a_stage_that_stands_still_gives_way_to_the_next() -> None:
    two = [Stage(lambda: towards(0.0), (2, 2), 0.5, 50, 1 / 4), Stage(lambda: towards(1.0), (4, 4))]
    start = torch.zeros(1, 3, 2, 2)
    outcome = Trainer(two, start, optimizers.lbfgs, Budget(evaluations=20)).run()
    assert [row.scale for row in outcome.rows].count(0.5) < 50
    assert outcome.rows[-1].scale == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [optimizers.adam, optimizers.lbfgs, optimizers.lbfgs_torch])
@pytest.mark.parametrize("last", [1, 5, 8, 9, 13])
def test_run_stopped_anywhere_goes_on_to_the_same_bits(
    optimizer, last: int, tmp_path: Path
) -> None:
    options = {**TINY, "schedule": PYRAMID, "optimizer": optimizer, "budget": Budget(evaluations=9)}
    whole = stylize(xor_picture(), checker_picture(), **options)
    seen: list[int] = []

    def stop() -> str | None:
        seen.append(1)
        return "SIGTERM" if len(seen) == last else None

    path = tmp_path / "checkpoint.pt"
    part = stylize(
        xor_picture(), checker_picture(), **options, checkpoint=path, stop_requested=stop
    )
    assert part.status == "interrupted"
    assert part.picture.size == whole.picture.size
    rest = stylize(xor_picture(), checker_picture(), **options, resume=path)
    assert rest.picture.tobytes() == whole.picture.tobytes()
    assert [(row.evaluation, row.total, row.cost) for row in rest.losses] == [
        (row.evaluation, row.total, row.cost) for row in whole.losses
    ]


def test_noise_begins_in_the_smallest_size() -> None:
    result = stylize(
        xor_picture(),
        checker_picture(),
        **TINY,
        schedule=PYRAMID,
        init=nst.inits.random,
        budget=Budget(evaluations=3),
    )
    assert result.picture.size == (64, 51)
    assert result.losses[0].cost == pytest.approx(32 * 26 / (64 * 51))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], "end with 1"),
        ([Scale(0.5, 3)], "end with 1"),
        ([Scale(0.0, 3), Scale(1.0, None)], "above 0"),
        ([Scale(0.5, 3), Scale(0.5, 3), Scale(1.0, None)], "must grow"),
        ([Scale(0.5, None), Scale(1.0, None)], "a number for each scale"),
        ([Scale(0.5, 0), Scale(1.0, None)], "a number for each scale"),
        ([Scale(0.5, 3), Scale(1.0, 3)], "null for the last"),
    ],
)
def test_schedules_that_make_no_sense(schedule: list[Scale], message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedules.check(schedule)


def test_smallest_size_must_suit_the_network() -> None:
    with pytest.raises(InputError, match=r"13 x 10 px at size=13 is too small: the layer relu5_1"):
        stylize(
            xor_picture(),
            checker_picture(),
            size=64,
            weights="random",
            schedule=[Scale(0.2, 5), Scale(1.0, None)],
        )


def test_report_counts_full_size_evaluations_and_leaves_smaller_sizes_out(
    nst_command: Command, tmp_path: Path
) -> None:
    done = nst_command(
        *("size=64", "model.weights=embedded", "budget.evaluations=4", "name=q", "seed=0,1"),
        *("schedule=pyramid", "schedule.scales=[0.5,1]", "schedule.evaluations=[6,null]"),
        "schedule.detail=false",
        "--multirun",
    )
    assert done.returncode == 0, done.stderr
    run = read_sweep(tmp_path / "outputs" / "q").runs[0]
    result = json.loads((tmp_path / "outputs" / "q" / "seed-0" / "result.json").read_text())
    ratio = 1 / 4
    assert result["cost"] == pytest.approx(6 * ratio + result["evaluations"] - 6)
    assert run.evaluations == math.ceil(result["cost"])
    assert len(run.curve) == result["evaluations"] - 6
    assert run.curve.evaluation[0] == math.ceil(6 * ratio + 1)
    assert result["size"] == [64, 48]
    with Picture.open(tmp_path / "outputs" / "q" / "seed-0" / "result.png") as picture:
        assert picture.size == (64, 48)
