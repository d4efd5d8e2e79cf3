"""Where start points are: each is a folder with a manifest.json.

Of a repository, that is its folder `start_point`. Start points may be in folders of folders, as
`Tennis/Ruby` and `Tennis/Java` are.
"""

from collections.abc import Iterator
from pathlib import Path

MANIFEST = "manifest.json"
START_POINT = "start_point"

MAX_DEPTH = 4
"""How many folders deep a start point may be, inside one of the folders of `languages`."""


def inner_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without those of programs, such as `.git`.

    Raises OSError.
    """
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def find(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Yield the start points that a folder is, or has. Raises OSError."""
    for place in (folder, folder / START_POINT):
        # A pipe or a broken link counts too, so that the check of the start point names it.
        manifest = place / MANIFEST
        if (manifest.exists() or manifest.is_symlink()) and not manifest.is_dir():
            yield place
            return
    if depth == 0:
        return
    for path in inner_folders(folder):
        if not path.is_symlink():  # it could lead around in circles
            yield from find(path, depth - 1)
