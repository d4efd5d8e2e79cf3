"""libgit2's settings, which hold for the whole process, and its repositories."""

import weakref
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel
from pygit2.references import References


def configure() -> None:
    """Set libgit2 up for katas' repositories, independent of the host's git configuration."""
    pygit2.settings.owner_validation = False  # imported katas keep their owners
    pygit2.settings.enable_fsync_gitdir(True)  # noqa: FBT003 - its only argument
    for level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
        pygit2.settings.search_path[level] = ""  # a ~/.gitconfig would change histories


def opened(git: Path) -> pygit2.Repository:
    """Open the repository in `git`. It is closed, with its packs, when it is no longer used.

    A repository of pygit2 refers to itself. So its packs would stay open until garbage is
    collected, and keep their space on the disk although their kata was deleted.
    """
    repository = pygit2.Repository(str(git))
    repository.references = References(weakref.proxy(repository))
    del repository.branches, repository.remotes, repository.submodules
    return repository


def in_words(error: Exception) -> str:
    """Return what an error of a read of git says. A KeyError only names what is missing."""
    is_missing = isinstance(error, KeyError) and error.args
    return f"{error.args[0]} is missing" if is_missing else str(error)
