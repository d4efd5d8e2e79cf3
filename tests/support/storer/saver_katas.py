"""Builds groups and katas as a saver keeps them, in each of its three layouts.

They are built by plain files and plain git, without the product's code, from the facts that are in
docs/decisions/0022-katas-of-a-saver.md. Names, times and content are always the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.storer.storing import git

Files = dict[str, str]

LAPTOP = "02cfdffb5c0c31221b837a153d1108e6cd19fd6cef11db27c8457a1e63caf46f"

START: Files = {
    "cyber-dojo.sh": "ruby hiker_test.rb\n",
    "hiker.rb": "def answer\n  6 * 9\nend\n",
    "readme.txt": "Fizz...\n\nBuzz",  # no newline at its end
    "empty.txt": "",
}

OPTIONS = {
    "theme": "light",
    "colour": "on",
    "predict": "off",
    "revert_red": "off",
    "revert_amber": "off",
    "revert_green": "off",
}

MANIFEST = {
    "display_name": "Ruby, MiniTest",
    "exercise": "Fizz Buzz",
    "image_name": "cyberdojofoundation/ruby_mini_test:1234567",
    "filename_extension": [".rb"],
    "tab_size": 2,
    "highlight_filenames": [],
    "max_seconds": 10,
    "progress_regexs": [],
}


def time(minute: int, second: int = 0) -> list[int]:
    """Return a time on the day of all sessions."""
    return [2020, 10, 19, 12, minute, second, 396907]


@dataclass
class Event:
    """An event: what events.json says of it, the files after it, and what its run wrote."""

    said: dict[str, Any]
    files: Files
    stdout: str = ""
    stderr: str = ""
    status: str | int = "0"
    truncated: tuple[str, ...] = ()


@dataclass
class Session:
    """The events of one participant, whose old id is `id`."""

    id: str
    events: list[Event] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=lambda: dict(OPTIONS))
    index: int | None = None
    group: str = ""

    def manifest(self, version: int) -> dict[str, Any]:
        """Return the kata's manifest without files."""
        of_group = {} if self.index is None else {"group_id": self.group, "group_index": self.index}
        return {
            **MANIFEST,
            **(OPTIONS if version else {}),
            **of_group,
            "version": version,
            "created": self.events[0].said["time"],
            "id": self.id,
        }


def created(at: int = 0, files: Files = START) -> Event:
    """Return the first event."""
    return Event({"event": "created", "time": time(at)}, files)


def ran(colour: str | None, at: list[int], files: Files, **more: Any) -> Event:
    """Return an event of a run."""
    about = {
        key: more.pop(key) for key in ("stdout", "stderr", "status", "truncated") if key in more
    }
    said = {"colour": colour, "duration": 1.064011, "predicted": "none", "time": at, **more}
    return Event(said, files, **about)


def session_of_runs(old_id: str, **about: Any) -> Session:
    """Return a session as all versions can have it."""
    edited = {**START, "hiker.rb": "def answer\n  6 * 7\nend\n"}
    added = {**edited, "lib/more.rb": "# é, und ∑\n"}
    return Session(
        old_id,
        [
            created(),
            ran("red", time(1), START, stdout="1 run, 1 failure\n", status="1"),
            ran("amber", time(2), edited, stderr="hiker.rb:2: syntax error\n", status="1"),
            ran("green", time(3), edited, stdout="1 run\n" * 3, predicted="green"),
            ran("timed_out", time(4), added, status="137", duration=10.5, truncated=("stdout",)),
            ran("red", time(5), edited, predicted="amber", revert=[old_id, 3], stdout="again\n"),
        ],
        **about,
    )


def session_with_edits(old_id: str, other_id: str, other_index: int, **about: Any) -> Session:
    """Return a session as version 2 has it: with edits between runs, and a check-out."""
    edited = {**START, "hiker.rb": "def answer\n  6 * 7\nend\n"}
    grown = {**edited, "new.rb": ""}
    renamed = {**edited, "newer.rb": ""}

    def counted(added: int, deleted: int) -> dict[str, Any]:
        return {"diff_added_count": added, "diff_deleted_count": deleted, "laptop_id": LAPTOP}

    events = [
        created(),
        ran("red", time(1), START, stdout="red\n", status="1", **counted(0, 0), tab_seq=1),
        Event(
            {"colour": "file_edit", "filename": "hiker.rb", "time": time(2), **counted(1, 1)},
            edited,
        ),
        Event(
            {"colour": "file_create", "filename": "new.rb", "time": time(2, 1), **counted(0, 0)},
            grown,
        ),
        ran("green_special", time(3), grown, stdout="green\n", predicted="green", **counted(0, 0)),
        Event(
            {
                "colour": "file_rename",
                "old_filename": "new.rb",
                "new_filename": "newer.rb",
                "time": time(4),
                **counted(0, 0),
            },
            renamed,
        ),
        ran("pulling", time(5), renamed, status="42", **counted(0, 0)),
        ran("green", time(6), grown, revert=[old_id, 4], stdout="green\n", **counted(0, 0)),
        ran(
            "red",
            time(7),
            START,
            checkout={"id": other_id, "index": 1, "avatarIndex": other_index},
            stdout="red\n",
            status="1",
            truncated=("stderr",),
            **counted(2, 3),
        ),
        Event(
            {"colour": "file_delete", "filename": "empty.txt", "time": time(8), **counted(0, 0)},
            {name: START[name] for name in START if name != "empty.txt"},
        ),
    ]
    for index, event in enumerate(events):
        event.said = {"index": index, **event.said}
    return Session(old_id, events, **about)


def folder_of(top: Path, kind: str, old_id: str) -> Path:
    """Return the folder of a group or a kata."""
    return top / kind / old_id[:2] / old_id[2:4] / old_id[4:]


def write(top: Path, session: Session, version: int, **how: Any) -> Path:
    """Write a kata in the layout of a version; return its folder."""
    folder = folder_of(top, "katas", session.id)
    folder.mkdir(parents=True)
    (_write_0, _write_1, _write_2)[version](folder, session, **how)
    return folder


def write_group(
    top: Path, group_id: str, sessions: Sequence[Session], version: int, **how: Any
) -> Path:
    """Write a group and its katas; return its folder."""
    folder = folder_of(top, "groups", group_id)
    folder.mkdir(parents=True)
    lined = version == 0
    manifest = {
        **MANIFEST,
        **(OPTIONS if version else {}),
        "visible_files": {name: _file(text, lined=lined) for name, text in START.items()},
        "version": version,
        "created": time(0),
        "id": group_id,
    }
    (folder / "manifest.json").write_text(_plain(manifest))
    for session in sessions:
        session.group = group_id
        assert session.index is not None
        (folder / str(session.index)).mkdir()
        if version == 0:
            (folder / str(session.index) / "kata.id").write_text(session.id)
        write(top, session, version, **how)
    if version > 0:
        lines = (f"{session.id} {session.index}\n" for session in sessions)
        (folder / "katas.txt").write_text("".join(lines))
    return folder


def _write_0(folder: Path, session: Session) -> None:
    manifest = {**session.manifest(0)}
    (folder / "manifest.json").write_text(_plain(manifest))
    for index, event in enumerate(session.events):
        (folder / str(index)).mkdir()
        (folder / str(index) / "event.json").write_text(_plain(_content(event, lined=True)))
    lines = (_plain(_said_0(event)) + "\n" for event in session.events)
    (folder / "events.json").write_text("".join(lines))


def _said_0(event: Event) -> dict[str, Any]:
    """Return what the oldest saver said of an event: nothing where nobody predicted."""
    return {key: each for key, each in event.said.items() if (key, each) != ("predicted", "none")}


def _write_1(folder: Path, session: Session, indexes: Sequence[int] = ()) -> None:
    """Write a kata; `indexes` are those of its events, which an outage leaves gaps in."""
    indexes = indexes or range(len(session.events))
    manifest = session.manifest(1)
    files = {name: _file(text) for name, text in session.events[0].files.items()}
    (folder / "manifest.json").write_text(_plain({**manifest, "visible_files": files}))
    said = [
        {"index": index, **each.said} for index, each in zip(indexes, session.events, strict=True)
    ]
    (folder / "events.json").write_text(",\n".join(map(_plain, said)))
    for about, event in zip(said, session.events, strict=True):
        content = {**_content(event), **about}
        (folder / f"{about['index']}.event.json").write_text(_plain(content))
    for name, value in session.options.items():
        if value != OPTIONS[name]:
            (folder / name).write_text("\n" + value)


def _write_2(
    folder: Path,
    session: Session,
    *,
    is_stale: bool = True,
    is_packed: bool = False,
    branch: str = "main",
    untagged: int | None = None,
    counted: Mapping[int, int] | None = None,
) -> None:
    """Write a kata; `is_stale` leaves the working tree as it was when the kata was made.

    `counted` are indexes that commits have in their messages where these are not those of the
    events: a browser whose answers were lost counts on from where it was.
    """
    git(folder, "-c", f"init.defaultBranch={branch}", "init", "--quiet")
    git(folder, "config", "user.name", session.id)
    git(folder, "config", "user.email", f"{session.id}@cyber-dojo.org")
    commands, tags = b"", b""
    said: list[dict[str, Any]] = []
    tree: dict[str, bytes] = {
        "manifest.json": _pretty(session.manifest(2)),
        "options.json": _pretty(OPTIONS),
        "README.md": b"# This is a copy\n",
    }
    mark = 0
    for index, event in enumerate(session.events):
        said.append({"index": index, **event.said})
        tree["events.json"] = _pretty(said)
        if index:
            tree["stdout"], tree["stderr"] = event.stdout.encode(), event.stderr.encode()
            tree["status"] = str(event.status).encode()
            outputs = {name: name in event.truncated for name in ("stdout", "stderr")}
            tree["truncations.json"] = _pretty(outputs)
        files = {f"files/{name}": text.encode() for name, text in event.files.items()}
        mark += 1
        number = (counted or {}).get(index, index)
        message = f"{number} {'ran tests' if index else 'kata creation'}"
        commands += _commit(branch, mark, session, {**tree, **files}, message)
        if index != untagged:
            tags += b"reset refs/tags/%d\nfrom :%d\n\n" % (index, mark)
        if index == 0:
            first = {**tree, **files}
    if session.options != OPTIONS:
        tree["options.json"] = _pretty(session.options)
        commands += _commit(
            branch, mark + 1, session, {**tree, **files}, "set option theme to dark"
        )
    git(
        folder,
        "-c",
        "fastimport.unpackLimit=1000000",
        "fast-import",
        "--quiet",
        text=commands + tags,
    )
    for name, content in (first if is_stale else {**tree, **files}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if is_packed:
        git(folder, "gc", "--quiet")


def _commit(
    branch: str, mark: int, session: Session, tree: Mapping[str, bytes], message: str
) -> bytes:
    who = f"{session.id} <{session.id}@cyber-dojo.org> {1603111966 + mark} +0000\n".encode()
    text = b"commit refs/heads/%s\nmark :%d\ncommitter %s" % (branch.encode(), mark, who)
    text += _data(message.encode()) + b"deleteall\n"
    for name, content in tree.items():
        text += b"M 100644 inline %s\n" % json.dumps(name).encode() + _data(content)
    return text


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _content(event: Event, *, lined: bool = False) -> dict[str, Any]:
    files = {name: _file(text, lined=lined) for name, text in event.files.items()}
    if event.said.get("event") == "created":
        return {"files": files}
    outputs = {
        name: {**_file(text, lined=lined), "truncated": name in event.truncated}
        for name, text in (("stdout", event.stdout), ("stderr", event.stderr))
    }
    return {"files": files, **outputs, "status": event.status}


def _file(text: str, *, lined: bool = False) -> dict[str, Any]:
    return {"content": (text.splitlines(keepends=True) or [""]) if lined else text}


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pretty(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()
