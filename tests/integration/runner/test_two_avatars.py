"""Two avatars of one kata who want to reach each other: no path, socket or descriptor does."""

import stat

import pytest

from dojo import avatars
from support.kata_folders import Kata
from support.runner.hostility import NEIGHBOUR
from support.runner.submissions import AVATAR, Stub, request
from support.services import wait_until

# The whale opens its sandbox to everybody, and hands its standard output to whoever connects.
HANDS_ON = b"""
import array, os, socket, time
os.chmod(".", 0o777)
open("open.txt", "w").close()
os.chmod("open.txt", 0o666)
listening = []
for name in ("socket", chr(0) + "abstract"):
    listening.append(socket.socket(socket.AF_UNIX))
    listening[-1].bind(name)
    listening[-1].listen()
    listening[-1].settimeout(0.05)
os.chmod("socket", 0o777)
open("ready", "w").close()
while not os.path.exists("go"):
    for each in listening:
        try:
            connection, _ = each.accept()
        except TimeoutError:
            continue
        connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))])
        print("handed on", flush=True)
"""
TAKES = b"""
import os, socket
for name in ("../../whale/sandbox/socket", chr(0) + "abstract"):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
        print("reached", ascii(name))
    except OSError as error:
        print(type(error).__name__)
for call in (os.listdir, os.chdir, os.stat):
    for path in ("../../whale/sandbox", "../../whale"):
        try:
            call(path)
            print("reached", call.__name__, path)
        except PermissionError:
            pass
try:
    open("../../whale/sandbox/open.txt")
    print("read")
except PermissionError:
    pass
"""


@pytest.mark.parametrize("is_old", [True, False])
def test_two_avatars_of_a_kata_can_not_reach_each_other(
    runner: Stub, attacked_kata: Kata, *, is_old: bool
) -> None:
    for avatar in (AVATAR, NEIGHBOUR):
        folder = attacked_kata.avatar_folder(avatar)
        if is_old:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        else:
            avatars.close_to_others(folder, avatar)
    whale = request(attacked_kata, "python3 whale.py", {"whale.py": HANDS_ON})
    first = runner.Run.future(whale, timeout=120)
    wait_until((attacked_kata.sandbox(AVATAR) / "ready").exists)
    zebra = request(attacked_kata, "python3 zebra.py", {"zebra.py": TAKES}, avatar=NEIGHBOUR)
    found = runner.Run(zebra, timeout=120)
    (attacked_kata.sandbox(AVATAR) / "go").touch()
    # The folder of the whale can be seen and no more, as a name in that of the kata.
    assert found.stdout.content.decode().splitlines() == [
        "PermissionError",
        "ConnectionRefusedError",
        "reached stat ../../whale",
    ], found
    assert first.result().stdout.content == b""
