"""Check and index start points: `python -m storer.start_points.index [--check] FOLDER...`.

Each FOLDER is called `languages`, `exercises` or `custom` and has folders of start points. A start
point is a folder with a manifest.json; of a repository, its folder `start_point`. If anything is
wrong, all problems are reported at once, by file and key, and nothing is written. Else each FOLDER
gets its index.json, from which the storer serves the start points; with `--check` it does not.
"""

import sys
from pathlib import Path

from dojo import limits
from storer.fs import durable
from storer.start_points import checks, folders, start_point
from storer.start_points.checks import Findings
from storer.start_points.files import FolderFiles
from storer.start_points.start_point import KINDS
from storer.start_points.start_points import INDEX, IndexEntry, index_json


def main(arguments: list[str]) -> None:
    """Index the folders; exit with 1 if a start point is invalid, with 2 for wrong arguments."""
    only_checks = arguments[:1] == ["--check"]
    arguments = arguments[only_checks:]
    if not arguments or not all(Path(each).name in KINDS for each in arguments):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    findings = Findings()
    indexes = {Path(each): check(Path(each), findings) for each in arguments}
    for warning in findings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if findings.problems:
        sys.exit("\n".join(findings.problems))
    if only_checks:
        return
    for folder, listed in indexes.items():
        durable.write(folder / INDEX, index_json(listed))
        (folder / INDEX).chmod(0o644)
        print(f"{folder}: {len(listed)} {folder.name}")
        for entry in listed:
            print(f"  {entry.folder}: {entry.display_name}")


def check(folder: Path, findings: Findings) -> list[IndexEntry]:
    """Return the entries of a folder's index, by display name; add to `findings` what is wrong."""
    found: dict[str, IndexEntry] = {}
    for path in _start_points(folder, findings):
        wrong = checks.check(FolderFiles(path), folder.name)
        findings.warnings += [f"{path}/{each}" for each in wrong.warnings]
        findings.problems += [f"{path}/{each}" for each in wrong.problems]
        if wrong.problems:
            continue
        served = start_point.read(FolderFiles(path), folder.name)
        name = served.display_name
        if name in found:
            other = folder / found[name].folder
            problem = f"{path}/{folders.MANIFEST}: display_name: {other} is called {name!r} too"
            findings.problems.append(problem)
            continue
        found[name] = IndexEntry(
            display_name=name,
            folder=path.relative_to(folder).as_posix(),
            image_name=served.image_name,
            instructions=start_point.instructions(served, folder.name),
        )
    listed = [found[name] for name in sorted(found)]
    if (size := len(index_json(listed))) > limits.MAX_INDEX_BYTES:
        problem = f"would have {size} bytes, more than {limits.MAX_INDEX_BYTES}"
        findings.problems.append(f"{folder}/{INDEX}: {problem}: shorten the instructions")
    return listed


def _start_points(folder: Path, findings: Findings) -> list[Path]:
    """Return the start points in a folder; add to `findings` where there should be one."""
    found = []
    try:
        inner = folders.inner_folders(folder)
        for path in inner:
            here = list(folders.find(path))
            if not here:
                findings.problems.append(f"{path}: {NOTHING_HERE}")
            found += here
    except OSError as error:
        findings.problems.append(f"{error.filename}: {error.strerror}")
        return []
    if not inner:
        findings.warnings.append(f"{folder}: has no start points, each in a folder of its own")
    if (folder / folders.MANIFEST).exists():
        problem = "is in no folder of its own, and so it is nobody's start point"
        findings.problems.append(f"{folder}/{folders.MANIFEST}: {problem}")
    return found


NOTHING_HERE = (
    f"there is no start point: no {folders.MANIFEST} here, in {folders.START_POINT}/, "
    f"or in the folders inside, {folders.MAX_DEPTH} deep"
)


if __name__ == "__main__":
    main(sys.argv[1:])
