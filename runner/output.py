"""What a program writes, read without end and kept in part."""

from collections.abc import Callable


class Capture:
    """The first bytes of a stream. `passed_on` gets each piece of them as it comes."""

    def __init__(self, limit_bytes: int, passed_on: Callable[[bytes], None] | None = None) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._passed_on = passed_on
        self._kept = bytearray()

    def add(self, data: memoryview) -> None:
        """Take the next bytes, keeping what there is room for."""
        self.size_bytes += len(data)
        room = self._limit_bytes - len(self._kept)
        if room > 0:
            self._kept += data[:room]
            if self._passed_on is not None:
                self._passed_on(bytes(data[:room]))

    @property
    def content(self) -> bytes:
        """What was kept."""
        return bytes(self._kept)

    @property
    def is_truncated(self) -> bool:
        """Whether there was more than was kept."""
        return self.size_bytes > len(self._kept)
