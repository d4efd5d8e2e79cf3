"""Encodes the headers of a tar's members as tarfile does, in a third of the time.

A kata is a hundred small files: with tarfile, encoding the headers takes longer than reading the
files.

The format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, "ustar
Interchange Format" and "pax Extended Header".
"""

import struct
import tarfile

# Name, mode, uid, gid, size, mtime, checksum, type, link target, magic and version, user name,
# group name, device, name prefix.
_BLOCK = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s16s155s12x")
_CHECKSUM = slice(148, 155)
_MAGIC = b"ustar\x0000"
_MAX_NAME_BYTES = 100
_ID_LIMIT = 8**7
_NUMBER_LIMIT = 8**11
_EXTENDED_NAME = b"././@PaxHeader"


_TYPES = {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE}


def encode(header: tarfile.TarInfo) -> bytes:
    """Return a header's bytes in a tar: one block, and extended headers for what does not fit."""
    needs_slash = header.isdir() and not header.name.endswith("/")
    name = f"{header.name}/" if needs_slash else header.name
    others = dict(header.pax_headers)
    mtime = others.pop("mtime", None)
    is_plain = (
        header.type in _TYPES
        and name.isascii()
        and len(name) <= _MAX_NAME_BYTES
        and header.linkname.isascii()
        and len(header.linkname) <= _MAX_NAME_BYTES
        and not (header.uname or header.gname or others)
        and 0 <= header.uid < _ID_LIMIT
        and 0 <= header.gid < _ID_LIMIT
        and 0 <= header.size < _NUMBER_LIMIT
        and isinstance(header.mtime, int)
        and 0 <= header.mtime < _NUMBER_LIMIT
    )
    if not is_plain:
        return header.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
    extended = b"" if mtime is None else _extended(b"mtime", mtime.encode())
    return extended + _block(header, name.encode())


def _extended(key: bytes, value: bytes) -> bytes:
    """Return an extended header with one record: its length, key and value."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(rest) + len(str(length)) != length:
        length += 1
    header = tarfile.TarInfo()
    header.type, header.mode, header.size = tarfile.XHDTYPE, 0, length
    padding = bytes(-length % tarfile.BLOCKSIZE)
    return b"".join((_block(header, _EXTENDED_NAME), b"%d" % length, rest, padding))


def _block(header: tarfile.TarInfo, name: bytes) -> bytes:
    block = bytearray(
        _BLOCK.pack(
            name,
            b"%07o" % (header.mode & 0o7777),
            b"%07o" % header.uid,
            b"%07o" % header.gid,
            b"%011o" % header.size,
            b"%011o" % int(header.mtime),
            b" " * 8,
            header.type,
            header.linkname.encode(),
            _MAGIC,
            b"",
            b"",
            b"",
            b"",
        )
    )
    block[_CHECKSUM] = b"%06o\0" % sum(block)
    return bytes(block)
