"""Secret links: what follows from the key, and what a key may be."""

from pathlib import Path

import pytest

from dojo.service.settings import BadSettings
from web.access.secret_links import SecretLinks, read_key

KEY = b"k" * 32


def test_a_secret_is_of_one_kata_one_avatar_and_one_key() -> None:
    links = SecretLinks(KEY)
    secret = links.secret("493A06504A", "whale")
    assert SecretLinks(KEY).is_right("493A06504A", "whale", secret)
    assert not links.is_right("493A06504A", "zebra", secret)
    assert not links.is_right("493A06504B", "whale", secret)
    assert not SecretLinks(b"o" * 32).is_right("493A06504A", "whale", secret)


@pytest.mark.parametrize("wrong", ["", "short", "A" * 27, "ä" * 27, "A" * 10_000, "\0" * 27])
def test_what_is_no_secret_is_wrong(wrong: str) -> None:
    assert not SecretLinks(KEY).is_right("493A06504A", "whale", wrong)


def test_a_form_token_is_no_secret_of_a_link() -> None:
    links = SecretLinks(KEY)
    assert links.form_token("493A06504A/whale") != links.secret("493A06504A", "whale")


def test_a_key_is_for_its_owner_alone_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(BadSettings, match="can't be read"):
        read_key(path)
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.raises(BadSettings, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == KEY
    path.write_bytes(b"short")
    with pytest.raises(BadSettings, match="less than 32 bytes"):
        read_key(path)
    assert len(read_key(None)) == 32
