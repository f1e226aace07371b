"""How much history L-BFGS keeps where memory is short, and that saving it takes no second copy."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nst
from nst.errors import InputError
from nst.objective.cost import cost
from nst.objective.statistics import MSE, Gram
from nst.optim import history
from nst.optim.lbfgs import LBFGS
from nst.optim.optimizers import OptimizerFactory, vectors
from nst.run import checkpoint, memory
from support import xor_picture

COUNT = 1000
PAIR = 2 * 4 * COUNT  # bytes of two vectors in float32
VECTORS = history.beside(20) + history._EVALUATION  # beside the history
BESIDE = VECTORS * 4 * COUNT


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    rows: float | None,
    share: float,
    kept: torch.dtype = torch.float32,
) -> tuple[int, torch.dtype, int]:
    """Pairs, type and steps where a share of what is free is room for so many rows in float32."""
    room = None if rows is None else int((rows * PAIR + BESIDE) / share) + 1
    monkeypatch.setattr(history, "free", lambda device: room)
    return history.choose(COUNT, torch.float32, kept, 20, torch.device("cpu"))


@pytest.mark.parametrize(
    ("rows", "share", "expected"),
    [
        (None, history._SHARE, (100, torch.float32, 20)),  # nobody knows
        (120, history._SHARE, (100, torch.float32, 20)),
        (119, history._SHARE, (99, torch.float32, 20)),
        (40, history._SHARE, (20, torch.float32, 20)),
        (39, history._SHARE, (58, torch.bfloat16, 20)),  # rather than fewer than 20
        (20, history._SHARE, (20, torch.bfloat16, 20)),
        (34, history._MOST, (48, torch.bfloat16, 20)),  # more of what is free
        (20, history._MOST, (20, torch.bfloat16, 20)),
        (19, history._MOST, (41, torch.bfloat16, 1)),  # and then the shortest steps
        (1, history._MOST, (5, torch.bfloat16, 1)),
        (-1, history._MOST, (1, torch.bfloat16, 1)),
    ],
)
def test_as_many_pairs_are_kept_as_fit(
    monkeypatch: pytest.MonkeyPatch,
    rows: float | None,
    share: float,
    expected: tuple[int, torch.dtype, int],
) -> None:
    found = chosen(monkeypatch, rows, share)
    assert found == expected
    if rows is not None:
        pairs, dtype, steps = found
        spared = history.beside(20) - history.beside(steps)  # two vectors are a row
        assert (pairs + steps) * dtype.itemsize / 4 <= rows + spared / 2


def test_half_precision_is_kept_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, 60, history._SHARE, torch.bfloat16) == (100, torch.bfloat16, 20)


def test_no_room_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"two pairs of vectors take .* GiB, and .* GiB are left"):
        chosen(monkeypatch, -1.1, history._MOST)


@pytest.mark.parametrize("make", [nst.lbfgs, nst.lbfgs_torch])
def test_a_history_that_cannot_fit_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, make: OptimizerFactory
) -> None:
    def run(size: int, evaluations: int) -> nst.Result:
        return nst.stylize(
            xor_picture(),
            xor_picture(),
            size=32,
            resize="stretch",
            network=nst.Network("embedded"),
            optimizer=partial(make, history_size=size, max_iter=1),
            parametrization=nst.pixel,
            budget=nst.Budget(evaluations=evaluations),
            compute=nst.Compute("cpu", memory="full"),
        )

    evaluation = cost([(MSE(), ["relu4_2"]), (Gram(), ["relu5_1"])]).needed(32, 32)
    fitting = make([torch.zeros(1, requires_grad=True)], history_size=50, max_iter=1)
    vector = 3 * 32 * 32 * 4
    room = evaluation + int(vectors(fitting, 100) * vector)
    monkeypatch.setattr(memory, "free", lambda device: room)
    message = r"size=32: 32 x 32 px .* and the optimizer .* GiB, of which .* are free"
    with pytest.raises(InputError, match=message):
        run(51, 100)
    assert run(51, 2).chosen.get("history_size", 51) == 51  # no more than 2 pairs come together


def iterates(**options: object) -> list[Tensor]:
    x = torch.linspace(-2, 2, 30, dtype=torch.float64).requires_grad_()
    optimizer = LBFGS([x], **options)  # type: ignore[arg-type]
    seen: list[Tensor] = []

    def closure() -> Tensor:
        seen.append(x.detach().clone())
        optimizer.zero_grad()
        loss = (x**4 + (x[1:] - x[:-1]).square().sum() * torch.arange(1, 31)).mean()
        loss.backward()
        return loss

    while len(seen) < 40:
        optimizer.step(closure)
    return seen[:40]


def test_shorter_steps_change_no_iterate() -> None:
    long, short = iterates(max_iter=20), iterates(max_iter=4)
    assert all(map(torch.equal, long, short))


def test_a_run_records_what_it_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = 3 * 32 * 32
    room = int((50 * 8 * variables + VECTORS * 4 * variables) / history._SHARE) + 1
    monkeypatch.setattr(history, "free", lambda device: room)
    result = nst.stylize(
        xor_picture(),
        xor_picture(),
        size=32,
        resize="stretch",
        network=nst.Network("embedded"),
        parametrization=nst.pixel,
        budget=nst.Budget(evaluations=3),
        compute=nst.Compute("cpu"),
    )
    assert result.chosen == {"history_size": 30, "history_precision": "fp32", "max_iter": 20}


def test_a_checkpoint_of_a_history_is_no_second_copy(tmp_path: Path) -> None:
    ring = torch.arange(40.0).to(torch.bfloat16).view(4, 10)
    row = ring[2]
    alone = checkpoint._without_surroundings({"rows": [row, ring[1]], "n": row[3]})
    assert alone["rows"][0].data_ptr() == row.data_ptr()
    assert alone["rows"][0].untyped_storage().nbytes() == 20
    checkpoint.save({"rows": [row], "n": ring[3, 3]}, tmp_path / "c.pt")
    found = checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(found["rows"][0], row)
    assert torch.equal(found["n"], ring[3, 3])


@pytest.mark.parametrize("room", [2**30, 1])
def test_what_a_checkpoint_kept_counts_and_not_what_is_free_now(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    def made(x: Tensor) -> LBFGS:
        return LBFGS([x], history_size=None, max_iter=3)

    def closure_of(x: Tensor, optimizer: LBFGS):
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = x.pow(4).sum()
            loss.backward()
            return loss

        return closure

    monkeypatch.setattr(
        history, "free", lambda device: int((30 * 80 + VECTORS * 40) / history._SHARE) + 1
    )
    x = torch.ones(10, requires_grad=True)
    first = made(x)
    first.step(closure_of(x, first))
    kept = first.chosen
    assert kept["history_size"] == 27
    saved = json.loads(json.dumps(kept))
    monkeypatch.setattr(history, "free", lambda device: room)
    other = made(x)
    other.load_state_dict(first.state_dict())
    assert other.chosen == saved
