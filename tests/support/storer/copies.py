"""Which lights of a kata in use are copied to the archive, from `.copied` in the kata's folder."""

import json
from contextlib import suppress
from pathlib import Path

from support.services import wait_until


def wait_until_copied(folder: Path, **newest: int) -> None:
    """Wait until the archive has the lights of exactly these avatars, up to the newest numbers.

    The number of copies does not matter: a slow machine makes more of them, with less in each.
    """

    def is_copied() -> bool:
        with suppress(FileNotFoundError):
            copied = json.loads((folder / ".copied").read_bytes())["lights"]
            return {name: number for name, (number, _) in copied.items()} == newest
        return False

    wait_until(is_copied)
