"""Where a change of a kata is kept before it is acknowledged, besides the kata's own files.

A storer that is alone keeps nothing there. Of several, each keeps everything in etcd
(`storer.cluster.ledger`), so that another one can go on with the kata.
"""

from pathlib import Path

from storer.fs.write_ahead_log import Log, WriteAheadLog


class Ledger:
    """The ledger of a storer that is alone. Any thread may use it."""

    def log(self, kata_id: str, avatar: str, folder: Path) -> Log:
        """Return the log of an avatar in `folder`. For the holder of the avatar's lock."""
        return WriteAheadLog(folder)

    def keep_options(self, kata_id: str, content: bytes) -> None:
        """Keep the content of a kata's options.json. For the holder of the manifest's lock."""


ALONE = Ledger()
