"""libgit2's settings, which are those of the whole process."""

import pygit2
from pygit2.enums import ConfigLevel


def configure() -> None:
    """Have libgit2 read and write katas' repositories, and depend on nothing else."""
    pygit2.settings.owner_validation = False  # imported katas keep the owner that they had
    pygit2.settings.enable_fsync_gitdir(True)  # noqa: FBT003 - its only argument
    for level in (ConfigLevel.SYSTEM, ConfigLevel.GLOBAL, ConfigLevel.XDG):
        pygit2.settings.search_path[level] = ""  # a history depends on no one's ~/.gitconfig
