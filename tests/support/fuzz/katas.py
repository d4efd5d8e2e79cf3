"""Katas as files by path, made without the storer's code, and mutations of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from support.fuzz import git_objects, json_values, strengths, tars
from support.fuzz.git_objects import Repository

KATA = "F0220000A1"  # of the katas that are restored
PREFIX = f"{KATA[:2]}/{KATA[2:]}/"
WHEN = [2019, 1, 16, 12, 44, 55]
FILE_MODE, FOLDER_MODE = b"100644", b"40000"

Files = Mapping[str, bytes]

LIGHTS: Sequence[Files] = (
    {"cyber-dojo.sh": b"make\n", "hiker.c": b"int answer;\n"},
    {"cyber-dojo.sh": b"make\n", "hiker.c": b"int answer = 42;\n"},
    {"cyber-dojo.sh": b"make\n", "hiker.c": b"int answer = 42;\n", "a/b.txt": b"b\n"},
)


@dataclass
class Avatar:
    """An avatar's repository, and its other files by path, of a few lights."""

    repository: Repository = field(default_factory=Repository)
    files: dict[str, bytes] = field(default_factory=dict)


def manifest(kata_id: str = KATA) -> dict[str, Any]:
    """Return the manifest.json of a kata."""
    return {
        "format": "storer/1",
        "id": kata_id,
        "created": WHEN,
        "display_name": "C (gcc), assert",
        "image_name": "cyberdojofoundation/gcc_assert",
        "filename_extension": [".c"],
        "max_seconds": 10,
        "tab_size": 4,
        "colour_rule": {"patterns": [{"colour": "red", "pattern": "x", "stream": "any"}]},
        "visible_files": {name: content.decode() for name, content in LIGHTS[0].items()},
        "browser": "none",
    }


def light(number: int) -> dict[str, Any]:
    """Return a light as increments.json and light.json have it."""
    start = {"colour": "", "time": WHEN, "number": 0}
    return start if number == 0 else {**start, "colour": "red", "number": number, "duration": 0.5}


def avatar(lights: Sequence[Files] = LIGHTS) -> Avatar:
    """Return an avatar with these lights."""
    made = Avatar()
    parents: list[bytes] = []
    for number, files in enumerate(lights):
        text = json.dumps({**light(number), "stdout": "out", "stderr": ""}).encode()
        tree = root(made.repository, sandbox(made.repository, files), text)
        parents = [made.repository.commit(tree, parents, b"%d" % number)]
        made.repository.reference(f"refs/tags/{number}", parents[0])
    made.repository.reference("refs/heads/main", parents[0])
    made.repository.files |= {
        "HEAD": b"ref: refs/heads/main\n",
        "config": b"[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
    }
    newest = {name: content.decode("latin-1") for name, content in lights[-1].items()}
    made.files |= {
        "manifest.json": json.dumps(newest).encode(),
        "increments.json": increments(len(lights)),
        **{f"sandbox/{name}": content for name, content in lights[-1].items()},
    }
    return made


def increments(count: int) -> bytes:
    """Return the increments.json of an avatar with so many lights, the start among them."""
    return json.dumps([light(number) for number in range(count)]).encode()


def root(repository: Repository, sandbox_tree: bytes, light_json: bytes) -> bytes:
    """Add the root tree of a light."""
    blob = repository.add("blob", light_json)
    return repository.tree(
        [(FILE_MODE, b"light.json", blob), (FOLDER_MODE, b"sandbox", sandbox_tree)]
    )


def sandbox(repository: Repository, files: Files) -> bytes:
    """Add the trees and blobs of visible files; return the outermost tree."""
    folders: dict[str, dict[str, bytes]] = {}
    entries = []
    for name, content in files.items():
        folder, slash, rest = name.partition("/")
        if slash:
            folders.setdefault(folder, {})[rest] = content
        else:
            entries.append((FILE_MODE, name.encode(), repository.add("blob", content)))
    for folder, inner in folders.items():
        entries.append((FOLDER_MODE, folder.encode(), sandbox(repository, inner)))
    return repository.tree(sorted(entries, key=lambda entry: entry[1]))


def files_of(avatars: Mapping[str, Avatar], *, packed: bool = False) -> dict[str, bytes]:
    """Return all files of a kata, by path."""
    files = {"manifest.json": json.dumps(manifest()).encode()}
    for name, each in avatars.items():
        git = each.repository.packed() if packed else each.repository.loose()
        files |= {f"{name}/.git/{path}": content for path, content in git.items()}
        files |= {f"{name}/{path}": content for path, content in each.files.items()}
    return files


def tar(files: Files) -> bytes:
    """Return the tar of a kata."""
    return tars.tar_of(tars.of_files(files, PREFIX))


GOOD = tar(files_of({"whale": avatar()}))

_JUNK = st.sampled_from([b"", b"\0" * 100, b"junk\n", b"DIRC\0\0\0\2\0\0\0\1", b"ref: ../../x\n"])


@st.composite
def odd_json(draw: st.DrawFn) -> bytes:
    """Return the tar of a kata with an odd or broken JSON file."""
    made = avatar()
    name = draw(st.sampled_from(strengths.JSON_FILES))
    if name == "light.json":
        number = draw(st.integers(0, 2))
        text = draw(json_values.texts({**light(number), "stdout": "", "stderr": ""}))
        tree = root(made.repository, sandbox(made.repository, LIGHTS[number]), text)
        made.repository.reference(f"refs/tags/{number}", made.repository.commit(tree))
    files = files_of({"whale": made})
    if name == "whale/submission.json":
        files[name] = draw(json_values.texts({}))
    elif name != "light.json":
        files[name] = draw(json_values.texts(json.loads(files[name])))
    return tar(files)


def folders(lights: Sequence[Files] = LIGHTS) -> dict[str, bytes]:
    """Return the files of a legacy kata whose avatar has a folder for each light, and no git."""
    newest = {name: content.decode("latin-1") for name, content in lights[-1].items()}
    files = {
        "manifest.json": json.dumps(manifest()).encode(),
        "whale/manifest.json": json.dumps(newest).encode(),
        "whale/increments.json": increments(len(lights)),
        **{f"whale/sandbox/{name}": content for name, content in lights[-1].items()},
    }
    for number, each in enumerate(lights):
        shown = {name: content.decode("latin-1") for name, content in each.items()}
        files[f"whale/{number}/manifest.json"] = json.dumps({**shown, "output": "out"}).encode()
    return files


@st.composite
def odd_folders(draw: st.DrawFn) -> bytes:
    """Return the tar of such a kata, in which some JSON files are odd, broken, large or gone."""
    files = folders()
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(name for name in files if name.endswith(".json"))))
        match draw(st.sampled_from(["odd", "odd", "odd", "large", "gone"])):
            case "large":
                size = draw(strengths.sizes(100_000, strengths.RECORDED_BYTES, one_in=8))
                content = {"cyber-dojo.sh": "", "large": "x" * size}
                files[name] = json.dumps(content).encode()
            case "gone" if len(files) > 1:
                del files[name]
            case _:
                files[name] = draw(json_values.texts(json.loads(folders()[name])))
    return tar(files)


@st.composite
def odd_git(draw: st.DrawFn) -> bytes:
    """Return the tar of a kata with an odd or broken repository."""
    made = avatar()
    repository = made.repository
    lowest = 0 if strengths.DAMAGED_OLDER_LIGHTS else len(LIGHTS) - 1
    number = draw(st.integers(lowest, len(LIGHTS) - 1))
    for _ in range(draw(st.integers(1, 2))):
        match draw(
            st.sampled_from(["tree", "deep", "tag", "junk", "reference", "object", "large"])
        ):
            case "tree":
                point(repository, number, draw(_odd_trees(repository)))
            case "deep":
                tree = sandbox(repository, LIGHTS[0])
                for _ in range(draw(st.integers(1, strengths.TREE_DEPTH))):
                    tree = repository.tree([(FOLDER_MODE, b"a", tree)])
                point(repository, number, tree)
            case "tag":
                target = draw(st.sampled_from(sorted(repository.objects)))
                kind = draw(st.sampled_from([b"commit", b"tree", b"blob", b"x"]))
                target = repository.tag(target, kind) if draw(st.booleans()) else target
                repository.reference(f"refs/tags/{number}", target)
            case "junk":
                repository.files[draw(st.sampled_from(strengths.JUNK_IN_GIT))] = draw(_JUNK)
            case "reference":
                name = draw(st.sampled_from([*strengths.MORE_REFERENCES, f"refs/tags/{number}"]))
                texts = [b"ref: refs/tags/1\n", b"ref: refs/tags/2\n", b"0" * 40, b"", b"x\n"]
                repository.files[name] = draw(st.sampled_from(texts))
            case "object":
                object_kind = draw(st.sampled_from(["commit", "tree", "blob", "tag"]))
                content = draw(st.sampled_from([b"", b"x", b"tree " + b"0" * 40, b"40000 a\0x"]))
                repository.reference(f"refs/tags/{number}", repository.add(object_kind, content))
            case _:
                size = draw(strengths.sizes(100_000, strengths.EXPANDED_BYTES, one_in=4))
                point(repository, number, sandbox(repository, {"zeros": bytes(size)}))
    packed = draw(st.booleans())
    files = files_of({"whale": made}, packed=packed)
    if draw(st.booleans()):
        paths = sorted(path for path in files if "/objects/" in path)
        # A light that is not read while it comes in would be found to be damaged later.
        paths = paths if strengths.DAMAGED_OLDER_LIGHTS or packed else paths[:1]
        path = draw(st.sampled_from(paths))
        files[path] = draw(tars.mutated_bytes(files[path]))
    return tar(files)


@st.composite
def odd_packs(draw: st.DrawFn) -> bytes:
    """Return the tar of a kata in whose pack files are deltas, which can expand to a lot."""
    made = avatar()
    repository = made.repository
    base = b"x" * 0xFFFF
    name = repository.add("blob", base)
    times = 1 + draw(strengths.sizes(100, strengths.EXPANDED_BYTES // len(base), one_in=8))
    delta, expanded = git_objects.delta_of_copies(base, times)
    if draw(st.booleans()):
        delta = draw(tars.mutated_bytes(delta))
    target = git_objects.object_name("blob", expanded)
    tree = repository.tree([(FILE_MODE, b"large", target)])
    point(repository, len(LIGHTS) - 1, tree)
    files = files_of({"whale": made})
    files = {path: each for path, each in files.items() if "/objects/" not in path}
    git = repository.packed({target: (name, delta)})
    files |= {f"whale/.git/{path}": content for path, content in git.items()}
    return tar(files)


@st.composite
def _odd_trees(draw: st.DrawFn, repository: Repository) -> bytes:
    modes = st.sampled_from([FILE_MODE, b"100755", b"120000", FOLDER_MODE, b"160000", b"0", b"777"])
    names = st.sampled_from([b"hiker.c", b"cyber-dojo.sh", *strengths.TREE_NAMES])
    targets = st.sampled_from([*sorted(repository.objects), b"\1" * 20])
    entries = draw(st.lists(st.tuples(modes, names, targets), max_size=4))
    return repository.tree(entries)


def point(repository: Repository, number: int, tree: bytes) -> None:
    """Let a light's tag lead to a commit with these visible files."""
    text = json.dumps({**light(number), "stdout": "", "stderr": ""}).encode()
    commit = repository.commit(root(repository, tree, text), message=b"%d" % number)
    repository.reference(f"refs/tags/{number}", commit)


def odd_tars() -> st.SearchStrategy[bytes]:
    """Return a good kata in tars whose headers, bytes or compression are odd or broken."""
    members = tars.of_files(files_of({"whale": avatar()}, packed=True), PREFIX)
    mutated = tars.mutated_members(members).map(tars.tar_of)
    return mutated.flatmap(tars.wrapped) | tars.bombs(PREFIX)


@st.composite
def odd_backups(draw: st.DrawFn) -> bytes:
    """Return backups of one kata, whose seal or backup.json is odd or broken."""
    files = {PREFIX + path: each for path, each in files_of({"whale": avatar()}).items()}
    seal = {"kata_id": KATA, "sha256": "0" * 64, "head": {"whale": [2, "0" * 40]}, "size_bytes": 1}
    listed = {"token": "t", "katas": [{"kata_id": KATA, "state": "sent", "sha256": "0" * 64}]}
    named = {f"{PREFIX[:-1]}.json": seal, "backup.json": {**listed, "deleted": ["F0220000A2"]}}
    parts = [*tars.of_files(files)]
    for name, value in named.items():
        parts.append(tars.Member(name, draw(json_values.texts(value))))
    return tars.tar_of(draw(tars.mutated_members(parts)))
