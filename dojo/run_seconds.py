"""How long a run may take: what the manifest of a kata says, and what a runner is asked for."""

from dojo.errors import InvalidArgument

MIN_SECONDS = 1
MAX_SECONDS = 60
DEFAULT_SECONDS = 10


def check(given: int, field: str) -> int:
    """Return how many seconds a run may take, by a message's field; raise InvalidArgument.

    0 says that the field is absent.
    """
    if given and not MIN_SECONDS <= given <= MAX_SECONDS:
        raise InvalidArgument(field, f"{given} is not from {MIN_SECONDS} to {MAX_SECONDS}")
    return given or DEFAULT_SECONDS
