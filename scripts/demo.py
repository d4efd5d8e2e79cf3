"""Show what storer and runner do: `make demo` runs this.

The demo is a plain client of the two services and uses nothing of them but their protos, and the
settings that say how callers connect.
`Session.press_test` is what a web tier does when a participant presses *test*.
"""

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import grpc

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.channels import open_channel
from dojo.service.settings import BadSettings, CallerSettings, load

START_POINT = Path(__file__).parents[1] / "start_points" / "languages" / "gcc_assert"
NAMESPACE_LABEL = "cyber-dojo.namespace"

ESCAPES = {
    "red": "31",
    "amber": "33",
    "green": "32",
    "bold": "1",
    "dim": "2",
}


class UnexpectedResult(Exception):
    """A result is not what it should be."""


def main() -> None:
    """Show everything; exit with 1 if a result is not what it should be."""
    parser = argparse.ArgumentParser(description="Show what storer and runner do.")
    host = os.environ.get("CYBER_DOJO_HOST") or "127.0.0.1"
    storer_port = os.environ.get("CYBER_DOJO_STORER_PORT") or "4577"
    runner_port = os.environ.get("CYBER_DOJO_RUNNER_PORT") or "4597"
    parser.add_argument("--storer", default=f"{host}:{storer_port}", metavar="HOST:PORT")
    parser.add_argument("--runner", default=f"{host}:{runner_port}", metavar="HOST:PORT")
    parser.add_argument(
        "--namespace", default=os.environ.get("CYBER_DOJO_NAMESPACE") or "cyber-dojo"
    )
    parser.add_argument("--keep", action="store_true", help="don't delete the kata at the end")
    arguments = parser.parse_args()
    begun = time.monotonic()
    try:
        settings = load(CallerSettings, os.environ)
        channels = [open_channel(each, settings) for each in (arguments.storer, arguments.runner)]
    except BadSettings as error:
        sys.exit(f"** {error}")
    with channels[0] as storer, channels[1] as runner:
        session = Session(storer, runner)
        try:
            show(session, arguments.namespace)
            if arguments.keep:
                say(f"kata {session.kata_id} stays, because of --keep")
            else:
                session.delete()
        except grpc.RpcError as error:
            sys.exit(f"** {error.code().name}: {error.details()}")  # type: ignore[attr-defined]
        except UnexpectedResult as error:
            sys.exit(
                f"** {error}\n** kata {session.kata_id} was not deleted, so you can look at it"
            )
    say(f"{time.monotonic() - begun:.1f} seconds in total", "dim")


class Session:
    """One participant in one kata, as a web tier sees them."""

    def __init__(self, storer: grpc.Channel, runner: grpc.Channel) -> None:
        self.storer = storer_pb2_grpc.StorerServiceStub(storer)
        self.runner = runner_pb2_grpc.RunnerServiceStub(runner)
        self.manifest = start_point()
        self.kata_id = ""
        self.avatar = ""
        self.files: dict[str, bytes] = {}

    def start(self) -> None:
        """Make a kata and start an avatar in it."""
        made = self.storer.CreateKata(storer_pb2.CreateKataRequest(manifest=self.manifest))
        self.kata_id = made.kata_id
        started = self.storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=self.kata_id))
        self.avatar = started.avatar
        self.files = dict(started.visible_files)
        # The participant's editor is open now, so a container has to be ready for a test.
        self.runner.Prepare(
            runner_pb2.PrepareRequest(
                kata_id=self.kata_id, avatar=self.avatar, image_name=self.manifest.image_name
            )
        )

    def press_test(self) -> tuple[storer_pb2.Light, runner_pb2.RunResponse]:
        """Run the tests in the avatar's sandbox, and record the result as a light."""
        ran = self.runner.Run(
            runner_pb2.RunRequest(
                kata_id=self.kata_id,
                avatar=self.avatar,
                image_name=self.manifest.image_name,
                files=self.files,
                max_seconds=self.manifest.max_seconds,
                colour_rule=self.manifest.colour_rule,
            )
        )
        recorded = self.storer.RecordTest(
            storer_pb2.RecordTestRequest(
                kata_id=self.kata_id,
                avatar=self.avatar,
                files=self.files,
                stdout=ran.stdout.content,
                stderr=ran.stderr.content,
                status=ran.status,
                colour=ran.outcome,
                duration=ran.duration,
                reason=ran.reason,
            )
        )
        return recorded.light, ran

    def edit(self, old: bytes, new: bytes, name: str = "hiker.c") -> None:
        """Change a visible file in the editor."""
        if old not in self.files[name]:
            raise UnexpectedResult(f"{name} does not hold {old!r}")
        self.files[name] = self.files[name].replace(old, new)

    def lights(self) -> list[storer_pb2.Light]:
        """Read the avatar's lights."""
        request = storer_pb2.ListLightsRequest(kata_id=self.kata_id, avatar=self.avatar)
        return list(self.storer.ListLights(request).avatars[0].lights)

    def download(self) -> tuple[str, bytes]:
        """Download the kata; return the file's name and bytes, after checking their digest."""
        name, tar, digest = "", io.BytesIO(), b""
        request = storer_pb2.DownloadKataRequest(
            kata_id=self.kata_id, compression=storer_pb2.COMPRESSION_GZIP
        )
        for part in self.storer.DownloadKata(request):
            match part.WhichOneof("part"):
                case "header":
                    name = part.header.filename
                case "data":
                    tar.write(part.data)
                case "end":
                    digest = part.end.sha256
        if hashlib.sha256(tar.getvalue()).digest() != digest:
            raise UnexpectedResult("the download does not match its digest")
        return name, tar.getvalue()

    def delete(self) -> None:
        """Delete the kata."""
        self.storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=self.kata_id))


def start_point() -> storer_pb2.Manifest:
    """Read the start point of the kata: C, with assert."""
    found = json.loads((START_POINT / "manifest.json").read_text())
    manifest = storer_pb2.Manifest(
        display_name=found["display_name"],
        image_name=found["image_name"],
        filename_extensions=found["filename_extension"],
        max_seconds=found["max_seconds"],
        tab_size=found["tab_size"],
        visible_files={
            name: (START_POINT / name).read_bytes() for name in found["visible_filenames"]
        },
    )
    for each in found["colour_rule"]["patterns"]:
        manifest.colour_rule.patterns.patterns.add(
            colour=colour_pb2.Colour.Value(f"COLOUR_{each['colour'].upper()}"),
            pattern=each["pattern"],
            stream=colour_pb2.Stream.Value(f"STREAM_{each.get('stream', 'unspecified').upper()}"),
        )
    return manifest


def show(session: Session, namespace: str) -> None:
    """Show all steps."""
    step("Make a kata, in a data-container of its own, and start an avatar in it")
    session.start()
    say(f"kata {session.kata_id}: {session.manifest.display_name}")
    say(f"docker container and volume {namespace}-kata-{session.kata_id}")
    say(f"{session.avatar} opens {', '.join(sorted(session.files))}")

    step("Press test three times: red, amber, green; only what changed is compiled again")
    press(session, "as delivered", "red", ["hiker.c", "hiker.tests.c"])
    session.edit(b"6 * 9;", b"6 * 7")
    press(session, "6 * 9 becomes 6 * 7, and the semicolon is lost", "amber", ["hiker.c"])
    session.edit(b"6 * 7", b"6 * 7;")
    press(session, "the semicolon is back", "green", ["hiker.c"])

    step("List the lights, and what changed between the first and the last")
    for light in session.lights():
        colour = colour_name(light.colour)
        when = light.time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
        say(f"{light.number}  {when}  {painted(f'● {colour}', colour) if colour else 'start'}")
    show_diff(session)

    step("Download the kata as a tar, and read it with plain git")
    show_download(session)

    step("Prune all stopped containers, the kata's among them, and press test again")
    prune(session, namespace)
    press(session, "the next test works, and nothing has to be compiled", "green", [])


def press(session: Session, why: str, expected: str, compiled: list[str]) -> None:
    """Press *test*, show the result, and raise UnexpectedResult if it is not as expected."""
    begun = time.monotonic()
    light, ran = session.press_test()
    seconds = time.monotonic() - begun
    colour = colour_name(light.colour)
    found = re.findall(rb"(?m)^gcc .*-c .*?(\S+\.c)$", ran.stdout.content)
    names = sorted(name.decode() for name in found)
    say(f"{painted(f'● {colour:5}', colour)}  {why}")
    say(f"         compiled: {', '.join(names) or 'nothing'}", "dim")
    ran_seconds = ran.duration.ToNanoseconds() / 1e9
    say(f"         {seconds:.2f} s, of which {ran_seconds:.2f} s were the test's own", "dim")
    if colour != expected:
        output = (ran.stdout.content + ran.stderr.content).decode(errors="replace")
        raise UnexpectedResult(f"the light should be {expected}\n{ran.reason}\n{output}")
    if names != compiled:
        raise UnexpectedResult(f"{', '.join(compiled) or 'nothing'} should have been compiled")


def show_diff(session: Session) -> None:
    """Show the difference between light 1 and the newest."""
    request = storer_pb2.DiffLightsRequest(
        kata_id=session.kata_id, avatar=session.avatar, was_number=1, now_number=-1
    )
    marks = {
        storer_pb2.LINE_CHANGE_ADDED: ("+", "green"),
        storer_pb2.LINE_CHANGE_DELETED: ("-", "red"),
        storer_pb2.LINE_CHANGE_SAME: (" ", ""),
    }
    for file in session.storer.DiffLights(request).files:
        if file.change == storer_pb2.FILE_CHANGE_UNCHANGED:
            continue
        say(f"{file.new_name}: {file.added_count} added, {file.deleted_count} deleted", "bold")
        for line in file.lines:
            mark, colour = marks[line.change]
            say(f"  {line.new_number or line.old_number:3} {mark} {line.text.decode()}", colour)


def show_download(session: Session) -> None:
    """Download the kata, and read its history with git."""
    name, tar = session.download()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as archive,
        tempfile.TemporaryDirectory(prefix="demo-") as folder,
    ):
        members = archive.getmembers()
        say(f"{name}: {len(tar)} bytes, {len(members)} files and folders, digest correct")
        unpack = ["tar", "--extract", "--gzip", "--no-same-owner", "--directory", folder]
        subprocess.run(unpack, input=tar, check=True)
        avatar = Path(folder, session.kata_id[:2], session.kata_id[2:], session.avatar)
        log = subprocess.run(
            ["git", "-C", avatar, "log", "--format=%d %s"],
            check=True,
            capture_output=True,
            text=True,
        )
    for line in log.stdout.splitlines():
        say(f"  git log: {line.strip()}", "dim")


def prune(session: Session, namespace: str) -> None:
    """Prune the stopped containers of the namespace, and no others."""
    label = f"label={NAMESPACE_LABEL}={namespace}"
    command = ["docker", "container", "prune", "--force", "--filter", label]
    say(" ".join(command), "dim")
    subprocess.run(command, check=True, capture_output=True)
    handle = f"{namespace}-kata-{session.kata_id}"
    left = subprocess.run(
        ["docker", "container", "ls", "--all", "--quiet", "--filter", f"name=^/{handle}$"],
        check=True,
        capture_output=True,
    )
    if left.stdout.strip():
        raise UnexpectedResult(f"container {handle} was not pruned")
    say("the kata's container is gone; its volume, which has everything, stays")


def colour_name(colour: int) -> str:
    """Return a colour's name; an empty one for the start."""
    if colour == colour_pb2.COLOUR_UNSPECIFIED:
        return ""
    return colour_pb2.Colour.Name(colour).removeprefix("COLOUR_").lower()


def step(title: str) -> None:
    """Print the title of a step."""
    print(f"\n{painted(title, 'bold')}")


def say(text: str, colour: str = "") -> None:
    """Print a line."""
    print(f"  {painted(text, colour)}", flush=True)


def painted(text: str, colour: str) -> str:
    """Return the text in a colour, if it goes to a terminal."""
    if colour not in ESCAPES or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{ESCAPES[colour]}m{text}\x1b[0m"


if __name__ == "__main__":
    main()
