"""Where a backup's tar can be cut and resumed, found while its bytes pass by.

A member `49/3A06504A.json` follows each kata. The tar can be cut after that member.
"""

import re
import tarfile

_MARK = re.compile(r"([0-9A-Za-z]{2})/([0-9A-Za-z]{8})\.json\Z")
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class CutPoint:
    """The last complete kata, and the offset of its end. It has to see every byte of the tar."""

    def __init__(self, offset: int = 0, kata_id: str = "") -> None:
        """Start at an earlier cut point, by default at the tar's beginning."""
        self.offset = offset
        self.kata_id = kata_id
        self._at = offset
        self._header = b""
        self._to_skip = 0
        self._name = ""

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        rest = memoryview(data)
        while rest:
            if self._to_skip:
                count = min(self._to_skip, len(rest))
                self._to_skip -= count
            else:
                count = min(tarfile.BLOCKSIZE - len(self._header), len(rest))
                self._header += bytes(rest[:count])
            self._at += count
            rest = rest[count:]
            if len(self._header) == tarfile.BLOCKSIZE:
                self._begin()
            if not self._to_skip and not self._header and self._name:
                self._end()

    def _begin(self) -> None:
        header, self._header = self._header, b""
        if header.count(0) == tarfile.BLOCKSIZE:
            return  # the tar's end
        # The members that matter have short names, which need no extension header.
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        blocks = -(-member.size // tarfile.BLOCKSIZE)
        self._to_skip = blocks * tarfile.BLOCKSIZE
        self._name = "" if member.type in _EXTENSIONS else member.name

    def _end(self) -> None:
        match = _MARK.match(self._name)
        self._name = ""
        if match:
            self.offset, self.kata_id = self._at, match[1] + match[2]
