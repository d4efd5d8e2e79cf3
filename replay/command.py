"""A replay, from its options to its exit code."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import docker.errors

from cli.terminal.complaint import PROGRAM, complain
from cli.terminal.screen import Screen
from dojo.engine.volumes import VolumesOutOfSight
from dojo.errors import DojoError
from dojo.service import log, serving
from dojo.service.settings import BadSettings, CommonSettings, load
from replay.calls import Refused
from replay.errors import NothingToReplay, ReplayStopped
from replay.journal import Journal
from replay.options import Options
from replay.outcomes import Outcome, Ran, Skipped
from replay.report import counts as counting
from replay.report import light, table
from replay.report.progress import Progress
from replay.services import pair, start_points
from replay.services.workplace import namespace, workplace
from replay.session import Session
from replay.sources import recorded, tars

ENOUGH_SAME, TOO_FEW_SAME, CALLED_WRONGLY, COULD_NOT_GO_ON, INTERRUPTED = 0, 1, 2, 3, 130


def main(told: Options) -> int:
    """Replay, and return the exit code."""
    screen = Screen()
    try:
        journal = Journal(told.state, is_fresh=told.is_fresh)
    except ReplayStopped as error:
        return _say(str(error), COULD_NOT_GO_ON)
    try:
        if told.show and _show(screen, told, journal):
            return ENOUGH_SAME
        if told.show and not (told.sources or told.storer):
            return _say(f"the light is not in the journal {told.state}; name a SOURCE", 2)
        found = recorded.find(told.sources)
        with _interruptible():
            return _replay(screen, told, found, journal)
    except (NothingToReplay, BadSettings) as error:
        return _say(str(error), CALLED_WRONGLY)
    except (ReplayStopped, Refused, DojoError, VolumesOutOfSight) as error:
        return _say(str(error), COULD_NOT_GO_ON)
    except docker.errors.APIError as error:
        return _say(f"the docker engine refuses: {error.explanation}", COULD_NOT_GO_ON)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here", INTERRUPTED)
    finally:
        journal.close()


def _replay(screen: Screen, told: Options, found: recorded.Found, journal: Journal) -> int:
    settings = load(CommonSettings, os.environ)
    log.configure("error")
    data_containers = serving.connect(replace(settings, namespace=namespace(settings.namespace)))
    progress = Progress()
    status = ENOUGH_SAME
    with ExitStack() as stack:
        scratch = stack.enter_context(workplace(data_containers))
        directories, damaged = _directories(found, scratch)
        for each in damaged:
            progress.say(each.reason)
        mounted = start_points.prepare(told.start_points, scratch)
        services = pair.Told(data_containers.namespace, mounted, told.jobs)
        private, storers = pair.start(services, directories, told.storer, stack)
        session = Session(told, private, data_containers.engine, journal, progress)
        session.outcomes += damaged
        try:
            session.run(storers)
        except KeyboardInterrupt:
            status = INTERRUPTED
        except (ReplayStopped, DojoError, docker.errors.APIError) as error:
            status = COULD_NOT_GO_ON
            progress.say(f"{PROGRAM}: {error}")
        progress.end()
        if status == INTERRUPTED:
            progress.say("interrupted; tidying up")
    if told.show:
        return status or _tell_shown(screen, told, journal, session.outcomes)
    return _report(screen, told, session, status)


def _directories(found: recorded.Found, scratch: Path) -> tuple[list[Path], list[Skipped]]:
    """Return the katas directories, unpacking the tars into one; and what of those is damaged."""
    if not found.tars:
        return found.directories, []
    unpacked = scratch / "katas"
    unpacked.mkdir()
    problems = [(tar, tars.unpack(tar, unpacked)) for tar in found.tars]
    damaged = [
        Skipped("", "", 0, "", None, f"the tar {tar} {problem}")
        for tar, problem in problems
        if problem
    ]
    return [*found.directories, unpacked], damaged


def _report(screen: Screen, told: Options, session: Session, status: int) -> int:
    """Tell what it came to; return the exit status."""
    ordered = sorted(session.outcomes, key=lambda each: (each.kata_id, each.avatar, each.number))
    counts = counting.count(ordered)
    table.show(screen, counts)
    screen.flush()
    if told.json is not None:
        names = [told.storer] if told.storer else [str(each) for each in told.sources]
        value = counting.to_json(counts, session.katas, names)
        value["is_complete"] = status == ENOUGH_SAME
        told.json.write_text(json.dumps(value, indent=1) + "\n")
    if status != ENOUGH_SAME:
        return _say("not everything was replayed; the same command goes on from here", status)
    percent = counting.same_percent(counting.total(counts.values()))
    if percent is None:
        return _say("no light ran", TOO_FEW_SAME)
    return ENOUGH_SAME if percent >= told.min_same else TOO_FEW_SAME


def _show(screen: Screen, told: Options, journal: Journal) -> bool:
    """Show the light that was asked for, if it is in the journal; say whether it is."""
    if told.show is None:
        return False
    ran = journal.find(told.show.kata_id, told.show.avatar, told.show.number)
    if ran is None:
        return False
    light.show(screen, ran)
    screen.flush()
    return True


def _tell_shown(screen: Screen, told: Options, journal: Journal, outcomes: list[Outcome]) -> int:
    if _show(screen, told, journal):
        return ENOUGH_SAME
    reasons = {each.reason for each in outcomes if not isinstance(each, Ran)}
    return _say("; ".join(sorted(reasons)) or "there is no such light", TOO_FEW_SAME)


def _say(text: str, status: int) -> int:
    complain(text)
    return status


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt; tidying up is not interrupted."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
