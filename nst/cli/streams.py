"""Standard output that may lose its reader."""

import io
import os
import sys


class Lasting(io.TextIOWrapper):
    """A standard stream that a run outlives: `| head`, or the terminal of a lost connection.

    From the first failure on, what is written goes nowhere.
    """

    def write(self, text: str) -> int:
        """Write, or give the stream up."""
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Flush, or give the stream up."""
        try:
            super().flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Put streams that outlive their readers in place of stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Not what somebody has put in its place.
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            lasting = Lasting(
                stream.buffer,
                encoding=stream.encoding,
                errors=stream.errors,
                write_through=stream.write_through,
                line_buffering=stream.line_buffering or name == "stderr",
            )
            setattr(sys, name, lasting)
