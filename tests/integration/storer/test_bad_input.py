"""Malformed requests are refused by the name of the field, and change nothing."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from dojo.engine.data_containers import DataContainers
from support.services import Service, code_of
from support.storer.calls import ALL_OF_A_KATA, OF_AN_AVATAR, call
from support.storer.katas_directories import SPIDER
from support.storer.storing import FILES, RED, Katas, Stub, a_manifest, a_test, refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT

BAD_IDS = [
    "",
    "5A0F82430",
    "7C4E19D2B60",
    "5A0F 24303",
    "5A/F824303",
    "../../../..",
    "5A0F82430\n",
    "5A0F82430\0",
    "\N{FULLWIDTH DIGIT FIVE}A0F824303",
    "A" * 200,
]

BAD_AVATARS = [
    "unicorn",
    "Whale",
    "whale ",
    "whale/.",
    "../whale",
    "whale/../bat",
    ".",
    "..",
    ".git",
    "wha\0le",
    "\0",
    "w" * 200,
]

BAD_FILENAMES = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../escaped",
    "a/../../escaped",
    "a/..",
    ".",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    ".git",
    ".git/config",
    ".GIT/config",
    ".git /config",
    ".git./config",
    ".git . /config",
    "git~1/config",
    ".git::$INDEX_ALLOCATION/config",
    "a/.Git/hooks/post-checkout",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "\x7f",
    "a" * 256,
    "\N{LATIN SMALL LETTER E WITH ACUTE}" * 128,
    "a/" * 150 + "a",
]

BAD_TIMES = [
    Timestamp(seconds=-62135596801),  # before the year 1
    Timestamp(seconds=253402300800),  # after the year 9999
    Timestamp(seconds=2**63 - 1),
    Timestamp(nanos=-1),
    Timestamp(nanos=10**9),
]

BAD_DURATIONS = [
    Duration(seconds=-1),
    Duration(nanos=-1),
    Duration(seconds=1, nanos=-5),
    Duration(seconds=-1, nanos=5),
    Duration(nanos=10**9),
    Duration(seconds=1_000_001),
    Duration(seconds=2**63 - 1),
]

BAD_TOKENS = [
    "garbage",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "\0",
    "A" * 1000,
    *(
        base64.urlsafe_b64encode(text.encode()).decode()
        for text in ("[1", "null", "{}", '["../../etc"]', '["whale"]', '["whale", "1"]', '["", 0]')
    ),
    base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
]


def state(katas: Katas, data_containers: DataContainers, kata_id: str) -> tuple[object, ...]:
    """Return everything that a refused call could have changed."""
    return (
        sorted(data_containers.kata_ids()),
        list(katas.get(kata_id).avatars),
        katas.lights(kata_id, "whale"),
        dict(katas.files(kata_id, "whale").files),
    )


@pytest.fixture
def kata_id(katas: Katas, data_containers: DataContainers) -> Iterator[str]:
    """A kata with a whale; the test fails if it is not unchanged and the only one afterwards."""
    made = katas.started("whale")
    katas.record(made, "whale")
    before = state(katas, data_containers, made)
    yield made
    assert state(katas, data_containers, made) == before


@pytest.fixture
def raw(
    storer_service: Service, connect: Callable[[str], grpc.Channel]
) -> Callable[[str, bytes], bytes]:
    """Calls an RPC with bytes that no generated client would send."""
    channel: Any = connect(storer_service.address)

    def send(rpc: str, request: bytes) -> bytes:
        answer: bytes = channel.unary_unary(f"/cyberdojo.storer.v1.StorerService/{rpc}")(
            request, timeout=60
        )
        return answer

    return send


def record(storer: Stub, kata_id: str, files: dict[str, bytes], **fields: Any) -> None:
    storer.RecordTest(a_test(kata_id, "whale", files, **fields))


def create(storer: Stub, files: dict[str, bytes], **fields: Any) -> None:
    storer.CreateKata(storer_pb2.CreateKataRequest(manifest=a_manifest(files, **fields)))


@pytest.mark.parametrize("rpc", ALL_OF_A_KATA)
@pytest.mark.usefixtures("kata_id")
def test_a_malformed_id_is_refused(storer: Stub, rpc: str) -> None:
    for bad in BAD_IDS:
        with refused(INVALID, field="kata_id"):
            call(storer, rpc, ALL_OF_A_KATA[rpc](bad))


@pytest.mark.parametrize("rpc", ALL_OF_A_KATA)
@pytest.mark.usefixtures("kata_id")
def test_an_unknown_id_is_not_found_in_any_case(storer: Stub, rpc: str) -> None:
    for unknown in ("0000000000", "zzzzzzzzzz", SPIDER.id.lower()):
        with refused(grpc.StatusCode.NOT_FOUND, says=unknown):
            call(storer, rpc, ALL_OF_A_KATA[rpc](unknown))


@pytest.mark.parametrize("rpc", OF_AN_AVATAR)
def test_a_name_that_is_not_one_of_the_64_animals_is_refused(
    storer: Stub, kata_id: str, rpc: str
) -> None:
    for bad in ["", *BAD_AVATARS]:
        with refused(INVALID, field="avatar"):
            call(storer, rpc, OF_AN_AVATAR[rpc](kata_id, bad))


@pytest.mark.parametrize("rpc", OF_AN_AVATAR)
def test_an_avatar_that_was_not_started_is_not_found(storer: Stub, kata_id: str, rpc: str) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, says="bat was not started"):
        call(storer, rpc, OF_AN_AVATAR[rpc](kata_id, "bat"))


def test_listing_lights_refuses_names_other_than_the_64_animals(storer: Stub, kata_id: str) -> None:
    for bad in BAD_AVATARS:
        with refused(INVALID, field="avatar"):
            storer.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=bad))


def test_starting_refuses_names_other_than_the_64_animals(storer: Stub, kata_id: str) -> None:
    for bad in ["", *BAD_AVATARS]:
        request = storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["bat", bad])
        with refused(INVALID, field="avatars[1]"):
            storer.StartAvatar(request)


def test_an_order_of_more_than_64_names_is_refused(storer: Stub, kata_id: str) -> None:
    order = [*avatars.NAMES, "bat"]
    with refused(INVALID, field="avatars", says="65"):
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=order))


@pytest.mark.parametrize("bad", BAD_FILENAMES, ids=lambda name: ascii(name[:20]))
def test_a_filename_that_could_lead_elsewhere_is_refused(
    storer: Stub, kata_id: str, bad: str
) -> None:
    shown = ascii(bad) if len(bad) <= 80 else ascii(bad[:80]) + "..."
    files = {**FILES, bad: b"x"}
    with refused(INVALID, field=f"files[{shown}]"):
        record(storer, kata_id, files)
    with refused(INVALID, field=f"manifest.files[{shown}]"):
        create(storer, files)


def test_a_file_cannot_be_the_folder_of_another(storer: Stub, kata_id: str) -> None:
    for files in ({"a": b"", "a/b": b""}, {"a/b/c/d": b"", "a/b": b"", "a.b": b""}):
        folder = min(files, key=len) if "a" in files else "a/b"
        with refused(INVALID, field=f"files[{folder!r}]", says="folder"):
            record(storer, kata_id, files)


def test_a_file_can_replace_a_folder(katas: Katas) -> None:
    kata_id = katas.started("whale", files={"a/b/c.txt": b"1"})
    katas.record(kata_id, "whale", {"a/b": b"2"})
    katas.record(kata_id, "whale", {"a/b/c.txt": b"3"})
    assert [dict(katas.files(kata_id, "whale", number).files) for number in range(3)] == [
        {"a/b/c.txt": b"1"},
        {"a/b": b"2"},
        {"a/b/c.txt": b"3"},
    ]


@pytest.mark.parametrize(
    "name",
    ["-rf", "--help", "$(id)", "a b", "\\", "C:", "...", ".gitignore", ".github/x", "git", "*"],
)
def test_a_strange_but_harmless_filename_is_kept(katas: Katas, name: str) -> None:
    kata_id = katas.started("whale", files={name: b"0"})
    katas.record(kata_id, "whale", {name: b"1"})
    assert dict(katas.files(kata_id, "whale").files) == {name: b"1"}


def test_a_filename_that_is_not_utf_8_is_refused(
    raw: Callable[[str, bytes], bytes], kata_id: str
) -> None:
    for request, rpc in (
        (a_test(kata_id, "whale", {"@@@@": b"x"}), "RecordTest"),
        (storer_pb2.CreateKataRequest(manifest=a_manifest({"@@@@": b"x"})), "CreateKata"),
    ):
        for bad in (b"\xff\xfe\x80\x81", b"\xed\xa0\x80a", b"\xc0\xafab", b"\xf8\x88\x80\x80"):
            with refused(INVALID, field="request", says="UTF-8"):
                raw(rpc, request.SerializeToString().replace(b"@@@@", bad))


@pytest.mark.parametrize(
    "rpc", [*ALL_OF_A_KATA, "CreateKata", "CompleteKataId", "ListKatas", "RestoreKata"]
)
@pytest.mark.usefixtures("kata_id")
def test_bytes_that_are_not_a_request_are_refused(
    raw: Callable[[str, bytes], bytes], rpc: str
) -> None:
    for bad in (b"\xff" * 20, b"\x0a\x7f", b"\x0a\x02\xff\xff"):
        with refused(INVALID):
            raw(rpc, bad)


def test_every_rpc_was_sent_something_malformed() -> None:
    service = storer_pb2.DESCRIPTOR.services_by_name["StorerService"]
    # A request of ListBackups has nothing in it.
    others = {"CreateKata", "CompleteKataId", "ListKatas", "RestoreKata", "ListBackups"}
    # These have malformed requests in their own tests.
    of_many = {"BackupKatas", "RestoreKatas", "VerifyKatas", "WatchKatas"}
    assert {method.name for method in service.methods} == others | of_many | set(ALL_OF_A_KATA)


def test_nothing_is_recorded_or_created_without_files(storer: Stub, kata_id: str) -> None:
    with refused(INVALID, field="files"):
        record(storer, kata_id, {})
    with refused(INVALID, field="manifest.files"):
        create(storer, {})


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({f"{number}.txt": b"" for number in range(10_000)}, ""),
        ({"a": bytes(20_000_000)}, "['a']"),
        ({name: bytes(13_000_000) for name in "abcd"}, ""),
    ],
    ids=["10,000 files", "a file of 20 MB", "52 MB of files"],
)
def test_files_beyond_the_limits_are_refused(
    storer: Stub, kata_id: str, files: dict[str, bytes], field: str
) -> None:
    with refused(INVALID, field=f"files{field}", says="more than"):
        record(storer, kata_id, files)
    with refused(INVALID, field=f"manifest.files{field}", says="more than"):
        create(storer, files)


def test_a_message_of_70_mb_is_refused(storer: Stub, kata_id: str) -> None:
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says="larger than max"):
        record(storer, kata_id, {"a": bytes(70_000_000)})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": 0}, "colour"),
        ({"colour": 99}, "colour"),
        ({"colour": -1}, "colour"),
        ({"status": -1}, "status"),
        ({"status": 256}, "status"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"reason": "x" * 1001}, "reason"),
        ({"stdout": bytes(1024**2 + 1)}, "stdout.content"),
        ({"stderr": bytes(1024**2 + 1)}, "stderr.content"),
        ({"expected_number": 0}, "expected_number"),
        ({"expected_number": -1}, "expected_number"),
        ({"expected_number": 10**9}, "expected_number"),
        *(({"time": time}, "time") for time in BAD_TIMES),
        *(({"duration": duration}, "duration") for duration in BAD_DURATIONS),
    ],
    ids=lambda each: str(each)[:60],
)
def test_an_impossible_test_is_not_recorded(
    storer: Stub, kata_id: str, fields: dict[str, Any], field: str
) -> None:
    with refused(INVALID, field=field):
        record(storer, kata_id, FILES, **fields)


def test_the_earliest_and_latest_times_are_kept(katas: Katas) -> None:
    for time in (Timestamp(seconds=-62135596800), Timestamp(seconds=253402300799)):
        request = storer_pb2.CreateKataRequest(manifest=a_manifest(), created=time)
        kata_id = katas.stub.CreateKata(request).kata_id
        katas.stub.StartAvatar(
            storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"], time=time)
        )
        katas.record(kata_id, "whale", time=time)
        assert katas.get(kata_id).created == time
        assert [light.time for light in katas.lights(kata_id, "whale")] == [time, time]


def rule(**pattern: Any) -> colour_pb2.ColourRule:
    """Return a rule of one pattern, which is valid except for the given fields."""
    given = {"colour": RED, "pattern": "failed", **pattern}
    return rule_of([colour_pb2.ColourPattern(**given)])


def rule_of(patterns: Iterable[colour_pb2.ColourPattern]) -> colour_pb2.ColourRule:
    return colour_pb2.ColourRule(patterns=colour_pb2.ColourPatterns(patterns=patterns))


def other(value: float) -> Struct:
    made = Struct()
    made.fields["key"].number_value = value
    return made


PATTERNS = "manifest.colour_rule.patterns.patterns"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        *(({"max_seconds": bad}, "manifest.max_seconds") for bad in (-1, 61, 10**9)),
        *(({"tab_size": bad}, "manifest.tab_size") for bad in (-1, 17, 10**9)),
        ({"colour_rule": rule(colour=99)}, f"{PATTERNS}[0].colour"),
        ({"colour_rule": rule(colour=0)}, f"{PATTERNS}[0].colour"),
        ({"colour_rule": rule(stream=99)}, f"{PATTERNS}[0].stream"),
        ({"colour_rule": rule(pattern="")}, f"{PATTERNS}[0].pattern"),
        ({"colour_rule": rule(pattern="x" * 1001)}, f"{PATTERNS}[0].pattern"),
        ({"colour_rule": rule_of([colour_pb2.ColourPattern()] * 33)}, PATTERNS),
        *(({"other": other(float(bad))}, "manifest.other") for bad in ("nan", "inf", "-inf")),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.usefixtures("kata_id")
def test_a_manifest_with_an_impossible_value_creates_no_kata(
    storer: Stub, fields: dict[str, Any], field: str
) -> None:
    with refused(INVALID, field=field):
        create(storer, FILES, **fields)


@pytest.mark.parametrize("bad", BAD_TIMES, ids=str)
def test_an_impossible_time_is_refused(storer: Stub, kata_id: str, bad: Timestamp) -> None:
    with refused(INVALID, field="created"):
        storer.CreateKata(storer_pb2.CreateKataRequest(manifest=a_manifest(), created=bad))
    with refused(INVALID, field="created"):
        storer.ForkKata(
            storer_pb2.ForkKataRequest(kata_id=kata_id, avatar="whale", light_number=0, created=bad)
        )
    with refused(INVALID, field="time"):
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, time=bad))


@pytest.mark.usefixtures("kata_id")
def test_values_that_are_nested_too_deep_are_refused(storer: Stub) -> None:
    request = storer_pb2.CreateKataRequest(manifest=a_manifest())
    inner = request.manifest.other
    for _ in range(1000):
        inner = inner.fields["x"].struct_value
    inner.fields["x"].bool_value = True
    with refused(INVALID, field="request", says="too deep"):
        storer.CreateKata(request)


@pytest.mark.parametrize(
    ("rpc", "field"),
    [
        ("ForkKata", "light_number"),
        ("GetFiles", "light_number"),
        ("DiffLights", "was_number"),
        ("DiffLights", "now_number"),
        ("DownloadPatch", "was_number"),
        ("DownloadPatch", "now_number"),
    ],
)
def test_an_impossible_light_number_is_refused(
    storer: Stub, kata_id: str, rpc: str, field: str
) -> None:
    request = OF_AN_AVATAR[rpc](kata_id, "whale")
    request.ClearField(field)
    with refused(INVALID, field=field, says="is required"):
        call(storer, rpc, request)
    for bad in (-2, 10**9, -(2**31)):
        setattr(request, field, bad)
        with refused(INVALID, field=field):
            call(storer, rpc, request)
    setattr(request, field, 2)
    with refused(grpc.StatusCode.NOT_FOUND, says="whale has no light 2"):
        call(storer, rpc, request)


def test_an_impossible_page_size_is_refused(storer: Stub, kata_id: str) -> None:
    for bad in (-1, 10_001, 2**31 - 1):
        with refused(INVALID, field="page_size"):
            storer.ListKatas(storer_pb2.ListKatasRequest(page_size=bad))
        with refused(INVALID, field="page_size"):
            storer.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id, page_size=bad))


def test_a_forged_page_token_is_refused(storer: Stub, kata_id: str) -> None:
    for bad in BAD_TOKENS:
        with refused(INVALID, field="page_token"):
            storer.ListKatas(storer_pb2.ListKatasRequest(page_token=bad))
        with refused(INVALID, field="page_token"):
            storer.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id, page_token=bad))


def test_a_page_token_of_another_rpc_is_refused(storer: Stub, kata_id: str) -> None:
    of_katas = storer.ListKatas(storer_pb2.ListKatasRequest(page_size=1)).next_page_token
    lights = storer_pb2.ListLightsRequest(kata_id=kata_id, page_size=1)
    of_lights = storer.ListLights(lights).next_page_token
    assert of_katas
    assert of_lights
    with refused(INVALID, field="page_token"):
        storer.ListKatas(storer_pb2.ListKatasRequest(page_token=of_lights))
    with refused(INVALID, field="page_token"):
        storer.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id, page_token=of_katas))


@pytest.mark.usefixtures("kata_id")
def test_a_malformed_prefix_is_refused(storer: Stub) -> None:
    for bad in ("../", "A" * 11, "5A*", "\0", "A" * 200):
        with refused(INVALID, field="prefix"):
            storer.ListKatas(storer_pb2.ListKatasRequest(prefix=bad))
        with refused(INVALID, field="partial_id"):
            storer.CompleteKataId(storer_pb2.CompleteKataIdRequest(partial_id=bad))


def test_an_unknown_compression_is_refused(storer: Stub, kata_id: str) -> None:
    bad: Any  # not values of the enum's type
    for bad in (4, 99, -1):
        with refused(INVALID, field="compression"):
            list(
                storer.DownloadKata(
                    storer_pb2.DownloadKataRequest(kata_id=kata_id, compression=bad)
                )
            )


def test_an_error_that_quotes_a_whole_file_still_fits_the_response(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.create()
    manifest = data_containers.folder(kata_id) / "manifest.json"
    value = json.loads(manifest.read_bytes())
    value["display_name"] = ["\ud800\N{SNOWMAN}" * 50_000]
    manifest.write_text(json.dumps(value))
    with refused(grpc.StatusCode.DATA_LOSS, says="display_name"):
        katas.get(kata_id)
    assert code_of(lambda: katas.get(katas.create())) is grpc.StatusCode.OK
