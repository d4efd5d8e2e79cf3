"""`cyber-dojo status`: how both services are."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click
import grpc

from cli import exits
from cli.client import connect
from cli.parameters import Address
from cli.storer_command import (
    RUNNER_ADDRESS,
    Session,
    default_address,
    storer_command,
)
from cli.terminal.complaint import complain
from cli.terminal.lights import time_json, time_of
from cli.terminal.quantities import counted, size
from cli.terminal.screen import Piece, Screen
from cyberdojo.status.v1 import status_pb2, status_pb2_grpc

_SECONDS = 10.0
_LABEL_COLUMNS = 12
_ORIGINS = {
    status_pb2.SETTING_ORIGIN_DEFAULT: "default",
    status_pb2.SETTING_ORIGIN_ENVIRONMENT: "environment",
    status_pb2.SETTING_ORIGIN_FILE: "file",
}


@storer_command
@click.option(
    "--runner",
    type=Address(),
    metavar="HOST:PORT",
    default=lambda: default_address(RUNNER_ADDRESS, "CYBER_DOJO_RUNNER_PORT"),
    envvar="CYBER_DOJO_RUNNER",
    show_default=RUNNER_ADDRESS,
    show_envvar=True,
    help="The runner's address.",
)
@click.option("--settings", is_flag=True, help="Show all settings, those with their default too.")
def command(session: Session, runner: str, *, settings: bool) -> int:
    """Show the version, the settings and the work of both services, and what they wait for.

    Settings that nobody set are left out. Exits with 4 if a service, or its docker engine, does not
    answer.
    """
    worst = exits.GOOD
    for name, address in (("storer", session.client.address), ("runner", runner)):
        with closing(connect(address, session.settings).channel) as channel:
            stub = status_pb2_grpc.StatusServiceStub(channel)
            try:
                status = stub.GetStatus(status_pb2.GetStatusRequest(), timeout=_SECONDS)
            except grpc.RpcError as error:
                worst = max(worst, exits.code_of(error))
                complain(exits.message_of(error, address, name))
                continue
        if not status.engine_answers:
            worst = max(worst, exits.UNAVAILABLE)
        kind = status.WhichOneof("service") or "unknown"
        if session.screen.as_json:
            session.screen.record({"service": kind, "address": address, **_json(status)})
        else:
            _show(session.screen, kind, address, status, with_defaults=settings)
    return worst


def _show(
    screen: Screen,
    kind: str,
    address: str,
    status: status_pb2.GetStatusResponse,
    *,
    with_defaults: bool,
) -> None:
    started = f"since {time_of(status.started)}"
    screen.say((kind, "bold"), f" {status.version} at {address}, {started}")
    if not status.engine_answers:
        _line(screen, "engine", ("does not answer", "red"))
    if kind == "storer":
        _show_storer(screen, status.storer)
    elif kind == "runner":
        _show_runner(screen, status.runner)
    for disk in status.disks:
        room = f"{size(disk.free_bytes)} of {size(disk.size_bytes)} free"
        _line(screen, "disk", f"{disk.what}: {room}, at {disk.path}")
    for each in status.settings:
        origin = _ORIGINS.get(each.origin, "unknown")
        if with_defaults or each.origin != status_pb2.SETTING_ORIGIN_DEFAULT:
            value = "(secret)" if each.secret else each.value
            _line(screen, "setting", f"{each.name}={value} ", (f"({origin})", "dim"))


def _show_storer(screen: Screen, storer: status_pb2.StorerStatus) -> None:
    calls = counted(storer.active_call_count, "call")
    _line(screen, "katas", f"{storer.data_container_count} in data-containers, {calls} in progress")
    if storer.archive:
        waiting = ""
        if storer.HasField("archive_lag"):
            seconds = storer.archive_lag.ToTimedelta().total_seconds()
            count = counted(storer.uncopied_kata_count, "kata")
            waiting = f": {count} not copied yet, the oldest for {seconds:.0f} s"
        _line(screen, "archive", f"{storer.archive}{waiting}")
    if storer.archive_problem:
        _line(screen, "archive", (storer.archive_problem, "red"))
    if not storer.HasField("last_backup"):
        _line(screen, "backup", "none that the storer remembers")
        return
    failed = storer.last_backup.failed_count
    lacks = (f", without {counted(failed, 'kata')} that could not be read", "red")
    _line(screen, "backup", time_of(storer.last_backup.finished), lacks if failed else "")


def _show_runner(screen: Screen, runner: status_pb2.RunnerStatus) -> None:
    running = f"{runner.running_count} of at most {runner.max_running_count} in progress"
    _line(screen, "runs", f"{running}, {runner.waiting_count} waiting")
    starting = f"{runner.starting_container_count} starting"
    _line(screen, "containers", f"{runner.warm_container_count} waiting for a run, {starting}")


def _line(screen: Screen, label: str, *pieces: Piece) -> None:
    screen.say(f"  {label:<{_LABEL_COLUMNS}}", *pieces)


def _json(status: status_pb2.GetStatusResponse) -> dict[str, Any]:
    common: dict[str, Any] = {
        "version": status.version,
        "started": time_json(status.started),
        "engine_answers": status.engine_answers,
        "disks": [
            {
                "what": each.what,
                "path": each.path,
                "free_bytes": each.free_bytes,
                "size_bytes": each.size_bytes,
            }
            for each in status.disks
        ],
        "settings": [
            {
                "name": each.name,
                "value": None if each.secret else each.value,
                "origin": _ORIGINS.get(each.origin, "unknown"),
                "secret": each.secret,
            }
            for each in status.settings
        ],
    }
    if status.HasField("storer"):
        storer = status.storer
        backup = storer.last_backup if storer.HasField("last_backup") else None
        lag = storer.archive_lag if storer.HasField("archive_lag") else None
        return {
            **common,
            "data_containers": storer.data_container_count,
            "active_calls": storer.active_call_count,
            "archive": storer.archive or None,
            "uncopied_katas": storer.uncopied_kata_count,
            "archive_lag_seconds": lag.ToTimedelta().total_seconds() if lag else None,
            "archive_problem": storer.archive_problem or None,
            "last_backup": backup
            and {"finished": time_json(backup.finished), "failed": backup.failed_count},
        }
    runner = status.runner
    return {
        **common,
        "running": runner.running_count,
        "max_running": runner.max_running_count,
        "waiting": runner.waiting_count,
        "warm_containers": runner.warm_container_count,
        "starting_containers": runner.starting_container_count,
    }
