"""Times in JSON files: `[year, month, day, hour, minute, second]`, in UTC.

An optional seventh number is the microsecond.
"""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


def to_list(time: datetime) -> list[int]:
    """Return a time as a list of its parts."""
    time = time.astimezone(UTC)
    parts = [time.year, time.month, time.day, time.hour, time.minute, time.second]
    return [*parts, time.microsecond] if time.microsecond else parts


def from_list(parts: object) -> datetime:
    """Return the time that a list of parts stands for; raise ValueError if there is none."""
    if not isinstance(parts, list) or len(parts) not in {6, 7}:
        raise ValueError(f"{parts!r:.80} is not a time: [year, month, day, hour, minute, second]")
    if not all(isinstance(part, int) for part in parts):
        raise ValueError(f"{parts!r:.80} is not a time: its parts are whole numbers")
    year, month, day, *rest = parts
    try:
        return datetime(year, month, day, *rest, tzinfo=UTC)  # type: ignore[misc]  # rest: 3 or 4
    except OverflowError:
        raise ValueError("it is not a time: one of its parts is too large") from None


def seconds(time: datetime) -> int:
    """Return the whole seconds from the epoch, 1970, to a time, rounded down."""
    return (time - _EPOCH) // timedelta(seconds=1)
