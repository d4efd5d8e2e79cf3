"""Programs that try to reach other files, or leave traps for readers of their own."""

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import avatars, naming
from dojo.engine.data_containers import DataContainers
from support.kata_folders import Kata
from support.runner.hostility import NEIGHBOUR, SECRET, keep_secret
from support.runner.submissions import AVATAR, GREEN, PYTHON, Run
from support.services import wait_until

pytestmark = pytest.mark.usefixtures("nothing_stays")

Storer = storer_pb2_grpc.StorerServiceStub
UID = avatars.uid(AVATAR)
FILES = {"a.txt": b"a\n"}
CHANGED = {**FILES, "a.txt": b"b\n", ".gitattributes": b"* filter=planted diff=planted\n"}


@pytest.fixture
def attacked_kata(plain_storer: Storer, data_containers: DataContainers) -> Iterator[Kata]:
    """A kata that the storer made, with a whale, and a zebra that has a secret."""
    manifest = storer_pb2.Manifest(
        display_name="Python", image_name=PYTHON, files={"cyber-dojo.sh": b"true\n"}
    )
    asked = storer_pb2.CreateKataRequest(manifest=manifest)
    kata_id = plain_storer.CreateKata(asked).kata_id
    for avatar in (AVATAR, NEIGHBOUR):
        start = storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=[avatar])
        plain_storer.StartAvatar(start)
    kata = Kata(kata_id, data_containers.folder(kata_id))
    keep_secret(kata)
    yield kata
    plain_storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


def record(storer: Storer, kata: Kata, files: dict[str, bytes]) -> int:
    """Record a light of the whale's; return its number."""
    asked = storer_pb2.RecordTestRequest(kata_id=kata.id, avatar=AVATAR, files=files, colour=GREEN)
    number: int = storer.RecordTest(asked, timeout=30).light.number
    return number


def download(storer: Storer, kata: Kata) -> dict[str, tarfile.TarInfo]:
    """Download the kata; return the members of the whale's folder."""
    asked = storer_pb2.DownloadKataRequest(kata_id=kata.id)
    content = b"".join(part.data for part in storer.DownloadKata(asked, timeout=60))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        top = f"{kata.id[:2]}/{kata.id[2:]}/{AVATAR}/"
        return {each.name.removeprefix(top): each for each in tar if each.name.startswith(top)}


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the modes and contents below a folder, without the whale's sandbox and pipes."""
    found = {}
    # os.walk passes over the pipes of the next run, which may come and go.
    for top, folders, files in os.walk(folder):
        for path in (Path(top) / name for name in [*folders, *files]):
            if f"/{AVATAR}/sandbox/" not in str(path) and f"/{AVATAR}/." not in str(path):
                content = path.read_bytes() if path.is_file() else b""
                found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


# Commands that must fail. The sandbox is the working directory.
REACHES = [
    "ls ..",
    "ls ../..",
    "ls ../../zebra",
    "ls ../../zebra/sandbox",
    "cat ../../zebra/sandbox/secret.txt",
    "cat ../manifest.json",
    "cat ../increments.json",
    "cat ../submission.json",
    "cat ../../manifest.json",
    "cat ../.git/HEAD",
    "cat ../../zebra/.git/HEAD",
    "cat ../../zebra/manifest.json",
    "cat /proc/1/root/$PWD/../../manifest.json",
    "cat /proc/1/cwd/../manifest.json",
    "echo forged > ../manifest.json",
    "echo forged > ../increments.json",
    "echo forged > ../submission.json",
    "echo forged > ../../manifest.json",
    "echo forged > ../.git/config",
    "echo forged > ../.git/hooks/pre-commit",
    "echo forged > ../../zebra/sandbox/secret.txt",
    "echo forged > ../../zebra/sandbox/made",
    "rm -f ../manifest.json",
    "rm -f ../../zebra/sandbox/secret.txt",
    "rm -rf ../.git",
    "mkdir ../made",
    "mkdir ../../made",
    "mkfifo ../.run-made",
    "touch ../made",
    "touch ../../made",
    "ln -s /etc/passwd ../made",
    "ln ../manifest.json made",
    "ln ../../zebra/sandbox/secret.txt made",
    "mv cyber-dojo.sh ../made",
    "mv ../sandbox ../made",
    "chmod 777 ..",
    "chmod 777 ../../zebra/sandbox",
    "chown $(id -u) ../../zebra/sandbox",
    "flock --nonblock .. true",
    "flock --nonblock ../.. true",
    "flock --nonblock ../../manifest.json true",
    "flock --nonblock ../../zebra/sandbox true",
    "flock --nonblock . true",
    "mknod made b 8 0",
    "mknod made c 1 1",
]


def test_nothing_but_its_own_sandbox_is_within_reach(attack: Run, attacked_kata: Kata) -> None:
    attack("true")  # so that there is a submission to forge
    before = tree(attacked_kata.folder)
    tried = "\n".join(f"({reach}) </dev/null >>said 2>&1 && echo '{reach}'" for reach in REACHES)
    response = attack(f"{tried}\necho all; cat said")
    done, _, said = response.stdout.content.decode().partition("all\n")
    assert done == ""
    assert said.count("\n") >= len(REACHES) - 5  # flock prints nothing if it would have to wait
    assert SECRET.decode() not in said
    assert tree(attacked_kata.folder) == before


def test_the_storer_neither_runs_nor_reads_git_files_that_a_run_planted(
    attack: Run, plain_storer: Storer, attacked_kata: Kata
) -> None:
    path = naming.sandbox_path(attacked_kata.id, AVATAR)
    # A program that the storer ran would create this file, by the path outside or inside.
    here = attacked_kata.sandbox(AVATAR) / "was-run"
    plant = f"""mkdir -p .git/hooks .git/objects .git/refs
echo 'ref: refs/heads/master' > .git/HEAD
cat > tool <<'END'
#!/bin/sh
touch {here} {path}/was-run
cat
END
chmod 755 tool
for hook in pre-commit post-commit post-checkout reference-transaction update post-index-change
do cp tool .git/hooks/$hook; done
cat > .git/config <<'END'
[core]
    fsmonitor = {here.parent}/tool
    hooksPath = {here.parent}/.git/hooks
    sshCommand = {here.parent}/tool
    pager = {here.parent}/tool
[include]
    path = {here.parent}/.git/more
[filter "planted"]
    clean = {here.parent}/tool
    smudge = {here.parent}/tool
    required = true
[diff "planted"]
    command = {here.parent}/tool
    textconv = {here.parent}/tool
END
cp .git/config .git/more; cp .git/config .gitconfig
echo "gitdir: $PWD/.git" > .git/commondir
export GIT_DIR=.git GIT_CONFIG=.git/config GIT_EXTERNAL_DIFF=./tool
mkdir -p sub; echo "gitdir: ../../.git" > sub/.git
echo '[submodule "sub"]' > .gitmodules; ln -s .git also
echo tests: passed"""
    response = attack(plant, FILES)
    assert response.colour == GREEN, response
    numbers = [record(plain_storer, attacked_kata, files) for files in (FILES, CHANGED)]
    asked = storer_pb2.DiffLightsRequest(
        kata_id=attacked_kata.id, avatar=AVATAR, was_number=numbers[0], now_number=numbers[1]
    )
    found = {each.new_name: each for each in plain_storer.DiffLights(asked).files}
    lines = found["a.txt"].lines
    assert [line.text for line in lines if line.change != storer_pb2.LINE_CHANGE_SAME] == [
        b"a", b"b"
    ]  # fmt: skip
    files = storer_pb2.GetFilesRequest(kata_id=attacked_kata.id, avatar=AVATAR, light_number=-1)
    assert dict(plain_storer.GetFiles(files).files) == CHANGED
    download(plain_storer, attacked_kata)
    assert (here.parent / ".git/hooks/post-commit").exists()
    assert not here.exists()
    config = (attacked_kata.avatar_folder(AVATAR) / ".git/config").read_text()
    assert "tool" not in config


LEFT = {
    "a link to the machine's files": "ln -s /etc/passwd left",
    "a link to the machine's devices": "ln -s /dev/zero left",
    "a link to another's secret": "ln -s ../../zebra/sandbox/secret.txt left",
    "a link to the outside": "ln -s .. left",
    "a link to the kata": "ln -s ../.. left",
    "a link to itself": "ln -s left left",
    "a link by way of another": "ln -s . here; ln -s here/../../../zebra left",
    "a second name of a visible file": "ln a.txt left",
    "a FIFO": "mkfifo left",
    "a socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"left\")'",
    "a sparse file": "truncate -s 128M left",
    "a file that nobody may read": "echo x > left; chmod 0 left",
    "a folder that nobody may enter": "mkdir -p left/deep/er; chmod 0 left/deep/er left/deep left",
    "set-user-id": "cp /bin/sh left; chmod 6755 left",
    "names that are none": "touch \"$(printf 'left\\377\\n\\033[2J')\" -- '-rf' ' ' '*'",
    "a sandbox that nobody may enter": "touch left; chmod 0 left .",
    "a file of long ago": "touch -d @-1 left; touch -d 2200-01-01 later",
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_traps_in_a_sandbox_neither_leak_files_nor_block_anybody(
    attack: Run, plain_storer: Storer, attacked_kata: Kata, left: str
) -> None:
    response = attack(f"({left}) && echo tests: passed", FILES)
    assert response.colour == GREEN, response
    assert set(response.changed_files.values()) <= {b"", b"x\n", b"a\n"}
    assert record(plain_storer, attacked_kata, CHANGED) == 1
    found = download(plain_storer, attacked_kata)
    assert all(each.isreg() or each.isdir() or each.issym() for each in found.values())
    # A link is downloaded as a link, and what it leads to is not.
    is_link = left.startswith("ln -s")
    assert any(each.issym() for each in found.values()) == is_link
    assert not any("left/" in name for name, each in found.items() if is_link)
    assert attack("cat a.txt; echo tests: passed", CHANGED).stdout.content.startswith(b"b\n")
    assert record(plain_storer, attacked_kata, FILES) == 2


def test_a_path_that_keeps_changing_never_leads_a_download_out_of_the_sandbox(
    attack: Run, plain_storer: Storer, attacked_kata: Kata
) -> None:
    # One path is a file, a folder, a link and a FIFO in turn while a download reads it.
    flip = b"""import contextlib, os, shutil
def folder():
    os.mkdir("flip")
    open("flip/secret.txt", "w").close()
makers = (
    lambda: os.symlink("../../zebra/sandbox", "flip"), lambda: os.mkfifo("flip"), folder,
    lambda: os.symlink("/etc/passwd", "flip"), lambda: open("flip", "w").close(),
)
while True:
    for make in makers:
        make()
        if os.path.isdir("flip") and not os.path.islink("flip"):
            shutil.rmtree("flip")
        else:
            os.unlink("flip")
"""
    script = "python3 flip.py & until [ -e stop ]; do sleep 0.01; done; kill $!; echo tests: passed"
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(attack, script, {"flip.py": flip})
        flipped = attacked_kata.sandbox(AVATAR) / "flip"
        wait_until(lambda: os.path.lexists(flipped) or running.done())
        for _ in range(20):
            found = download(plain_storer, attacked_kata)
            links = {each.linkname for each in found.values() if each.issym()}
            assert links <= {"../../zebra/sandbox", "/etc/passwd"}
            kept = [each for name, each in found.items() if "secret" in name]
            assert {each.size for each in kept} <= {0}
        (attacked_kata.sandbox(AVATAR) / "stop").touch()
        assert running.result().colour == GREEN


def test_a_run_can_not_give_its_files_to_another_user(attack: Run, attacked_kata: Kata) -> None:
    attack("mkdir made; touch made/file; chown 0 made; chgrp 0 made/file; chmod 7777 made")
    made = attacked_kata.sandbox(AVATAR) / "made"
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (made, made / "file")}
    assert owners == {(UID, UID)}
