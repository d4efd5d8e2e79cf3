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
from dojo import image_names
from dojo.engine.client import Engine
from dojo.engine.volumes import VolumesOutOfSight
from dojo.errors import DojoError, InvalidArgument
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


def main(options: Options) -> int:
    """Replay, and return the exit code."""
    screen = Screen()
    try:
        journal = Journal(options.state, is_fresh=options.is_fresh)
    except ReplayStopped as error:
        return _say(str(error), COULD_NOT_GO_ON)
    try:
        if options.show and _show(screen, options, journal):
            return ENOUGH_SAME
        if options.show and not (options.sources or options.storer):
            return _say(
                f"the light is not in the journal {options.state}: name a SOURCE to run it from",
                CALLED_WRONGLY,
            )
        found = recorded.find(options.sources)
        with _interruptible():
            return _replay(screen, options, found, journal)
    except (NothingToReplay, BadSettings) as error:
        return _say(str(error), CALLED_WRONGLY)
    except (ReplayStopped, Refused, DojoError, VolumesOutOfSight) as error:
        return _say(str(error), COULD_NOT_GO_ON)
    except docker.errors.APIError as error:
        return _say(f"the docker engine refuses: {error.explanation}", COULD_NOT_GO_ON)
    except KeyboardInterrupt:
        return _say("interrupted: run the same command again to resume", INTERRUPTED)
    finally:
        journal.close()


def _replay(screen: Screen, options: Options, found: recorded.Found, journal: Journal) -> int:
    settings = load(CommonSettings, os.environ)
    log.configure("error")
    data_containers = serving.connect(replace(settings, namespace=namespace(settings.namespace)))
    _require_candidates(data_containers.engine, options)
    progress = Progress()
    status = ENOUGH_SAME
    with ExitStack() as stack:
        scratch = stack.enter_context(workplace(data_containers))
        directories, damaged = _directories(found, scratch)
        for each in damaged:
            progress.say(each.reason)
        mounted = start_points.prepare(options.start_points, scratch)
        services = pair.ServiceOptions(data_containers.namespace, mounted, options.jobs)
        private, storers = pair.start(services, directories, options.storer, settings, stack)
        session = Session(options, private, data_containers.engine, journal, progress)
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
            progress.say("interrupted: cleaning up")
    if options.show:
        return status or _tell_shown(screen, options, journal, session.outcomes)
    return _report(screen, options, session, status)


def _require_candidates(engine: Engine, options: Options) -> None:
    """Raise NothingToReplay if the engine lacks an image that shall replace another."""
    for replaced, candidate in options.replacements.items():
        try:
            is_here = engine.has_image(image_names.tagged(image_names.check(candidate)))
        except InvalidArgument as error:
            raise NothingToReplay(f"--replace {replaced}={candidate}: {error.reason}") from error
        if not is_here:
            raise NothingToReplay(
                f"--replace {replaced}={candidate}: the image {candidate} is not on this host; "
                "docker images lists those that are"
            )


def _directories(found: recorded.Found, scratch: Path) -> tuple[list[Path], list[Skipped]]:
    """Return the katas directories, one of them with the unpacked tars, and the damaged tars."""
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


def _report(screen: Screen, options: Options, session: Session, status: int) -> int:
    """Write the report; return the exit code."""
    ordered = sorted(session.outcomes, key=lambda each: (each.kata_id, each.avatar, each.number))
    counts = counting.count(ordered)
    table.show(screen, counts)
    screen.flush()
    if options.json is not None:
        names = [options.storer] if options.storer else [str(each) for each in options.sources]
        value = counting.to_json(counts, session.katas, names)
        value["is_complete"] = status == ENOUGH_SAME
        options.json.write_text(json.dumps(value, indent=1) + "\n")
    if status != ENOUGH_SAME:
        return _say("not everything was replayed: run the same command again to resume", status)
    together = counting.total(counts.values())
    percent = counting.same_percent(together)
    if percent is None:
        return _say("no light ran", TOO_FEW_SAME)
    if counting.ran_percent(together) < options.min_ran:
        return _say(
            f"{together.lights - together.ran} of {together.lights} lights did not run, for the "
            "reasons above; --min-ran says how many have to",
            TOO_FEW_SAME,
        )
    return ENOUGH_SAME if percent >= options.min_same else TOO_FEW_SAME


def _show(screen: Screen, options: Options, journal: Journal) -> bool:
    """Show the light that --show names, if it is in the journal; return whether it is."""
    if options.show is None:
        return False
    ran = journal.find(options.show.kata_id, options.show.avatar, options.show.number)
    if ran is None:
        return False
    light.show(screen, ran)
    screen.flush()
    return True


def _tell_shown(screen: Screen, options: Options, journal: Journal, outcomes: list[Outcome]) -> int:
    if _show(screen, options, journal):
        return ENOUGH_SAME
    reasons = {each.reason for each in outcomes if not isinstance(each, Ran)}
    return _say("; ".join(sorted(reasons)) or "there is no such light", TOO_FEW_SAME)


def _say(text: str, status: int) -> int:
    complain(text)
    return status


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt; ignore more during the clean-up."""

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
