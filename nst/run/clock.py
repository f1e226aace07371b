"""A stopwatch for the optimisation alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts the seconds between `start` and `stop`, without its pauses.

    Attributes:
        before: seconds counted before it was started last, such as before a resumption.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """All seconds so far."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self.before + running

    def start(self) -> None:
        """Go on counting."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stand still; nothing where it does already."""
        self.before, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still until the end of the `with` block, and after it too if it did so before."""
        running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
