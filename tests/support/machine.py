"""Find what a run of the tests changed on the machine.

Others use the machine at the same time. Their containers come and go, with links, firewall rules
and mounts. Therefore a new thing counts as a change only if it has the run's name, or is in the
run's folder, or is a link or firewall rule that belongs to no container. A missing thing counts
unless it was of a kind that others remove within minutes.
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

# A younger thing may be one that its owner soon removes.
_LASTING_SECONDS = 600

_LINK, _RULE, _SETTING = "network link", "firewall rule", "kernel setting"
# New things of these kinds count even without the run's name, because no container made them.
_ALWAYS_COUNTED = {_LINK, _RULE, _SETTING}

# Links of containers and of engines' networks.
_COMES_AND_GOES = re.compile(r"\b(veth[0-9a-f]{7}|br-[0-9a-f]{12})\b")
# A rule about a single address is about a container, or about a blocked client.
_ONE_ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+\b(?!/(?!32\b))|/128\b|\bip6 [sd]addr [0-9a-f:]+ ")
_COUNTERS = re.compile(r" \[\d+:\d+\]$")
_RULES = (["iptables-save"], ["ip6tables-save"], ["nft", "--stateless", "list", "ruleset"])

# Names of things that runs of these tests and of the benchmarks make.
_RUNS = re.compile(r"/?(test|bench)-[0-9a-f]{6}|127\.0\.0\.1:")
_CONTAINERS_MOUNTS = re.compile(r"/(containers|overlay2|netns)/")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")

_LONG_AGO = "0001-01-01T00:00:00+00:00"

# Settings that engines change.
_SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


@dataclass(frozen=True)
class Thing:
    """Something on the machine: a link, a mount, a container and so on."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Machine:
    """The state of each thing on the machine, and what could not be checked.

    `ours` are the run's own things, `passing` those that others may remove within minutes.
    """

    things: Mapping[Thing, str]
    ours: frozenset[Thing] = frozenset()
    passing: frozenset[Thing] = frozenset()
    unseen: tuple[str, ...] = ()


def changes(before: Machine, after: Machine) -> list[str]:
    """Return what the run changed, as lines for people."""
    found = []
    for thing, state in before.things.items():
        now = after.things.get(thing)
        if now is None:
            if thing not in before.passing:
                found.append(f"{thing} is gone")
        elif now != state:
            found.append(f"{thing} was {state} and is {now}")
    new = after.things.keys() - before.things.keys()
    left = {each for each in new if each in after.ours or each.kind in _ALWAYS_COUNTED}
    return found + sorted(f"{thing} is new" for thing in left)


def changes_that_stay(before: Machine, folder: Path) -> list[str]:
    """Return what the run changed, without what disappears within SETTLE_SECONDS."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := changes(before, look(folder))) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def look(folder: Path) -> Machine:
    """Return the machine's state, for a run of the tests that keeps its files in `folder`."""
    seen = _Seen(folder)
    for kind, add in {
        "network links": _links,
        "firewall rules": _rules,
        "the engine": _engines,
    }.items():
        try:
            add(seen)
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
    """Something can't be checked on this machine. The message says why."""


class _Seen:
    """The things that were found so far."""

    def __init__(self, folder: Path) -> None:
        self.things: dict[Thing, str] = {}
        self.ours: set[Thing] = set()
        self.passing: set[Thing] = set()
        self.unseen: list[str] = []
        self._marks = (test_run.name(), f"{folder}/")

    def is_ours(self, *texts: str) -> bool:
        """Return whether one of the texts has the run's name or folder."""
        return any(mark in text for mark in self._marks for text in texts)

    def add(self, kind: str, name: str, state: str = "", *, is_ours: bool = False) -> None:
        """Add a thing and its state."""
        thing = Thing(kind, name)
        self.things[thing] = state
        if is_ours:
            self.ours.add(thing)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise _UnseenError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise _UnseenError(f"{command[0]} says {error.stderr.strip()}") from error
    return done.stdout


def _links(seen: _Seen) -> None:
    for link in json.loads(_output(["ip", "-json", "address"])):
        name = link["ifname"]
        is_ours = seen.is_ours(name)
        if _COMES_AND_GOES.match(name) or (_RUNS.match(name) and not is_ours):
            continue
        # Link-local addresses appear with the first container, and dynamic ones are renewed.
        addresses = sorted(
            f"{each['local']}/{each['prefixlen']}"
            for each in link["addr_info"]
            if each["scope"] != "link" and not each.get("dynamic")
        )
        up = "up" if "UP" in link["flags"] else "down"
        state = " ".join([up, f"mtu {link['mtu']}", *addresses])
        seen.add(_LINK, name, state, is_ours=is_ours)


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
    """Return the rules that belong to no container, with their tables and chains.

    `text` is the output of iptables-save or `nft list ruleset`.
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
        mount, _, source = line.partition(" - ")
        _, _, _, root, place, options, *propagation = mount.split()
        kind = source.split()[0]
        is_ours = seen.is_ours(place)
        others = kind in {"overlay", "nsfs"} or _CONTAINERS_MOUNTS.search(place)
        if is_ours or not (others or _is_temporary(place)):
            shared = [each.partition(":")[0] for each in propagation]
            state = " ".join([root, source, options, *shared])
            seen.add("mount", place, state, is_ours=is_ours)


def _loop_devices(seen: _Seen) -> None:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # the device has just been detached
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
        with contextlib.suppress(OSError):  # the process has just ended
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
    """Yield everything in the engine that has a name: kind, name, labels, time of creation."""
    for each in engine.api.containers(all=True):
        created = datetime.fromtimestamp(each["Created"], UTC)
        yield "container", each["Names"][0].removeprefix("/"), each["Labels"] or {}, created
    for each in engine.api.volumes()["Volumes"] or []:
        yield "volume", each["Name"], each["Labels"] or {}, _time(each, "CreatedAt")
    for each in engine.api.networks():
        yield "network", each["Name"], each["Labels"] or {}, _time(each, "Created")
    for each in engine.api.images():
        for name in set(each["RepoTags"] or []) - {"<none>:<none>"}:
            with contextlib.suppress(
                docker.errors.ImageNotFound
            ):  # the image has just been removed
                named = engine.api.inspect_image(name)["Metadata"]
                yield "image", name, {}, _time(named, "LastTagTime")


def _time(inspected: Mapping[str, Any], key: str) -> datetime:
    """Return a time; one long ago if the engine does not know the time."""
    found = datetime.fromisoformat(inspected.get(key) or _LONG_AGO)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_lasting(name: str, labels: Mapping[str, str], created: datetime) -> bool:
    """Return whether something is likely to be there in some minutes."""
    if LABEL in labels or _RUNS.match(name) or _ANONYMOUS.fullmatch(name):
        return False
    return (datetime.now(UTC) - created).total_seconds() > _LASTING_SECONDS
