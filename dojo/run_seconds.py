"""How long a run may take: what the manifest of a kata says, and what a runner is asked for."""

from dojo import whole_numbers

MIN_SECONDS = 1
MAX_SECONDS = 60
DEFAULT_SECONDS = 10


def check(given: int, field: str) -> int:
    """Return how many seconds a run may take, by a message's field; raise InvalidArgument.

    0 says that the field is absent.
    """
    return whole_numbers.check(given or DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS, field)
