"""Whole numbers that a caller gives."""

from dojo.errors import InvalidArgument


def check(number: int, least: int, most: int, field: str) -> int:
    """Return a number that is from `least` to `most`; raise InvalidArgument for any other."""
    if not least <= number <= most:
        raise InvalidArgument(field, f"{number} is not from {least} to {most}")
    return number
