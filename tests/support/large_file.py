"""A large file that takes its room on the disk: one with a hole would be short in every tar."""

from pathlib import Path

_PIECE = bytes(4 * 1024 * 1024)


def write_zeros(path: Path, size_bytes: int) -> None:
    """Write a file of zeros, none of which is a hole."""
    with path.open("wb") as file:
        while left := size_bytes - file.tell():
            file.write(_PIECE[:left])
