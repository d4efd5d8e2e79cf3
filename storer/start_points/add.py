"""Add start points to those that are served: `python -m storer.start_points.add FOLDER NEW`.

FOLDER is called `languages`, `exercises` or `custom` and has the start points that are served. NEW
is a start point, or has some in it. What is wrong with NEW is named where NEW is, and then FOLDER
stays as it was. A storer that serves FOLDER notices by itself: the index is replaced last.
"""

import shutil
import sys
from pathlib import Path

from dojo import locks
from storer.fs import durable
from storer.start_points import checks, folders, index, start_point
from storer.start_points.checks import Findings
from storer.start_points.files import FolderFiles
from storer.start_points.start_point import KINDS
from storer.start_points.start_points import INDEX, index_json

# Begins with a dot: no index has what is in it.
_INCOMING = ".adding"


def main(arguments: list[str]) -> None:
    """Add; exit with 1 if a start point is invalid, with 2 for wrong arguments."""
    if len(arguments) != 2 or Path(arguments[0]).name not in KINDS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    findings = Findings()
    names = add(Path(arguments[0]), Path(arguments[1]), findings)
    for warning in findings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if findings.problems:
        sys.exit("\n".join(findings.problems))
    print(f"added: {', '.join(names)}")


def add(folder: Path, new: Path, findings: Findings) -> list[str]:
    """Add the start points in `new` to a folder that is served; return their display names.

    Adds to `findings` what is wrong; if anything is, nothing is added. One process adds at a time.
    """
    with locks.locked(folder):
        return _add(folder, new, findings)


def _add(folder: Path, new: Path, findings: Findings) -> list[str]:
    target = folder / new.name
    if target.exists():
        findings.problems.append(f"{new}: {target} exists already: give it another name")
        return []
    names = _checked(folder, new, findings)
    if findings.problems:
        return []
    incoming = folder / _INCOMING
    shutil.rmtree(incoming, ignore_errors=True)  # of a process that died
    try:
        shutil.copytree(new, incoming, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    except shutil.Error as error:  # of a pipe, say, which no start point needs
        shutil.rmtree(incoming)
        findings.problems += [f"{source}: can't be copied: {why}" for source, _, why in error.args[0]]
        return []
    incoming.rename(target)
    listed = index.check(folder, findings)
    if findings.problems:
        shutil.rmtree(target)
        return []
    durable.write(folder / INDEX, index_json(listed))
    (folder / INDEX).chmod(0o644)
    return names


def _checked(folder: Path, new: Path, findings: Findings) -> list[str]:
    """Return the display names of the start points in `new`; add to `findings` what is wrong."""
    there = {each.display_name: each.folder for each in index.check(folder, Findings())}
    try:
        found = list(folders.find(new))
    except OSError as error:
        findings.problems.append(f"{error.filename}: {error.strerror}")
        return []
    if not found:
        findings.problems.append(f"{new}: {index.NOTHING_HERE}")
    names: list[str] = []
    for path in found:
        wrong = checks.check(FolderFiles(path), folder.name)
        findings.warnings += [f"{path}/{each}" for each in wrong.warnings]
        findings.problems += [f"{path}/{each}" for each in wrong.problems]
        if wrong.problems:
            continue
        name = start_point.read(FolderFiles(path), folder.name).display_name
        if name in there or name in names:
            other = there.get(name, "another one here")
            problem = f"{path}/{folders.MANIFEST}: display_name: {other} is called {name!r} too"
            findings.problems.append(problem)
        names.append(name)
    return names


if __name__ == "__main__":
    main(sys.argv[1:])
