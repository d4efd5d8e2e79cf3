"""The index that is written of a light is the one that git would read from its tree."""

from pathlib import Path

import pygit2
import pytest

from storer.git import index_file
from storer.git.reader import GitReader
from support.storer.storing import git

LONG = "long/" * 30 + "n" * 200
FILES = {
    "a": (b"a", 0o100644),
    "a.txt": (b"", 0o100644),
    "a-": (b"", 0o100644),
    "b/a": (b"b", 0o100755),
    "run.sh": (b"true\n", 0o100755),
    "link": (b"a.txt", 0o120000),
    "z/y/x": (b"x", 0o100644),
    "z.y": (b"y", 0o100644),
    LONG: (b"long", 0o100644),
    **{f"{number:04}": (b"", 0o100644) for number in range(9)},
}


def put(repository: pygit2.Repository, files: dict[str, tuple[bytes, int]]) -> str:
    """Write the files into git; return the name of their tree."""
    builder = repository.TreeBuilder()
    folders: dict[str, dict[str, tuple[bytes, int]]] = {}
    for name, (content, mode) in files.items():
        folder, slash, rest = name.partition("/")
        if slash:
            folders.setdefault(folder, {})[rest] = content, mode
        else:
            builder.insert(name, repository.create_blob(content), mode)
    for name, inside in folders.items():
        builder.insert(name, put(repository, inside), 0o040000)
    return str(builder.write())


@pytest.mark.parametrize("files", [{}, FILES])
def test_git_reads_what_was_written(tmp_path: Path, files: dict[str, tuple[bytes, int]]) -> None:
    repository = pygit2.init_repository(tmp_path, bare=True)
    tree = put(repository, files)
    reader = GitReader(tmp_path)
    (tmp_path / "index.lock").write_bytes(b"of a process that died")
    index_file.write(tmp_path, index_file.encode(reader, reader.folder(tree)))
    assert git(tmp_path, "write-tree").decode().strip() == tree
    written = git(tmp_path, "ls-files", "--stage")
    assert len(written.splitlines()) == len(files)
    git(tmp_path, "read-tree", tree)
    assert git(tmp_path, "ls-files", "--stage") == written
    assert not (tmp_path / "index.lock").exists()


def test_trees_that_hold_too_much_are_refused(tmp_path: Path) -> None:
    repository = pygit2.init_repository(tmp_path, bare=True)
    tree = put(repository, {f"{number}": (b"", 0o100644) for number in range(10)})
    for _ in range(4):
        builder = repository.TreeBuilder()
        for number in range(10):
            builder.insert(f"{number}", tree, 0o040000)
        tree = str(builder.write())
    reader = GitReader(tmp_path)
    with pytest.raises(ValueError, match="more than"):
        index_file.encode(reader, reader.folder(tree))
