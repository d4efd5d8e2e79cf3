"""Lights that are twice as large as a comparison compares: the answer says what was left out."""

from collections.abc import Mapping

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, visible_files
from support.bounds.pair import OK, RESOURCE_EXHAUSTED, SECONDS, Case, Pair, outcomes

Files = Mapping[str, bytes]


def _lines(pair: Pair) -> None:
    (found,) = _compared(pair, *({"a": _numbers(n, limits.MAX_COMPARED_LINES)} for n in (0, 1)))
    assert found.too_large
    assert not found.lines


def _bytes(pair: Pair) -> None:
    size = visible_files.MAX_FILE_BYTES
    names = [str(number) for number in range(limits.MAX_COMPARED_BYTES // size)]
    found = _compared(pair, *(dict.fromkeys(names, letter * size) for letter in (b"a", b"b")))
    assert any(each.too_large for each in found)
    assert sum(len(line.text) for each in found for line in each.lines) <= limits.MAX_COMPARED_BYTES


def _rename_pairs(pair: Pair) -> None:
    assert _renamed(pair, 2 * limits.MAX_RENAME_PAIRS) == 0


def _small_bytes(pair: Pair) -> None:
    size = limits.SMALL_COMPARED_BYTES
    (found,) = _compared(pair, {"a": b"a" * size}, {"a": b"b" * size})
    assert [len(line.text) for line in found.lines] == [size, size]


def _small_lines(pair: Pair) -> None:
    count = limits.SMALL_COMPARED_LINES
    (found,) = _compared(pair, {"a": _numbers(0, count)}, {"a": _numbers(1, count)})
    assert (found.same_count, found.added_count, found.deleted_count) == (count - 1, 1, 1)


def _small_rename_pairs(pair: Pair) -> None:
    assert _renamed(pair, 2 * limits.SMALL_RENAME_PAIRS)


def _processes(pair: Pair) -> None:
    count = limits.MAX_COMPARED_LINES // 2
    kata_id = _recorded(pair, {"a": _numbers(0, count)}, {"a": _numbers(1, count)})
    request = _request(kata_id)
    calls = [lambda: pair.katas.stub.DiffLights(request, timeout=SECONDS)]
    statuses = outcomes(2 * limits.MAX_COMPARING_PROCESSES * calls)
    assert statuses[OK] >= limits.MAX_COMPARING_PROCESSES
    assert set(statuses) <= {OK, RESOURCE_EXHAUSTED}


CASES: dict[str, Case] = {
    "MAX_COMPARED_LINES": _lines,
    "MAX_COMPARED_BYTES": _bytes,
    "MAX_RENAME_PAIRS": _rename_pairs,
    "SMALL_COMPARED_BYTES": _small_bytes,
    "SMALL_COMPARED_LINES": _small_lines,
    "SMALL_RENAME_PAIRS": _small_rename_pairs,
    "MAX_COMPARING_PROCESSES": _processes,
}


def _numbers(first: int, count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, first + count))


def _renamed(pair: Pair, pairs: int) -> int:
    """Replace files by similar ones of other names; return how many are told as renamed."""
    count = 1
    while count**2 < pairs:
        count += 1
    same = b"same\n" * 20
    lights = [
        {f"{when}{number}": b"%s%d\n%s" % (same, number, when.encode()) for number in range(count)}
        for when in ("old", "new")
    ]
    found = _compared(pair, *lights)
    return sum(each.old_name != "" and each.new_name != "" for each in found)


def _compared(pair: Pair, old: Files, new: Files) -> list[storer_pb2.FileDiff]:
    request = _request(_recorded(pair, old, new))
    return list(pair.katas.stub.DiffLights(request, timeout=SECONDS).files)


def _recorded(pair: Pair, old: Files, new: Files) -> str:
    kata_id = pair.katas.started("whale")
    for files in (old, new):
        pair.katas.record(kata_id, "whale", files)
    return kata_id


def _request(kata_id: str) -> storer_pb2.DiffLightsRequest:
    return storer_pb2.DiffLightsRequest(kata_id=kata_id, avatar="whale", was_number=1, now_number=2)
