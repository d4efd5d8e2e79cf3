"""What a program writes, read without end and kept in part."""

from collections.abc import Mapping

_HEADER_BYTES = 8


class Capture:
    """The first bytes of a stream."""

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._kept = bytearray()

    def add(self, data: memoryview) -> None:
        """Take the next bytes, keeping what there is room for."""
        self.size_bytes += len(data)
        room = self._limit_bytes - len(self._kept)
        if room > 0:
            self._kept += data[:room]

    @property
    def content(self) -> bytes:
        """What was kept."""
        return bytes(self._kept)

    @property
    def is_truncated(self) -> bool:
        """Whether there was more than was kept."""
        return self.size_bytes > len(self._kept)


class Frames:
    """Takes apart the engine's frames, in which standard output and standard error alternate.

    A frame is a header of 8 bytes (the stream, three zeros, the length in 4 bytes) and that
    many bytes. The engine makes them, so that a program can't forge one.
    """

    STDOUT = 1
    STDERR = 2

    def __init__(self, captures: Mapping[int, Capture]) -> None:
        self._captures = captures
        self._header = bytearray()
        self._rest = 0
        self._capture: Capture | None = None

    def feed(self, data: memoryview) -> None:
        """Take the next bytes, wherever a frame may begin or end in them."""
        while data:
            if self._rest == 0:
                missing = _HEADER_BYTES - len(self._header)
                self._header += data[:missing]
                data = data[missing:]
                if len(self._header) == _HEADER_BYTES:
                    self._rest = int.from_bytes(self._header[4:])
                    self._capture = self._captures.get(self._header[0])
                    self._header.clear()
                continue
            piece, data = data[: self._rest], data[self._rest :]
            self._rest -= len(piece)
            if self._capture is not None:
                self._capture.add(piece)
