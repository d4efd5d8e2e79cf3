"""What the archive has of a kata that goes on: told by the note in the kata's folder."""

import json
from contextlib import suppress
from pathlib import Path

from support.services import wait_until


def wait_until_copied(folder: Path, **newest: int) -> None:
    """Wait until the archive has an avatar's lights up to its newest, of just these avatars.

    In however many copies: a slow machine makes more of them, with less in each.
    """

    def is_copied() -> bool:
        with suppress(FileNotFoundError):
            noted = json.loads((folder / ".copied").read_bytes())["lights"]
            return {name: number for name, (number, _) in noted.items()} == newest
        return False

    wait_until(is_copied)
