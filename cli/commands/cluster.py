"""`cyber-dojo cluster`: the machines of an installation that has several."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import click
import grpc

from cli import exits, machine_images
from cli.client import connect
from cli.storer_command import Session, json_fields, storer_command
from cli.terminal.complaint import complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import counted
from cli.terminal.tables import Column, Table
from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc

_SECONDS = 10.0


@click.group()
def command() -> None:
    """Show the machines of an installation, and take one out of it."""


@json_fields(
    *("name", "storer", "runner", "version", "draining", "katas"),
    *("uncopied_katas", "archive_lag_seconds", "problem"),
)
def _status(session: Session) -> int:
    """Show the machines that live: their katas, what the archive lacks of them, what is wrong.

    Exits with 1 if something is wrong with one of them, or with etcd.
    """
    stub = machines_pb2_grpc.MachinesServiceStub(session.client.channel)
    found = stub.ListMachines(machines_pb2.ListMachinesRequest(), timeout=_SECONDS)
    screen = session.screen
    if screen.as_json:
        for each in found.machines:
            screen.record(_json(each))
    elif not found.machines:
        screen.say("this is the only machine")
    else:
        table = Table(
            Column("MACHINE"), Column("STATE"), Column("KATAS", is_right=True), Column("ARCHIVE")
        )
        for each in found.machines:
            table.add(each.name, _state(each), str(each.kata_count), _archive(each))
        table.show(screen)
        if found.free_kata_count:
            free = counted(found.free_kata_count, "kata")
            screen.say(f"{free} on no machine: the next one that is asked takes each")
    problems = [f"{each.name}: {each.problem}" for each in found.machines if each.problem]
    problems += [found.problem] if found.problem else []
    for problem in problems:
        complain(problem)
    return exits.FOUND if problems else exits.GOOD


def _state(machine: machines_pb2.Machine) -> str:
    if not machine.version:
        return "does not answer"
    return "draining" if machine.draining else "up"


def _archive(machine: machines_pb2.Machine) -> str:
    if not machine.HasField("archive_lag"):
        return "has all" if machine.version else "unknown"
    seconds = machine.archive_lag.ToTimedelta().total_seconds()
    count = counted(machine.uncopied_kata_count, "kata")
    return f"lacks lights of {count}, the oldest for {seconds:.0f} s"


def _json(machine: machines_pb2.Machine) -> dict[str, object]:
    lag = machine.archive_lag if machine.HasField("archive_lag") else None
    return {
        "name": machine.name,
        "storer": machine.storer,
        "runner": machine.runner or None,
        "version": machine.version or None,
        "draining": machine.draining,
        "katas": machine.kata_count,
        "uncopied_katas": machine.uncopied_kata_count,
        "archive_lag_seconds": lag.ToTimedelta().total_seconds() if lag else None,
        "problem": machine.problem or None,
    }


@click.argument("machine")
def _drain(session: Session, machine: str) -> int:
    """Have a machine take no more katas, and give up those that it has.

    The others take each with its next call. `cluster status` tells how many are left. The machine
    takes katas again after `undrain`, or when its storer is started again.
    """
    return _set(session, machine, end=False)


@click.argument("machine")
def _undrain(session: Session, machine: str) -> int:
    """Have a machine that is being drained take katas again."""
    return _set(session, machine, end=True)


def _set(session: Session, machine: str, *, end: bool) -> int:
    stub = machines_pb2_grpc.MachinesServiceStub(session.client.channel)
    stub.DrainMachine(machines_pb2.DrainMachineRequest(name=machine, end=end), timeout=_SECONDS)
    if session.screen.as_json:
        session.screen.record({"name": machine, "draining": not end})
    else:
        session.screen.say(f"{machine} {'takes katas again' if end else 'is being drained'}")
    return exits.GOOD


def _accept_etcd(session: Session) -> int:
    """Have katas used again after etcd lost its data.

    For katas that are refused by ETCD_BEHIND: etcd is a new one, or was restored from a snapshot.
    First start all machines that still have their disks. Lights that only the lost etcd had stay
    lost.
    """
    stub = machines_pb2_grpc.MachinesServiceStub(session.client.channel)
    accepted = stub.AcceptEtcd(machines_pb2.AcceptEtcdRequest(), timeout=_SECONDS)
    if session.screen.as_json:
        session.screen.record({"generation": accepted.generation})
    else:
        session.screen.say(f"etcd is accepted, as generation {accepted.generation}")
    return exits.GOOD


@json_fields("image", "machines")
def _images(session: Session) -> int:
    """Show the images that some machines lack, or that are others of the same name there.

    A kata can come to any machine. Exits with 1 if not all have the same images and start points.
    """
    machines = machine_images.machines_of(session)
    screen = session.screen
    if not machines:
        screen.say("this is the only machine")
        return exits.GOOD
    found = machine_images.look(session, machines)
    unequal = found.unequal()
    names = [each.name for each in machines]
    if screen.as_json:
        for image in unequal:
            ids = found.ids[image]
            screen.record({"image": image, "machines": {each: ids.get(each) for each in names}})
    elif unequal:
        table = Table(Column("IMAGE"), *(Column(each) for each in names))
        for image in unequal:
            table.add(image, *(_short(found.ids[image].get(each)) for each in names))
        table.show(screen)
    if not screen.as_json:
        same = counted(len(found.ids) - len(unequal), "image")
        screen.say(f"{same} the same on {', '.join(names)}")
        if nowhere := found.nowhere():
            screen.say(f"{counted(len(nowhere), 'image')} of start points on no machine")
    odd = found.odd_start_points()
    for each in odd:
        complain(f"{each}: its start points are others than those of {names[0]}")
    return exits.FOUND if unequal or odd else exits.GOOD


def _short(image_id: str | None) -> str:
    return "missing" if image_id is None else image_id.removeprefix("sha256:")[:12]


@click.argument("images", metavar="[IMAGE]...", nargs=-1)
def _pull(session: Session, images: tuple[str, ...]) -> int:
    """Pull images on all machines, from their registry or from where the names say.

    Without IMAGE, those that `cluster images` shows. Exits with 1 if a machine could not.
    """
    machines = machine_images.machines_of(session)
    if not machines:
        raise click.UsageError("this is the only machine")
    wanted = list(images) or machine_images.look(session, machines).unequal()
    worst = exits.GOOD
    for image in wanted:
        with session.progress() as progress, ThreadPoolExecutor(len(machines)) as threads:
            pull = partial(_pull_on, session, image, progress)
            problems = list(threads.map(pull, machines))
        for machine, problem in zip(machines, problems, strict=True):
            if problem:
                worst = exits.FOUND
                complain(f"{machine.name}: {image}: {problem}")
            elif session.screen.as_json:
                session.screen.record({"image": image, "machine": machine.name})
            else:
                session.screen.say(f"{machine.name}: {image} is there")
    return worst


def _pull_on(
    session: Session, image: str, progress: Progress, machine: machines_pb2.Machine
) -> str:
    """Pull an image on a machine; return why it could not be done, "" if it was."""
    with closing(connect(machine.runner, session.settings).channel) as channel:
        stub = runner_pb2_grpc.RunnerServiceStub(channel)
        try:
            for part in stub.PullImage(runner_pb2.PullImageRequest(image_name=image, newest=True)):
                progress.show(f"{machine.name}: {image}: {part.layer} {part.status}")
        except grpc.RpcError as error:
            return exits.message_of(error, machine.runner, "runner")
    return ""


_COMMANDS: dict[str, Callable[..., int]] = {
    "status": _status,
    "drain": _drain,
    "undrain": _undrain,
    "images": _images,
    "pull": _pull,
    "accept-etcd": _accept_etcd,
}
for _name, _run in _COMMANDS.items():
    command.add_command(storer_command(_run), _name)
