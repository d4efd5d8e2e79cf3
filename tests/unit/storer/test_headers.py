"""Headers of tars are encoded as Python's tarfile encodes them."""

import random
import tarfile

import pytest

from storer.tar import headers

NAMES = ["a", "49/3A06504A/whale/sandbox/hiker.c", "x" * 100, "x" * 99, "x" * 101, "ü/名", "a b"]
NUMBERS = [0, 1, 0o777, 40_001, 8**7 - 1, 8**7, 8**11 - 1, 8**11, 2**40]


def by_tarfile(header: tarfile.TarInfo) -> bytes:
    return header.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")


@pytest.mark.parametrize("name", [*NAMES, "\udcff.c", "d/", "d/\udc80/" + "y" * 120])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_a_name_is_encoded_as_by_tarfile(name: str, kind: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.type = kind
    assert headers.encode(header) == by_tarfile(header)


def test_any_header_is_encoded_as_by_tarfile() -> None:
    choose = random.Random(7)  # noqa: S311 - the same headers each time
    for _ in range(3_000):
        header = tarfile.TarInfo(choose.choice(NAMES))
        header.type = choose.choice([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
        header.mode = choose.choice([0, 0o644, 0o755, 0o7777, 0o100644])
        header.uid, header.gid, header.size = (choose.choice(NUMBERS) for _ in range(3))
        header.mtime = choose.choice([*NUMBERS, -1])
        header.linkname = choose.choice(["", *NAMES])
        if choose.random() < 0.5:
            seconds = choose.choice(["0.1", "1700000000.123456789", "1" * 85, "1" * 86, "1" * 990])
            header.pax_headers = {"mtime": seconds}
        assert headers.encode(header) == by_tarfile(header), header.get_info()


def test_other_types_and_owners_names_are_encoded_as_by_tarfile() -> None:
    for kind in (tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        header = tarfile.TarInfo("a")
        header.type = kind
        assert headers.encode(header) == by_tarfile(header)
    header = tarfile.TarInfo("a")
    header.uname = "whale"
    assert headers.encode(header) == by_tarfile(header)
    header.pax_headers = {"comment": "none"}
    assert headers.encode(header) == by_tarfile(header)
