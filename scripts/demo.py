"""Show what storer and runner do: `make demo` runs this.

The demo is what a web tier is: a program that uses the client, and nothing of the services but the
settings that say how callers get in.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from cyber_dojo_client import CallFailed, Client, Pressed
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.channels import access_of
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
        access = access_of(arguments.storer, load(CallerSettings, os.environ))
    except BadSettings as error:
        sys.exit(f"** {error}")
    with Client(arguments.storer, arguments.runner, access) as client:
        session = Session(client)
        try:
            show(session, arguments.namespace)
            if arguments.keep:
                say(f"kata {session.kata_id} stays, because of --keep")
            else:
                session.delete()
        except CallFailed as error:
            sys.exit(f"** {error}")
        except UnexpectedResult as error:
            sys.exit(
                f"** {error}\n** kata {session.kata_id} was not deleted, so you can look at it"
            )
    say(f"{time.monotonic() - begun:.1f} seconds in total", "dim")


class Session:
    """One participant in one kata, as a web tier sees them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.manifest = start_point()
        self.kata_id = ""
        self.avatar = ""
        self.files: dict[str, bytes] = {}

    def start(self) -> None:
        """Make a kata and start an avatar in it."""
        storer = self.client.storer
        request = storer_pb2.CreateKataRequest(manifest=self.manifest)
        made = self.client.call(storer.CreateKata, request)
        self.kata_id = made.kata_id
        started = self.client.call(
            storer.StartAvatar, storer_pb2.StartAvatarRequest(kata_id=self.kata_id)
        )
        self.avatar = started.avatar
        self.files = dict(started.files)
        # The participant's editor is open now, so a container has to be ready for a test.
        self.client.runner.Prepare(
            runner_pb2.PrepareRequest(
                kata_id=self.kata_id, avatar=self.avatar, image_name=self.manifest.image_name
            )
        )

    def press_test(self) -> Pressed:
        """Run the tests in the avatar's sandbox, and record the result as a light."""
        pressed = self.client.press_test(self.kata_id, self.avatar, self.manifest, self.files)
        self.files = pressed.files
        return pressed

    def edit(self, old: bytes, new: bytes, name: str = "hiker.c") -> None:
        """Change a visible file in the editor."""
        if old not in self.files[name]:
            raise UnexpectedResult(f"{name} does not hold {old!r}")
        self.files[name] = self.files[name].replace(old, new)

    def lights(self) -> list[storer_pb2.Light]:
        """Read the avatar's lights."""
        request = storer_pb2.ListLightsRequest(kata_id=self.kata_id, avatar=self.avatar)
        pages = self.client.pages(self.client.storer.ListLights, request)
        return [light for page in pages for each in page.avatars for light in each.lights]

    def delete(self) -> None:
        """Delete the kata."""
        self.client.storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=self.kata_id))


def start_point() -> storer_pb2.Manifest:
    """Read the start point of the kata: C, with assert."""
    found = json.loads((START_POINT / "manifest.json").read_text())
    manifest = storer_pb2.Manifest(
        display_name=found["display_name"],
        image_name=found["image_name"],
        filename_extensions=found["filename_extension"],
        max_seconds=found["max_seconds"],
        tab_size=found["tab_size"],
        files={name: (START_POINT / name).read_bytes() for name in found["visible_filenames"]},
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
    pressed = session.press_test()
    light, ran = pressed.light, pressed.ran
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
    for file in session.client.storer.DiffLights(request).files:
        if file.change == storer_pb2.FILE_CHANGE_UNCHANGED:
            continue
        say(f"{file.new_name}: {file.added_count} added, {file.deleted_count} deleted", "bold")
        for line in file.lines:
            mark, colour = marks[line.change]
            say(f"  {line.new_number or line.old_number:3} {mark} {line.text.decode()}", colour)


def show_download(session: Session) -> None:
    """Download the kata, and read its history with git."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        tar = session.client.download(session.kata_id, Path(folder, f"{session.kata_id}.tar.gz"))
        with tarfile.open(tar) as archive:
            members = archive.getmembers()
        size_bytes = tar.stat().st_size
        say(f"{tar.name}: {size_bytes} bytes, {len(members)} files and folders, digest correct")
        unpack = ["tar", "--extract", "--gzip", "--no-same-owner", "--directory", folder]
        subprocess.run([*unpack, "--file", tar], check=True)
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
