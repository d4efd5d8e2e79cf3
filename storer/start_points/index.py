"""Check and index start points: `python -m storer.start_points.index FOLDER...`.

Each FOLDER is called `languages` or `exercises` and has a folder for each start point. If anything
is wrong, all problems are reported at once, by file and key, and nothing is written. Else each
FOLDER gets its index.json, from which the storer serves the start points.
"""

import sys
from pathlib import Path

from storer.fs import durable
from storer.fs.json_files import Unreadable
from storer.start_points.start_points import EXERCISES, INDEX, LANGUAGES, IndexEntry, index_json, read


def main(folders: list[str]) -> None:
    """Index the folders; exit with 1 if a start point is invalid, with 2 for wrong arguments."""
    if not folders or not all(Path(each).name in {LANGUAGES, EXERCISES} for each in folders):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    problems: list[str] = []
    indexes = {Path(each): check(Path(each), problems) for each in folders}
    if problems:
        sys.exit("\n".join(problems))
    for folder, listed in indexes.items():
        durable.write(folder / INDEX, index_json(listed))
        (folder / INDEX).chmod(0o644)
        print(f"{folder}: {len(listed)} {folder.name}")


def check(folder: Path, problems: list[str]) -> list[IndexEntry]:
    """Return the entries of a folder's index, by display name; append to `problems` what is wrong."""
    found: dict[str, IndexEntry] = {}
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return []
    for path in inner:
        try:
            start_point = read(path, folder.name)
        except Unreadable as error:
            problems.append(f"{path}/{error}")
            continue
        name = start_point.display_name
        if name in found:
            other = folder / found[name].folder
            problems.append(f"{path}/manifest.json: display_name: {other} is called {name!r} too")
            continue
        first = next(iter(start_point.visible_files.values()))
        found[name] = IndexEntry(
            display_name=name,
            folder=path.name,
            image_name=start_point.image_name,
            instructions=first if folder.name == EXERCISES else b"",
        )
    return [found[name] for name in sorted(found)]


if __name__ == "__main__":
    main(sys.argv[1:])
