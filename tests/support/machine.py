"""What the machine has that a run of the tests could change, and what it did change.

Others use the machine meanwhile. Their containers come and go, and so do the links, firewall rules
and mounts of these. Therefore a new thing counts if it has the run's name, or is in the run's
folder, or is a link or a firewall rule of no container. A thing that is gone counts unless it was
of a kind that others take away within minutes.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker.errors

from dojo.engine.client import Engine, translating_errors
from dojo.errors import EngineUnavailable
from dojo.naming import LABEL
from dojo.service.settings import BadSettings, CommonSettings, load
from support import test_run

SETTLE_SECONDS = 10

# What is younger may be of some use for a moment only.
_LASTING_SECONDS = 600

_LINK, _RULE, _SETTING = "network link", "firewall rule", "kernel setting"
# Whoever made a new one of these, it was no container.
_SYMMETRICAL = {_LINK, _RULE, _SETTING}

# Links of containers and of engines' networks.
_COMES_AND_GOES = re.compile(r"\b(veth[0-9a-f]{7}|br-[0-9a-f]{12})\b")
# A rule about one address is about a container, or about somebody who is shut out.
_ONE_ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+\b(?!/(?!32\b))|/128\b|\bip6 [sd]addr [0-9a-f:]+ ")
_COUNTERS = re.compile(r" \[\d+:\d+\]$")
_RULES = (["iptables-save"], ["ip6tables-save"], ["nft", "--stateless", "list", "ruleset"])

# Of runs of these tests and of benchmarks.
_RUNS = re.compile(r"/?(test|bench)-[0-9a-f]{6}|127\.0\.0\.1:")
_CONTAINERS_MOUNTS = re.compile(r"/(containers|overlay2|netns)/")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")

_LONG_AGO = "0001-01-01T00:00:00+00:00"

# Engines set these.
_SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


@dataclass(frozen=True)
class Thing:
    """Something that a machine has."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Machine:
    """How everything is that a machine has, and what could not be seen.

    `ours` is what is the run's, `passing` what others may take away within minutes.
    """

    things: Mapping[Thing, str]
    ours: frozenset[Thing] = frozenset()
    passing: frozenset[Thing] = frozenset()
    unseen: tuple[str, ...] = ()


def changes(before: Machine, after: Machine) -> list[str]:
    """Return what the run changed, in words."""
    found = []
    for thing, state in before.things.items():
        now = after.things.get(thing)
        if now is None:
            if thing not in before.passing:
                found.append(f"{thing} is gone")
        elif now != state:
            found.append(f"{thing} was {state} and is {now}")
    new = after.things.keys() - before.things.keys()
    left = {each for each in new if each in after.ours or each.kind in _SYMMETRICAL}
    return found + sorted(f"{thing} is new" for thing in left)


def changes_that_stay(before: Machine, folder: Path) -> list[str]:
    """Return what the run changed, but for what goes within seconds, as what was stopped does."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := changes(before, look(folder))) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def look(folder: Path) -> Machine:
    """Look at the machine, as a run of the tests that keeps its files in `folder`."""
    seen = _Seen(folder)
    for kind, what in {
        "network links": _links,
        "firewall rules": _rules,
        "the engine": _engines,
    }.items():
        try:
            what(seen)
        except _UnseenError as error:
            seen.unseen.append(f"{kind}: {error}")
    for setting in _SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            seen.add(_SETTING, setting, Path("/proc/sys", setting).read_text().strip())
    _mounts(seen)
    _loop_devices(seen)
    _control_groups(seen)
    _processes(seen)
    return Machine(seen.things, frozenset(seen.ours), frozenset(seen.passing), tuple(seen.unseen))


class _UnseenError(Exception):
    """Something can't be looked at here; says why."""


class _Seen:
    """What was seen so far."""

    def __init__(self, folder: Path) -> None:
        self.things: dict[Thing, str] = {}
        self.ours: set[Thing] = set()
        self.passing: set[Thing] = set()
        self.unseen: list[str] = []
        self._marks = (test_run.name(), f"{folder}/")

    def is_ours(self, *texts: str) -> bool:
        """Say whether something is the run's, which has such names."""
        return any(mark in text for mark in self._marks for text in texts)

    def add(self, kind: str, name: str, state: str = "", *, is_ours: bool = False) -> None:
        """Take note of something."""
        thing = Thing(kind, name)
        self.things[thing] = state
        if is_ours:
            self.ours.add(thing)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise _UnseenError(f"{command[0]} is not there") from error
    except subprocess.CalledProcessError as error:
        raise _UnseenError(f"{command[0]} says {error.stderr.strip()}") from error
    return done.stdout


def _links(seen: _Seen) -> None:
    for link in json.loads(_output(["ip", "-json", "address"])):
        if _COMES_AND_GOES.match(link["ifname"]):
            continue
        # Addresses of a link's own appear with the first container on it, others are renewed.
        addresses = sorted(
            f"{each['local']}/{each['prefixlen']}"
            for each in link["addr_info"]
            if each["scope"] != "link" and not each.get("dynamic")
        )
        up = "up" if "UP" in link["flags"] else "down"
        seen.add(_LINK, link["ifname"], " ".join([up, f"mtu {link['mtu']}", *addresses]))


def _rules(seen: _Seen) -> None:
    failures = []
    for command in _RULES:
        try:
            text = _output(command)
        except _UnseenError as error:
            failures.append(str(error))
        else:
            for rule in firewall_rules(text):
                seen.add(_RULE, f"{command[0]}: {rule}")
    if len(failures) == len(_RULES):
        raise _UnseenError(", ".join(failures))


def firewall_rules(text: str) -> set[str]:
    """Return the rules, with their tables and chains, that are nobody's containers'.

    `text` is what iptables-save or `nft list ruleset` says.
    """
    rules = set()
    table = chain = ""
    for line in text.splitlines():
        rule = _COUNTERS.sub("", line.strip())
        if rule.startswith(("*", "table ")):
            table, chain = rule.removesuffix(" {"), ""
        elif rule.startswith("chain "):
            chain = f" {rule.removesuffix(' {')}"
        if rule.startswith("#") or rule in {"", "}", "COMMIT"}:
            continue
        if not _COMES_AND_GOES.search(rule) and not _ONE_ADDRESS.search(rule):
            rules.add(f"{table}{chain}: {rule}")
    return rules


def _mounts(seen: _Seen) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        told, _, source = line.partition(" - ")
        _, _, _, root, place, options, *propagation = told.split()
        kind = source.split()[0]
        is_ours = seen.is_ours(place)
        others = kind in {"overlay", "nsfs"} or _CONTAINERS_MOUNTS.search(place)
        if is_ours or not (others or _is_temporary(place)):
            shared = [each.partition(":")[0] for each in propagation]
            state = " ".join([root, source, options, *shared])
            seen.add("mount", place, state, is_ours=is_ours)


def _loop_devices(seen: _Seen) -> None:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # it was detached meanwhile
            file = backing.read_text().strip()
            is_ours = seen.is_ours(file)
            if is_ours or not _is_temporary(file):
                seen.add("loop device", backing.parts[3], file, is_ours=is_ours)


def _is_temporary(path: str) -> bool:
    return path.startswith(("/tmp/", "/var/tmp/", f"{tempfile.gettempdir()}/"))  # noqa: S108 - others'


def _control_groups(seen: _Seen) -> None:
    top = Path("/sys/fs/cgroup")
    for group in (*top.glob(f"{test_run.name()}*"), *top.glob(f"*/{test_run.name()}*")):
        seen.add("control group", str(group), is_ours=True)


def _processes(seen: _Seen) -> None:
    wanted = f"{test_run.VARIABLE}={test_run.name()}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if wanted in environ.read_bytes().split(b"\0"):
                command = environ.with_name("cmdline").read_bytes().replace(b"\0", b" ")
                name = f"{environ.parent.name} {command.decode(errors='replace')[:200]}"
                seen.add("process", name, is_ours=True)


def _engines(seen: _Seen) -> None:
    try:
        settings = load(CommonSettings, os.environ)
        engine = Engine(settings.engine)
    except (BadSettings, EngineUnavailable) as error:
        raise _UnseenError(str(error)) from error
    with contextlib.closing(engine), translating_errors():
        for kind, name, labels, created in _in_engine(engine):
            seen.add(kind, name, is_ours=seen.is_ours(name, labels.get(LABEL, "")))
            if not _is_lasting(name, labels, created):
                seen.passing.add(Thing(kind, name))


_InEngine = tuple[str, str, Mapping[str, str], datetime]


def _in_engine(engine: Engine) -> Iterator[_InEngine]:
    """Yield everything in the engine that has a name: its kind, name, labels, and age."""
    for each in engine.api.containers(all=True):
        created = datetime.fromtimestamp(each["Created"], UTC)
        yield "container", each["Names"][0].removeprefix("/"), each["Labels"] or {}, created
    for each in engine.api.volumes()["Volumes"] or []:
        yield "volume", each["Name"], each["Labels"] or {}, _time(each, "CreatedAt")
    for each in engine.api.networks():
        yield "network", each["Name"], each["Labels"] or {}, _time(each, "Created")
    for each in engine.api.images():
        for name in set(each["RepoTags"] or []) - {"<none>:<none>"}:
            with contextlib.suppress(docker.errors.ImageNotFound):  # it is gone meanwhile
                named = engine.api.inspect_image(name)["Metadata"]
                yield "image", name, {}, _time(named, "LastTagTime")


def _time(told: Mapping[str, Any], key: str) -> datetime:
    """Return a time; one long ago if the engine does not know it."""
    found = datetime.fromisoformat(told.get(key) or _LONG_AGO)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_lasting(name: str, labels: Mapping[str, str], created: datetime) -> bool:
    """Say whether something can be expected to be there in some minutes still."""
    if LABEL in labels or _RUNS.match(name) or _ANONYMOUS.fullmatch(name):
        return False
    return (datetime.now(UTC) - created).total_seconds() > _LASTING_SECONDS
