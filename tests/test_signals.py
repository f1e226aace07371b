"""What a signal does before and after there is something to be saved."""

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from nst.cli import signals
from support import posix

pytestmark = posix


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Signals that whoever runs the tests has them ignore, such as nohup SIGHUP, are heard."""
    numbers = [getattr(signal, name) for name in signals.EXIT_CODES]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def interrupted(*names: str, begun: bool) -> None:
    with signals.signals() as stop_requested:
        if begun:
            stop_requested()
        for name in names:
            os.kill(os.getpid(), getattr(signal, name))
        time.sleep(60)


@pytest.mark.parametrize(("name", "code"), signals.EXIT_CODES.items())
def test_signal_before_the_first_evaluation_ends_it_at_once(
    name: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit) as stop:
        interrupted(name, begun=False)
    assert stop.value.code == code
    assert [text.partition(";")[0] for text in caplog.messages] == [
        f"{name}: stopped before the first evaluation"
    ]
    assert signal.getsignal(getattr(signal, name)) is signal.default_int_handler


@pytest.mark.parametrize(("patience", "said"), [(0.01, True), (60.0, False)])
def test_signal_waits_for_an_evaluation_and_says_so_where_that_takes_long(
    patience: float, said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(signals, "_PATIENCE", patience)
    with signals.signals() as stop_requested:
        assert stop_requested() is None
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 10
        while said and not caplog.messages:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert stop_requested() == "SIGTERM"
    assert [message.split()[0] for message in caplog.messages] == ["Stopping"] * said


def test_second_signal_is_not_held_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit) as stop:
        interrupted("SIGTERM", "SIGINT", begun=True)
    assert stop.value.code == signals.EXIT_CODES["SIGTERM"]
    assert [text.partition(";")[0] for text in caplog.messages] == ["SIGTERM: stopped at once"]


def test_interrupt_that_no_signal_sent_goes_its_way() -> None:
    with pytest.raises(KeyboardInterrupt), signals.signals():
        raise KeyboardInterrupt
