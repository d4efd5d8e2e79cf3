"""Writes what each of several machines needs to be one installation: `make machines` runs this.

In FOLDER are a CA and the tokens of callers, which stay when it is run again, and for each machine
a folder to be copied to that machine, as /etc/cyber-dojo: its settings, its certificate, and the
configurations of what it runs besides the services, from deploy/machine. The certificates are new
each time.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

import click

from dojo.access import tokens
from dojo.access.certificates import Pair, make_ca, make_member
from dojo.access.roles import Role
from dojo.access.tokens import Entry
from dojo.service.setting_names import NAMES

TEMPLATES = Path(__file__).parents[1] / "deploy" / "machine"
CONFIGURATIONS = ("settings", "haproxy.cfg", "etcd.yml", "registry.yml", "prometheus.yml")

CA_DAYS, DAYS = 3650, 825
STORER_PORT, RUNNER_PORT = 4577, 4597
STORER_METRICS_PORT, RUNNER_METRICS_PORT = 4578, 4598
ROUTER_STORER_PORT, ROUTER_RUNNER_PORT, ROUTER_METRICS_PORT = 4677, 4697, 4678
HEALTH_PORT, REGISTRY_PORT, ETCD_PORT, ETCD_METRICS_PORT = 7002, 5000, 2379, 2381

# More members make etcd slower, and with two none may be lost.
MEMBERS = 3

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")
_ROLES = {"web": Role.WEB, "operator": Role.OPERATOR}

# With which personal links of the pages are signed: those of one machine are those of all.
_WEB_KEY = "web.key"
_WEB_KEY_BYTES = 48


@dataclass(frozen=True)
class Machine:
    """A machine: a name of one's choice, and its IP address."""

    name: str
    address: str

    def at(self, port: int) -> str:
        """Return host:port."""
        return f"{self.address}:{port}"


class _MachineType(click.ParamType[Machine]):
    name = "name=address"

    def convert(
        self, value: str | Machine, param: click.Parameter | None, ctx: click.Context | None
    ) -> Machine:
        if isinstance(value, Machine):
            return value
        name, _, address = value.partition("=")
        if not _NAME.match(name):
            self.fail(f"{value}: a machine's name has letters a to z, digits and hyphens", param)
        try:
            found = ipaddress.IPv4Address(address)
        except ValueError:
            self.fail(f"{value}: write NAME=ADDRESS, with an IPv4 address", param)
        if found.is_loopback or found.is_unspecified:
            self.fail(f"{value}: other machines can't call this address", param)
        return Machine(name, address)


@dataclass(frozen=True)
class Installation:
    """The machines of an installation, in their order, and what they share."""

    name: str
    machines: tuple[Machine, ...]
    archive: str
    directory: str
    joining: str
    hosts: tuple[str, ...]

    @property
    def members(self) -> tuple[Machine, ...]:
        """The machines that have a member of etcd."""
        return self.machines[:MEMBERS]

    @property
    def registry(self) -> Machine:
        """The machine that has the registry."""
        return self.machines[0]

    def values(self, machine: Machine) -> dict[str, str]:
        """Return what the templates have to know of a machine."""
        storers, all_storers, runners = [], [], []
        for number, each in enumerate(self.machines, 1):
            options = f"id {number} sni str({each.name}) verifyhost {each.name}"
            storer = f"  server {each.name} {each.at(STORER_PORT)} {options}"
            storers.append(f"{storer} check")
            all_storers.append(storer)
            track = f"track storers/{each.name}"
            runners.append(f"  server {each.name} {each.at(RUNNER_PORT)} {options} {track}")
        # A service asks the member on its own machine first.
        nearest = sorted(self.members, key=lambda each: each is not machine)
        profiles = ["router"]
        if machine in self.members:
            profiles.append("etcd")
        if machine is self.registry:
            profiles.append("registry")
        return {
            "name": machine.name,
            "address": machine.address,
            "installation": self.name,
            "directory": self.directory,
            "access": f"{self.directory}/access",
            "profiles": ",".join(profiles),
            "etcd": ",".join(each.at(ETCD_PORT) for each in nearest),
            "members": ",".join(f"{each.name}=https://{each.at(2380)}" for each in self.members),
            "state": "existing" if machine.name == self.joining else "new",
            "registry": self.registry.at(REGISTRY_PORT),
            "registry_port": str(REGISTRY_PORT),
            "health_port": str(HEALTH_PORT),
            "router_storer_port": str(ROUTER_STORER_PORT),
            "router_runner_port": str(ROUTER_RUNNER_PORT),
            "router_metrics_port": str(ROUTER_METRICS_PORT),
            "storers": "\n".join(storers),
            "all_storers": "\n".join(all_storers),
            "runners": "\n".join(runners),
        }

    def targets(self) -> dict[str, str]:
        """Return where Prometheus finds the metrics of all machines."""
        return {
            "storers": ", ".join(each.at(STORER_METRICS_PORT) for each in self.machines),
            "runners": ", ".join(each.at(RUNNER_METRICS_PORT) for each in self.machines),
            "etcds": ", ".join(each.at(ETCD_METRICS_PORT) for each in self.members),
            "routers": ", ".join(each.at(ROUTER_METRICS_PORT) for each in self.machines),
        }


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("machines", type=_MachineType(), nargs=-1, required=True)
@click.option(
    "--archive",
    required=True,
    help="The archive that all machines reach: s3://BUCKET/PREFIX, or the folder where each of "
    "them has it mounted.",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings for all machines, such as those of the store or of runs, or the .env of the "
    "only machine that there was.",
)
@click.option(
    "--access",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder with the CA and the tokens that there are already, such as those of the only "
    "machine: callers go on with them.",
)
@click.option(
    "--host", "hosts", multiple=True, help="A further name by which the routers are called."
)
@click.option("--name", default="cyber-dojo", show_default=True, help="The installation's name.")
@click.option(
    "--directory",
    default="/etc/cyber-dojo",
    show_default=True,
    help="Where each machine's folder will be on that machine.",
)
@click.option(
    "--joining", default="", help="The machine whose member of etcd joins others that run."
)
def main(
    folder: Path,
    machines: tuple[Machine, ...],
    *,
    archive: str,
    settings: Path | None,
    access: Path | None,
    hosts: tuple[str, ...],
    name: str,
    directory: str,
    joining: str,
) -> None:
    """Write everything."""
    _check(machines, joining)
    if not archive.startswith(("s3://", "/")):
        raise click.UsageError(f"--archive {archive}: write s3://BUCKET/PREFIX or an absolute path")
    installation = Installation(name, machines, archive, directory, joining, hosts)
    _make_folder(folder)
    if access is not None:
        for kept in ("ca.pem", "ca.key", "callers", _WEB_KEY, *map(_token, _ROLES)):
            if (access / kept).exists() and not (folder / kept).exists():
                shutil.copy2(access / kept, folder / kept)
    ca = _ca(folder)
    _make_tokens(folder)
    _make_web_key(folder, access)
    own = _own_lines(settings)
    for machine in machines:
        _write_machine(folder, installation, machine, ca, own)
    for machine in machines:  # at the end, whoever reads it
        click.echo(f"{folder / machine.name}: to be {directory} on {machine.address}")
    click.echo(
        f"{folder}: ca.pem and web.token are for web tiers elsewhere; keep ca.key somewhere else"
    )
    if len(installation.members) < MEMBERS:
        click.echo(f"with fewer than {MEMBERS} machines none may be lost")


def _check(machines: tuple[Machine, ...], joining: str) -> None:
    for kind in ("name", "address"):
        values = [getattr(each, kind) for each in machines]
        for value in values:
            if values.count(value) > 1:
                raise click.UsageError(f"two machines have the {kind} {value}")
    if joining and joining not in {each.name for each in machines[:MEMBERS]}:
        raise click.UsageError(f"--joining {joining}: there is no such member of etcd")


def _ca(folder: Path) -> Pair:
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and not key.exists():
        raise click.UsageError(f"put ca.key, which belongs to {certificate}, back to sign with it")
    if not certificate.exists():
        made = make_ca("cyber-dojo CA", CA_DAYS)
        _write(key, made.key)
        _write(certificate, made.certificate, 0o644)
    return Pair(certificate.read_bytes(), key.read_bytes())


def _token(name: str) -> str:
    return f"{name}.token"


def _make_tokens(folder: Path) -> None:
    """Make the tokens that are missing, and the file of callers."""
    callers = folder / "callers"
    lines = callers.read_text() if callers.exists() else ""
    for name, role in _ROLES.items():
        path = folder / _token(name)
        if not path.exists():
            token = tokens.new_token()
            _write(path, f"{token}\n".encode())
            lines += f"{Entry(name, role, tokens.digest_of(token), None).line()}\n"
    tokens.parse(lines)
    _write(callers, lines.encode())


def _make_web_key(folder: Path, access: Path | None) -> None:
    """Make the key of personal links if it is missing: that of the only machine, or a new one."""
    path = folder / _WEB_KEY
    if path.exists():
        return
    # As scripts/web-access.sh makes it.
    single = None if access is None else access.parent / "web" / "key"
    if single is not None and single.exists():
        _write(path, single.read_bytes())
    else:
        _write(path, secrets.token_urlsafe(_WEB_KEY_BYTES).encode())


def _own_lines(settings: Path | None) -> list[str]:
    return [] if settings is None else settings.read_text().splitlines()


def _write_machine(
    folder: Path, installation: Installation, machine: Machine, ca: Pair, own: list[str]
) -> None:
    place = folder / machine.name
    _make_folder(place)
    _make_folder(place / "access")
    values = installation.values(machine)
    for name in CONFIGURATIONS:
        text = (TEMPLATES / name).read_text()
        found = values | installation.targets() if name == "prometheus.yml" else values
        text = Template(text).substitute(found)
        if name == "settings":
            text = _with(text, _archive_lines(installation.archive), own)
        _write(place / name, text.encode())
    named = [machine.name, machine.address, "localhost", "127.0.0.1", *installation.hosts]
    made = make_member(ca, named, DAYS)
    _write(place / "access" / "server.key", made.key)
    _write(place / "access" / "server.pem", made.certificate, 0o644)
    _write(place / "access" / "router.pem", made.certificate + made.key)  # HAProxy reads one file
    for name in ("ca.pem", "callers", _WEB_KEY, *map(_token, _ROLES)):
        mode = 0o644 if name == "ca.pem" else 0o600
        _write(place / "access" / name, (folder / name).read_bytes(), mode)


def _archive_lines(archive: str) -> list[str]:
    if archive.startswith("s3://"):
        return [f"CYBER_DOJO_ARCHIVE={archive}"]
    return ["CYBER_DOJO_ARCHIVE=/archive", f"CYBER_DOJO_ARCHIVE_DIRECTORY={archive}"]


def _with(text: str, archive: list[str], own: list[str]) -> str:
    """Return settings with further ones, of which ours count before the operator's."""
    lines = [*text.splitlines(), "", *archive]
    names = {line.partition("=")[0] for line in lines}
    added = []
    for line in own:
        name = line.partition("=")[0]
        if not line.strip() or line.startswith("#") or name in names:
            continue
        if name.startswith("CYBER_DOJO_") and name not in NAMES:
            raise click.UsageError(f"--settings: {name} is no setting")
        added.append(line)
    return "\n".join([*lines, *([""] if added else []), *added, ""])


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file whole, so that nobody who reads it meanwhile gets a part."""
    part = path.with_name(f".{path.name}.part")
    part.touch(mode)
    part.chmod(mode)
    part.write_bytes(content)
    part.rename(path)


if __name__ == "__main__":
    main()
