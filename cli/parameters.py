"""What is typed, checked before anything is sent."""

import argparse

from dojo import avatars, kata_ids
from dojo.errors import InvalidArgument

NEWEST = -1


def kata_id(text: str) -> str:
    """Parse a whole id."""
    if not kata_ids.is_whole(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not an id: 10 letters and digits")
    return text


def avatar_name(text: str) -> str:
    """Parse an avatar's name."""
    try:
        return avatars.check(text)
    except InvalidArgument as error:
        raise argparse.ArgumentTypeError(error.reason) from None


def light_number(text: str) -> int:
    """Parse a light's number; `newest` is -1."""
    if text in {"newest", "-1"}:
        return NEWEST
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise argparse.ArgumentTypeError(f"{text!a} is not a light: 0, 1, 2 ... or newest")
    return int(text)
