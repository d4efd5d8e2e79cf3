"""Sets the times of folders that are filled, each when nothing more comes into it."""

import os
from dataclasses import dataclass, field


@dataclass(slots=True)
class FolderTimes:
    """The folders that are being filled, each inside of the one before, with their times.

    Everything comes in the order of a walk: a folder, then all that is in it. Where it does not, a
    folder has the time at which it was filled.
    """

    _open: list[tuple[str, int]] = field(default_factory=list)

    def enter(self, folder: str, modified_ns: int) -> None:
        """Note the time that a folder is to have, in nanoseconds, when it is full."""
        self.leave(folder)
        self._open.append((folder, modified_ns))

    def leave(self, path: str = "") -> None:
        """Set the times of the folders that do not contain `path`, which comes next, or of all."""
        while self._open and not path.startswith(f"{self._open[-1][0]}/"):
            folder, modified_ns = self._open.pop()
            os.utime(folder, ns=(modified_ns, modified_ns), follow_symlinks=False)
