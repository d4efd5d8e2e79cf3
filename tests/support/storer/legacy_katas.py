"""Builds katas in each legacy layout: those that dojo servers used before this storer.

The oldest katas have a git repository for each avatar, packed or not; later ones have a folder for
each light. They are built by plain git and plain files, without the product's code. Names, times
and content are always the same.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.storer.storing import git

Files = dict[str, str]

COLOURS = {"R": "red", "A": "amber", "G": "green", "T": "timed_out"}
OUTPUTS = {
    "red": "expected 42, but it was 54\n1 test failed\n",
    "amber": "hiker: syntax error near '}'\n",
    "green": "all tests passed\n",
    "timed_out": "",
}

# The first user of macOS, with the group `staff`, and the user `nobody`. No avatar has these ids.
STAFF, NOBODY = (501, 50), (65534, 65534)


@dataclass(frozen=True)
class LegacyLight:
    """A light. Its files include the output, as the file `output`."""

    number: int
    colour: str
    time: datetime
    files: Files


def session(
    colours: str, begin: datetime, files: Files, edit: Callable[[int], Files]
) -> list[LegacyLight]:
    """Return a light for each letter (R, A, G, T), with the files that `edit` adds to `files`.

    The start, number 0, comes first, with the unchanged files.
    """
    lights = [LegacyLight(0, "", begin, {**files, "output": ""})]
    for number, letter in enumerate(colours, 1):
        colour = COLOURS[letter]
        # No two lights are the same time apart.
        time = begin + timedelta(seconds=9 * number + number * number)
        edited = {**files, **edit(number), "output": OUTPUTS[colour]}
        present = {name: text for name, text in edited.items() if text is not DELETED}
        lights.append(LegacyLight(number, colour, time, present))
    return lights


DELETED = "(this file was deleted)"


def write_kata(directory: Path, kata_id: str, created: datetime, files: Files, **keys: Any) -> Path:
    """Write a kata without avatars into a katas directory; return its folder."""
    kata = directory / kata_id[:2] / kata_id[2:]
    kata.mkdir(parents=True)
    manifest = {"id": kata_id, "created": parts(created), **keys}
    manifest["visible_files"] = {"output": "", **files}
    write_json(kata / "manifest.json", manifest)
    return kata


def write_folders(kata: Path, avatar: str, lights: Sequence[LegacyLight]) -> None:
    """Write an avatar's lights, except the start, into a folder for each."""
    folder = kata / avatar
    folder.mkdir()
    for light in lights[1:]:
        (folder / str(light.number)).mkdir()
        write_json(folder / str(light.number) / "manifest.json", light.files)
    write_json(folder / "increments.json", [increment(light) for light in lights[1:]])


def write_repository(
    kata: Path, avatar: str, lights: Sequence[LegacyLight], *, annotated: bool = True, **extra: Any
) -> Path:
    """Write an avatar's lights as a git repository with loose objects; return its folder.

    A tag names each commit: an annotated one, or a lightweight one. `extra` is added to each
    light in increments.json.
    """
    folder = kata / avatar
    folder.mkdir()
    kata_id = kata.parent.name + kata.name
    email = f"{avatar}@cyber-dojo.org"
    git(folder, "-c", "init.defaultBranch=master", "init", "--quiet")
    git(folder, "config", "user.name", f"{avatar}_{kata_id}")
    git(folder, "config", "user.email", email)
    commands = b"".join(
        _commit(lights[: place + 1], f"{avatar}_{kata_id} <{email}>", extra, annotated=annotated)
        for place in range(len(lights))
    )
    git(folder, "-c", "fastimport.unpackLimit=1000000", "fast-import", "--quiet", text=commands)
    git(folder, "reset", "--quiet", "--hard", "master")
    return folder


def _commit(
    lights: Sequence[LegacyLight], author: str, extra: Mapping[str, Any], *, annotated: bool
) -> bytes:
    """Return the commands by which `git fast-import` adds the last of these lights."""
    light = lights[-1]
    signature = f"{author} {int(light.time.timestamp())} +0000\n".encode()
    commit = b"commit refs/heads/master\nmark :%d\ncommitter %s" % (light.number + 1, signature)
    commit += _data(f"{light.number}\n".encode()) + b"deleteall\n"
    tracked = {
        "increments.json": as_json([{**increment(each), **extra} for each in lights[1:]]),
        "manifest.json": as_json(light.files),
        **{f"sandbox/{name}": text.encode() for name, text in light.files.items()},
    }
    for name, content in tracked.items():
        mode = "100755" if name.endswith(".sh") else "100644"
        commit += f'M {mode} inline "{name}"\n'.encode() + _data(content)
    if annotated:
        tag = b"tag %d\nfrom :%d\ntagger %s" % (light.number, light.number + 1, signature)
        return commit + tag + _data(b"%d\n" % light.number)
    return commit + b"reset refs/tags/%d\nfrom :%d\n\n" % (light.number, light.number + 1)


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def pack(folder: Path, newest: int) -> None:
    """Pack an avatar's repository, except the newest light, which is added after that."""
    tag = folder / ".git/refs/tags" / str(newest)
    tip = tag.read_text().strip()
    loose = git(folder, "rev-list", "--objects", "--no-object-names", str(newest), f"^{newest - 1}")
    paths = [_loose(folder, name) for name in (tip, *loose.decode().split())]
    contents = {path: path.read_bytes() for path in paths}
    tag.unlink()
    git(folder, "repack", "-a", "-d", "--quiet")
    git(folder, "pack-refs", "--all")
    git(folder, "update-server-info")
    tag.write_text(f"{tip}\n")
    for path, content in contents.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def _loose(folder: Path, name: str) -> Path:
    return folder / ".git/objects" / name[:2] / name[2:]


def increment(light: LegacyLight) -> dict[str, Any]:
    """Return a light as an element of increments.json."""
    return {"colour": light.colour, "time": parts(light.time), "number": light.number}


def parts(time: datetime) -> list[int]:
    """Return a time as the list of its parts, as in a kata's JSON files."""
    return [time.year, time.month, time.day, time.hour, time.minute, time.second]


def as_json(value: object) -> bytes:
    """Return compact JSON, as legacy servers wrote."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def write_json(path: Path, value: object) -> None:
    """Write a JSON file."""
    path.write_bytes(as_json(value))


def give(folder: Path, owner: tuple[int, int], mode: int | None = None) -> None:
    """Change the owner of a folder and all in it, and the mode of all files if `mode` is given."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
        if mode is not None and path.is_file():
            path.chmod(mode)


# --- The katas


def build(directory: Path) -> None:
    """Build a kata of each kind in a katas directory."""
    for write in (_spider, _buffalo, _wolf, _hummingbird, _moose):
        write(directory)
    for write in (_dolphin, _turtle, _gorilla, _snake, _lion, _unstarted):
        write(directory)


def _at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]


LOWLIGHTS = ["cyber-dojo.sh", "makefile", "Makefile"]
SPIDERS_LAMBDA = [
    "lambda { |output|",
    "  return :green if /^0 scenarios failed/.match(output)",
    "  return :red   if /^[1-9][0-9]* scenarios? failed/.match(output)",
    "  return :amber",
    "}",
]


def _spider(directory: Path) -> None:
    """A repository with loose objects and annotated tags; a Ruby lambda in the manifest."""
    created = _at(2016, 3, 9, 18, 5, 12)
    files = {
        "bottles.py": "def verse(number):\n    return ''\n",
        "bottles.feature": "Feature: a song\n\n  Scenario: its first verse\n",
        "bottles_steps.py": "from behave import given, then, when\n\nfrom bottles import verse\n",
        "notes": "Sing it once - über alle Strophen.\n",
        "cyber-dojo.sh": "behave\n",
        "instructions": "Write a program that sings the song of 99 bottles.\n",
    }
    kata = write_kata(
        directory,
        "7C4E19D2B6",
        created,
        files,
        image_name="cyberdojofoundation/python_behave",
        display_name="Python, behave",
        filename_extension=".py",
        progress_regexs=[],
        highlight_filenames=[],
        lowlight_filenames=LOWLIGHTS,
        red_amber_green=SPIDERS_LAMBDA,
        language="Python-behave",
        tab_size=4,
        exercise="Bottles",
    )

    def edit(number: int) -> Files:
        verses = "".join(f"    # verse {verse}\n" for verse in range(number // 2))
        return {
            "bottles.py": f"def verse(number):\n{verses}    return '{number} bottles'\n",
            "bottles.feature": files["bottles.feature"] + f"    Then I sing {number // 3} lines\n",
        }

    write_repository(kata, "spider", session("RAGRGTAG", created + timedelta(0, 3), files, edit))
    give(kata, STAFF)


def _buffalo(directory: Path) -> None:
    """A packed repository; a legacy name of a language; renamed files; odd modes."""
    created = _at(2013, 5, 21, 9, 40, 7)
    files = {
        "untitled.c": "int roman(const char * text)\n{\n    return 0;\n}\n",
        "untitled.h": "int roman(const char * text);\n",
        "untitled.tests.c": '#include "untitled.h"\n\nint main(void)\n{\n    return 0;\n}\n',
        "makefile": "test: untitled.c untitled.tests.c\n\tgcc -o test $^ && ./test\n",
        "cyber-dojo.sh": "make\n",
        "instructions": "Turn Roman numerals into numbers.\n",
    }
    kata = write_kata(
        directory,
        "60B2C95E04",
        created,
        files,
        browser="Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/21.0",
        language="C",
        exercise="Roman_Numerals",
        unit_test_framework="cassert",
        tab_size=4,
    )

    def edit(number: int) -> Files:
        cases = "".join(f"    case {case}: return {case * 5};\n" for case in range(number))
        body = f"int roman(const char * text)\n{{\n{cases}    return {number};\n}}\n"
        if number < 5:
            return {"untitled.c": body}
        renamed = {
            name.replace("untitled", "roman"): text.replace("untitled", "roman")
            for name, text in files.items()
        }
        old = {name: DELETED for name in files if name.startswith("untitled")}
        # One line ending of Windows, and no line feed at the end of the file.
        notes = {"todo": f"M\r\nCM {number}"} if number % 7 else {}
        return {**old, **renamed, **notes, "roman.c": body}

    lights = session("RGGAAAARRG" * 3 + "RAGTRG", created + timedelta(0, 11), files, edit)
    folder = write_repository(kata, "buffalo", lights, revert_tag=None)
    pack(folder, 36)
    git(folder, "config", "--remove-section", "user")
    (kata / "f.lock").touch()
    write_json(kata / "started_avatars.json", ["buffalo"])
    give(kata, STAFF, 0o755)


def _wolf(directory: Path) -> None:
    """A repository whose files have other modes than git recorded; a legacy name of a language."""
    created = _at(2014, 7, 2, 7, 15, 33)
    files = {
        "leap.rb": "def leap?(year)\nend\n",
        "leap_spec.rb": "require_relative './leap'\n",
        "cyber-dojo.sh": "rspec .\n",
        "instructions": "Say which years are leap years.\n" * 40,
    }
    kata = write_kata(
        directory,
        "603D5B7A98",
        created,
        files,
        language="Ruby-Rspec",
        exercise="Leap_Years",
        unit_test_framework="ruby_rspec",
        tab_size=2,
    )

    def edit(number: int) -> Files:
        return {"leap.rb": f"def leap?(year)\n  year % 4 == {number}\nend\n"}

    write_repository(kata, "wolf", session("R", created + timedelta(0, 2), files, edit))
    give(kata, STAFF, 0o755)


def _hummingbird(directory: Path) -> None:
    """A repository with only the start; no image, but a legacy name of a language."""
    created = _at(2016, 1, 30, 20, 59, 1)
    files = {
        "primes.py": "def primes(limit):\n    return []\n",
        "test_primes.py": "import primes\n",
        "cyber-dojo.sh": "python -m pytest *test*.py\n",
        "instructions": "List the prime numbers.\n",
    }
    kata = write_kata(
        directory,
        "60E71A8C3D",
        created,
        files,
        language="Python-py.test",
        exercise="Primes",
        unit_test_framework="python_pytest",
        tab_size=4,
    )
    write_repository(kata, "hummingbird", session("", created, files, lambda _: {}))
    give(kata, STAFF)


def _moose(directory: Path) -> None:
    """A repository with lightweight tags, owned by the user `nobody`."""
    created = _at(2015, 11, 5, 13, 0, 0)
    files = {
        "Score.java": "class Score {\n}\n",
        "ScoreTest.java": "class ScoreTest {\n}\n",
        "cyber-dojo.sh": "javac *.java\n",
    }
    kata = write_kata(
        directory,
        "5B1F7E93A4",
        created,
        files,
        language="Java-JUnit",
        exercise="Bowling",
        unit_test_framework="junit",
        tab_size=4,
    )

    def edit(number: int) -> Files:
        return {"Score.java": f"class Score {{\n    int pins = {number};\n}}\n"}

    lights = session("ARG", created + timedelta(0, 1), files, edit)
    write_repository(kata, "moose", lights, annotated=False)
    give(kata, NOBODY)


def _dolphin(directory: Path) -> None:
    """A folder for each light, without a repository."""
    created = _at(2017, 6, 14, 11, 22, 48)
    files = {
        "Greeter.java": "public class Greeter {\n}\n",
        "GreeterTest.java": "import org.junit.*;\n",
        "cyber-dojo.sh": "javac -cp '.:./*' *.java && java org.junit.runner.JUnitCore\n",
        "instructions": "Greet everybody by name.\n",
    }
    kata = write_kata(
        directory,
        "60D8A3F17E",
        created,
        files,
        runner_choice="stateless",
        image_name="cyberdojofoundation/java_junit",
        display_name="Java, JUnit",
        filename_extension=".java",
        progress_regexs=["Tests run\\: (\\d)+", "OK \\((\\d)+ test(s)?\\)"],
        highlight_filenames=[],
        lowlight_filenames=LOWLIGHTS,
        language="Java-JUnit",
        tab_size=4,
        exercise="(Verbal)",
    )

    def edit(number: int) -> Files:
        greetings = "".join(f'    // "Hello, {each}"\n' for each in range(number % 6))
        extra = {"Name.java": "class Name {}\n"} if number > 12 else {}
        return {"Greeter.java": f"public class Greeter {{\n{greetings}}}\n", **extra}

    lights = session("GAAARRGRAG" * 2, created + timedelta(0, 30), files, edit)
    write_folders(kata, "dolphin", lights)
    give(kata, STAFF)


def _turtle(directory: Path) -> None:
    """A folder for each light; a language name that no start point has; no exercise."""
    created = _at(2017, 12, 1, 16, 4, 9)
    files = {
        "queue.rb": "class Queue\nend\n",
        "queue.feature": "Feature: a queue\n",
        "empty.rb": "",
        "cyber-dojo.sh": "cucumber\n",
    }
    kata = write_kata(
        directory,
        "18A6F2C4E0",
        created,
        files,
        runner_choice="stateless",
        image_name="cyberdojofoundation/ruby_cucumber",
        display_name="Queueing, Ruby",
        filename_extension=".rb",
        progress_regexs=[],
        lowlight_filenames=LOWLIGHTS,
        language="Queueing-Ruby",
        tab_size=2,
    )

    def edit(number: int) -> Files:
        return {"queue.rb": f"class Queue\n  LENGTH = {number}\nend\n"}

    write_folders(kata, "turtle", session("RG", created + timedelta(0, 60), files, edit))
    give(kata, STAFF)


def _gorilla(directory: Path) -> None:
    """Many lights in folders, with large files; an id with lower-case letters."""
    created = _at(2018, 4, 18, 8, 30, 0)
    rules = "".join(f'  "rule-{number}": {number % 3},\n' for number in range(200))
    files = {
        "fizz.js": "module.exports = () => 0;\n",
        "fizz-spec.js": "const fizz = require('./fizz');\n",
        ".jshintrc": f"{{\n{rules}}}\n",
        "cyber-dojo.sh": "jasmine\n",
        "instructions": "Count, and say Fizz or Buzz.\n",
    }
    kata = write_kata(
        directory,
        "7hK2mQxW9d",
        created,
        files,
        filename_extension=".js",
        tab_size=2,
        display_name="Javascript, jasmine",
        image_name="cyberdojofoundation/javascript-node_jasmine",
        progress_regexs=["/(d+) specs?, ([1-9]d*) failures?/"],
        runner_choice="stateless",
        exercise="(Verbal)",
    )

    def edit(number: int) -> Files:
        lines = "".join(f"// step {step}\n" for step in range(number % 23))
        changed = {"fizz.js": f"{lines}module.exports = () => {number};\n"}
        if number > 40:
            changed |= {"fizz-spec.js": DELETED, "count-spec.js": files["fizz-spec.js"]}
        return changed

    lights = session("ARRGAG" * 14, created + timedelta(0, 5), files, edit)
    write_folders(kata, "gorilla", lights)
    give(kata, STAFF)


def _snake(directory: Path) -> None:
    """An avatar without lights besides the start; the stray files that tar of macOS adds."""
    created = _at(2017, 9, 8, 19, 33, 3)
    files = {
        "Anagram.php": "<?php\n",
        "AnagramTest.php": "<?php\n\nrequire 'Anagram.php';\n",
        "cyber-dojo.sh": "phpunit .\n",
        "instructions": "Find the words that have the same letters.\n",
    }
    kata = write_kata(
        directory,
        "60F9D40B52",
        created,
        files,
        runner_choice="stateful",
        image_name="cyberdojofoundation/php_phpunit",
        display_name="PHP, PHPUnit",
        filename_extension=".php",
        language="PHP-PHPUnit",
        tab_size=4,
        exercise="Words",
    )
    write_folders(kata, "snake", session("", created, files, lambda _: {}))
    # AppleDouble: magic, version, filler, and no entries.
    apple_double = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(182)
    (kata / "._manifest.json").write_bytes(apple_double)
    (kata / "snake/._increments.json").write_bytes(apple_double)
    give(kata, STAFF)


def _lion(directory: Path) -> None:
    """A folder for the start too; `outcome` instead of `colour`; owned by the user `nobody`."""
    created = _at(2014, 2, 11, 10, 10, 10)
    files = {"hello.sh": "echo hello\n", "cyber-dojo.sh": "sh hello.sh\n"}
    kata = write_kata(
        directory, "3D90E6A15C", created, files, language="Bash-shunit2", exercise="", tab_size=4
    )
    lights = session("GRT", created, files, lambda number: {"hello.sh": f"echo {number}\n"})
    write_folders(kata, "lion", lights)
    (kata / "lion/0").mkdir()
    write_json(kata / "lion/0/manifest.json", {**lights[0].files, "hello.sh": "echo start\n"})
    increments = [{"time": parts(created), "number": 0}]
    increments += [
        {"outcome": each.colour, "time": parts(each.time), "number": each.number}
        for each in lights[1:]
    ]
    write_json(kata / "lion/increments.json", increments)
    give(kata, NOBODY, 0o600)


def _unstarted(directory: Path) -> None:
    """A kata without avatars; an id with lower-case letters."""
    files = {
        "Stock.cs": "public class Stock\n{\n}\n",
        "StockTest.cs": "using NUnit.Framework;\n",
        "cyber-dojo.sh": "mcs *.cs\n",
        "output": "Nothing has been tested so far.\n",
        "instructions": "Keep the books of a shop.\n",
    }
    kata = write_kata(
        directory,
        "7hR5vTcN3b",
        _at(2018, 11, 3, 15, 45, 27),
        files,
        exercise="Stock",
        tab_size=4,
        display_name="C#, NUnit",
        image_name="cyberdojofoundation/csharp_nunit",
        runner_choice="stateless",
        filename_extension=".cs",
    )
    shutil.chown(kata, *STAFF)
    give(kata, STAFF)
