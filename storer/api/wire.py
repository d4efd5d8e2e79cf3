"""Messages as they are sent, composed without making the message: where that takes too long.

The format: https://protobuf.dev/programming-guides/encoding/.
"""

_BYTES = 2  # what kind of a field it is: so many bytes follow


def varint(number: int) -> bytes:
    """Return a number that is not negative: groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def number_field(field: int, number: int) -> bytes:
    """Return the field of this number with a number in it."""
    return varint(field << 3) + varint(number)


def bytes_key(field: int, size: int) -> bytes:
    """Return what comes before the content of a field of so many bytes."""
    return varint(field << 3 | _BYTES) + varint(size)


def bytes_field(field: int, content: bytes) -> bytes:
    """Return a field of bytes, or of a message as it is sent."""
    return b"".join((bytes_key(field, len(content)), content))
