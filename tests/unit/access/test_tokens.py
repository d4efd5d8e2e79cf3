"""The file of callers: what it may say, and that no message shows a token."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.access import tokens
from dojo.access.roles import Role
from dojo.access.tokens import BadCallers, Entry
from dojo.access.watched_files import MAX_FILE_BYTES

TOKEN = "dojo_" + "Ab1-_" * 8 + "xyz"  # the same in each process that collects these tests
DIGEST = tokens.digest_of(TOKEN)


def test_a_line_has_a_name_a_role_a_hash_and_perhaps_an_expiry() -> None:
    callers = tokens.parse(
        "# who may call\n\n"
        f"web-1 web sha256:{DIGEST}\n"
        f"  board   reader\tcertificate   2027-01-31T13:00:00+01:00\r\n"
    )
    assert callers.entries == (
        Entry("web-1", Role.WEB, DIGEST, None),
        Entry("board", Role.READER, "", datetime(2027, 1, 31, 12, tzinfo=UTC)),
    )
    assert callers.with_token(TOKEN) == callers.entries[0]
    assert callers.with_certificate("board") == callers.entries[1]
    assert callers.with_certificate("web-1") is None
    assert callers.with_token(TOKEN[:-1]) is callers.with_token("") is None


@given(
    name=st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._@-]{0,63}", fullmatch=True),
    role=st.sampled_from(Role),
    digest=st.sampled_from(["", DIGEST]),
    expires=st.none() | st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001 - below
)
def test_a_line_that_is_written_is_read_as_it_was(
    name: str, role: Role, digest: str, expires: datetime | None
) -> None:
    if expires is not None:
        expires = expires.replace(microsecond=0, tzinfo=UTC)
    entry = Entry(name, role, digest, expires)
    assert tokens.parse(entry.line()).entries == (entry,)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("web", "it is not NAME ROLE HASH [EXPIRY]"),
        (f"web web sha256:{DIGEST} 2027-01-31 more", "it is not NAME ROLE HASH [EXPIRY]"),
        (f"web root sha256:{DIGEST}", "the role is none of web, reader, operator"),
        (f"web web {TOKEN}", "the hash is neither sha256: with 64 hex digits nor certificate"),
        (f"web web sha256:{TOKEN}", "the hash is neither"),
        (f"web web sha256:{DIGEST.upper()}", "the hash is neither"),
        (f"-web web sha256:{DIGEST}", "'-web' is no name"),
        (f"{'w' * 65} web sha256:{DIGEST}", "is no name"),
        (f"web web sha256:{DIGEST} tomorrow", "'tomorrow' is no date"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_never_quoted(line: str, reason: str) -> None:
    with pytest.raises(BadCallers) as caught:
        tokens.parse(f"# one\n{line}\n")
    assert str(caught.value).startswith("line 2: ")
    assert reason in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_lines_go_by_their_name_or_by_their_id_and_comments_stay() -> None:
    other = tokens.digest_of("other")
    text = f"# ours\nweb web sha256:{DIGEST}\nweb web sha256:{other}\nop operator certificate\n"
    kept, count = tokens.without(text, DIGEST[:12])
    assert (kept, count) == (f"# ours\nweb web sha256:{other}\nop operator certificate\n", 1)
    assert tokens.without(text, "web") == ("# ours\nop operator certificate\n", 2)
    assert tokens.without(text, "certificate") == (text, 0)  # which is no id of one line


def test_tokens_are_long_and_differ() -> None:
    made = {tokens.new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token.startswith("dojo_") for token in made)
    assert {len(token) for token in made} == {len("dojo_") + 43}  # 256 bits in base64


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "callers"
    file.write_bytes(b"#" * MAX_FILE_BYTES)
    assert tokens.read(file).entries == ()
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(OSError, match="File too large"):
        tokens.read(file)
