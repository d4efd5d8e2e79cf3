"""Keeps the beginning and the end of what a program writes."""

from collections.abc import Callable


class Capture:
    """Keeps the first bytes of a stream, for people, and the last bytes too, for the colour.

    `on_output` gets each piece of the first bytes as it comes.
    """

    def __init__(self, limit_bytes: int, on_output: Callable[[bytes], None] | None = None) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._on_output = on_output
        self._first = bytearray()
        self._last = bytearray()

    def add(self, data: memoryview) -> None:
        """Add the next bytes of the stream."""
        self.size_bytes += len(data)
        room = self._limit_bytes - len(self._first)
        if room > 0:
            self._first += data[:room]
            if self._on_output is not None:
                self._on_output(bytes(data[:room]))
            data = data[room:]
        if data:
            self._last += data[-self._limit_bytes :]
            del self._last[: -self._limit_bytes]

    @property
    def content(self) -> bytes:
        """The first bytes."""
        return bytes(self._first)

    @property
    def both_ends(self) -> bytes:
        """The first and the last bytes. A test's summary comes last, after any amount of output."""
        return bytes(self._first + self._last)

    @property
    def is_truncated(self) -> bool:
        """Whether the stream had more than the first bytes."""
        return self.size_bytes > len(self._first)
