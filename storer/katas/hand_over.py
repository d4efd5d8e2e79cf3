"""Give a kata up, so that another machine takes it over with its next call.

Nothing has to be copied: whoever takes it over reads the archive and etcd. What is here of it is
removed later. Locks: the lock on the kata's folder is held exclusively, so no call is using it.
"""

import time
from collections.abc import Callable

import structlog

from dojo import locks
from dojo.errors import KataDamaged, MemoryExhausted
from storer.kata.kata import Kata
from storer.katas.listing import Places

# A kata that was used more recently stays where its runs are, whoever asks for it. The time of the
# last use is up to a minute older than the use.
IDLE_SECONDS = 120

_log = structlog.get_logger()


def is_idle(places: Places, kata_id: str, is_watched: Callable[[str], bool]) -> bool:
    """Say whether nobody has used a kata for a while."""
    idle_seconds = time.time() - places.data_containers.touched(kata_id)
    return idle_seconds >= IDLE_SECONDS and not is_watched(kata_id)


def image_of(places: Places, kata_id: str) -> str:
    """Return the image that a kata's tests are run in; "" if that can't be read here."""
    folder = places.data_containers.folder(kata_id)
    try:
        return Kata.detached(folder, kata_id).read_manifest().image_name
    except (KataDamaged, MemoryExhausted, OSError):
        return ""


def give_up_idle(places: Places, kata_id: str, is_watched: Callable[[str], bool]) -> bool:
    """Give a kata up if it is idle; say whether it was. Raises KataMoved or EtcdUnavailable."""
    return is_idle(places, kata_id, is_watched) and give_up(places, kata_id)


def give_up(places: Places, kata_id: str) -> bool:
    """Give a kata up unless a call is using it; say whether it was. Raises as `give_up_idle`."""
    try:
        with locks.locked_at_once(places.data_containers.folder(kata_id)) as is_held:
            if not is_held:
                return False
            places.installation.give_up(kata_id)
    except FileNotFoundError:  # it was never brought here
        places.installation.give_up(kata_id)
    _log.info("kata given up", kata=kata_id)
    return True
