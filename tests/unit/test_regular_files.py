"""Only regular files are opened, and at once."""

import os
import socket
from pathlib import Path

import pytest

from dojo import regular_files


def test_a_regular_file_is_read_where_a_link_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with regular_files.open_to_read(tmp_path / "link") as file:
        assert file.read() == b"content"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "folder", "socket", "file/inner", "/dev/zero"):
            with pytest.raises(OSError, match=r"\[Errno") as raised:
                regular_files.open_to_read(tmp_path / name)
            assert raised.value.errno in regular_files.NO_FILE, name
