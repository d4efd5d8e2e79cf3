"""Settings: read from the environment once, at start-up, and checked all at once."""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from pathlib import Path
from typing import TypeVar

from dojo.naming import Namespace
from dojo.service import setting_names

# From the lowest. An event of the level `access` says how one call ended.
LOG_LEVELS = ("debug", "access", "info", "warning", "error")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")

T = TypeVar("T")
S = TypeVar("S")


class BadSettings(Exception):
    """Some settings can't be used; the message names each of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Secret:
    """A text that nothing shows but `reveal`."""

    def __init__(self, text: str) -> None:
        """Take a text without blanks. Raises ValueError, which does not say the text either."""
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise ValueError("has blanks or letters that no token has")
        self._text = text

    def __repr__(self) -> str:
        return "(secret)"

    def reveal(self) -> str:
        """Return the text."""
        return self._text


def setting(name: str, parse: Callable[[str], T], default: T, meaning: str) -> T:
    """Declare a dataclass field that is read from the environment variable `name`.

    `parse` takes the variable's text and raises ValueError, with a reason, if it can't be
    used; no message shows the text of a Secret. `meaning` is for the documentation: a test insists
    that docs/running.md has it.
    """
    metadata = {"name": name, "parse": parse, "meaning": meaning}
    return field(default=default, metadata=metadata)


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Return a `kind` (a dataclass of settings) read from `environ`.

    A variable that is absent or empty leaves the default. Raises BadSettings naming every
    variable that can't be used, or that is called like a setting and is none.
    """
    values: dict[str, object] = {}
    problems = list(setting_names.unknown(environ))
    for declared in fields(kind):  # type: ignore[arg-type]  # a dataclass, as documented
        name = declared.metadata["name"]
        text = environ.get(name, "")
        if text == "":
            continue
        try:
            values[declared.name] = declared.metadata["parse"](text)
        except ValueError as error:
            shown = "" if declared.metadata["parse"] is Secret else f"={text!r}"
            problems.append(f"{name}{shown} {error}")
    if problems:
        raise BadSettings(problems)
    return kind(**values)


class Origin(Enum):
    """Where the value of a setting is from."""

    DEFAULT = auto()
    ENVIRONMENT = auto()
    FILE = auto()


@dataclass(frozen=True)
class InForce:
    """A setting as a service uses it. The `text` of a secret is empty."""

    name: str
    text: str
    origin: Origin
    is_secret: bool


def in_force(
    settings: object, environ: Mapping[str, str], set_by_file: Collection[str]
) -> Iterator[InForce]:
    """Yield all settings of a dataclass that `load` made from `environ`.

    `set_by_file` has the names of the variables that the settings' file set.
    """
    for declared in fields(settings):  # type: ignore[arg-type]  # a dataclass, as documented
        name, is_secret = declared.metadata["name"], declared.metadata["parse"] is Secret
        value = getattr(settings, declared.name)
        origin = Origin.DEFAULT
        if environ.get(name):
            origin = Origin.FILE if name in set_by_file else Origin.ENVIRONMENT
        text = "" if value is None or is_secret else str(value)
        yield InForce(name, text, origin, is_secret and value != declared.default)


def address(text: str) -> str:
    """Parse `host:port`."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("is not host:port")
    return text


def addresses(text: str) -> tuple[str, ...]:
    """Parse `host:port,host:port,...`."""
    return tuple(address(each.strip()) for each in text.split(","))


def name_of_machines(text: str) -> str:
    """Parse the name of a machine, or of several."""
    if not _NAME.match(text):
        raise ValueError("is not 1 to 63 letters, digits, dots, hyphens and underscores")
    return text


def endpoint(text: str) -> str:
    """Parse `http://host:port`, or the same with https."""
    scheme, separator, rest = text.partition("://")
    if scheme not in {"http", "https"} or not separator:
        raise ValueError("does not begin with http:// or https://")
    address(rest)
    return text


def is_loopback(listen: str) -> bool:
    """Say whether only programs of this machine can reach an address (host:port)."""
    host = listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name can become any address
        return False


def absolute_path(text: str) -> Path:
    """Parse an absolute path."""
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    return path


def whole_number(smallest: int, largest: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range, both ends included."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if not smallest <= number <= largest:
            raise ValueError(f"is not from {smallest} to {largest}")
        return number

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts one of the `choices`."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text

    return parse


@dataclass(frozen=True)
class CallerSettings:
    """How programs call the services: the runner, commands, the health check, benchmarks."""

    ca: Path | None = setting(
        "CYBER_DOJO_CA",
        absolute_path,
        None,
        "calls are made with TLS, to services whose certificates are of the CAs in this PEM file",
    )
    token: Secret | None = setting(
        "CYBER_DOJO_TOKEN",
        Secret,
        None,
        "the token that calls are made with",
    )
    token_file: Path | None = setting(
        "CYBER_DOJO_TOKEN_FILE",
        absolute_path,
        None,
        "a file with that token; it is read again when it changes",
    )
    client_certificate: Path | None = setting(
        "CYBER_DOJO_CLIENT_CERTIFICATE",
        absolute_path,
        None,
        "the client certificate that calls are made with, as PEM",
    )
    client_key: Path | None = setting(
        "CYBER_DOJO_CLIENT_KEY",
        absolute_path,
        None,
        "the key of the client certificate, as PEM",
    )

    unprotected: str = setting(
        "CYBER_DOJO_UNPROTECTED",
        one_of("refuse", "allow"),
        "refuse",
        "whether a service may listen where other machines reach it, and a token be sent there, "
        "without what protects them: refuse or allow",
    )


@dataclass(frozen=True)
class LoggingSettings(CallerSettings):
    """The settings of everything that serves, and logs what it does."""

    log_level: str = setting(
        "CYBER_DOJO_LOG_LEVEL",
        one_of(*LOG_LEVELS),
        "info",
        "the lowest level that is logged: debug, access (a line for each call), info, warning, "
        "error",
    )
    log_file: Path | None = setting(
        "CYBER_DOJO_LOG_FILE",
        absolute_path,
        None,
        "a file to which what is logged is appended too; each service needs one of its own",
    )


@dataclass(frozen=True)
class CommonSettings(LoggingSettings):
    """The settings of both services."""

    namespace: Namespace = setting(
        "CYBER_DOJO_NAMESPACE",
        Namespace,
        Namespace("cyber-dojo"),
        "prefixes every container, volume and label",
    )
    engine: str = setting(
        "DOCKER_HOST",
        str,
        "unix:///var/run/docker.sock",
        "where the docker engine listens",
    )
    volume_root: Path | None = setting(
        "CYBER_DOJO_VOLUME_ROOT",
        absolute_path,
        None,
        "where the engine's volumes can be seen; by default the engine is asked",
    )
    metrics_listen: str | None = setting(
        "CYBER_DOJO_METRICS_LISTEN",
        address,
        None,
        "host:port where Prometheus finds the service's metrics; each service needs one of its "
        "own, and port 0 takes a free one, which is logged",
    )
    health_listen: str | None = setting(
        "CYBER_DOJO_HEALTH_LISTEN",
        address,
        None,
        "host:port where routers ask by HTTP whether the service takes calls (200), not any more "
        "(404) or can't (503); each service needs one of its own",
    )
    traces: str = setting(
        "CYBER_DOJO_TRACES",
        endpoint,
        "",
        "http://host:port of an OTLP receiver (gRPC) that traces are sent to; https:// for one "
        "with TLS",
    )

    @property
    def logs_calls(self) -> bool:
        """Whether each call has a line in the log."""
        return LOG_LEVELS.index(self.log_level) <= LOG_LEVELS.index("access")

    etcd: tuple[str, ...] = setting(
        "CYBER_DOJO_ETCD",
        addresses,
        (),
        "where the members of etcd listen (host:port,host:port,...), in which several machines "
        "agree; by default this machine is the only one",
    )
    etcd_ca: Path | None = setting(
        "CYBER_DOJO_ETCD_CA",
        absolute_path,
        None,
        "etcd is called with TLS: its members' certificates are of the CAs in this PEM file",
    )
    etcd_certificate: Path | None = setting(
        "CYBER_DOJO_ETCD_CERTIFICATE",
        absolute_path,
        None,
        "the client certificate that etcd is called with, as PEM",
    )
    etcd_key: Path | None = setting(
        "CYBER_DOJO_ETCD_KEY",
        absolute_path,
        None,
        "the key of that certificate, as PEM without a password",
    )
    installation: str = setting(
        "CYBER_DOJO_INSTALLATION",
        name_of_machines,
        "",
        "the name of the installation that several machines are, the same on each; the archive is "
        "marked with it. By default the namespace",
    )
    node: str = setting(
        "CYBER_DOJO_NODE",
        name_of_machines,
        "",
        "the name of this machine among several; by default its host name",
    )

    @property
    def installation_name(self) -> str:
        """The name of the installation, which the archive is marked with."""
        return self.installation or self.namespace.name

    @property
    def node_name(self) -> str:
        """The name of this machine among several."""
        return self.node or socket.gethostname()

    tls_certificate: Path | None = setting(
        "CYBER_DOJO_TLS_CERTIFICATE",
        absolute_path,
        None,
        "the service's certificate and the chain behind it, as PEM; it is read again when it "
        "changes. With it, the service speaks TLS only",
    )
    tls_key: Path | None = setting(
        "CYBER_DOJO_TLS_KEY",
        absolute_path,
        None,
        "the key of that certificate, as PEM without a password; it is read again when it changes",
    )
    tls_client_ca: Path | None = setting(
        "CYBER_DOJO_TLS_CLIENT_CA",
        absolute_path,
        None,
        "CAs, as PEM, of which every caller has to have a client certificate; they are read again "
        "when they change",
    )
    callers: Path | None = setting(
        "CYBER_DOJO_CALLERS",
        absolute_path,
        None,
        "the file of callers and their roles; it is read again when it changes. Without it, "
        "everybody who reaches the service may do everything",
    )
    max_guesses_per_hour: int = setting(
        "CYBER_DOJO_MAX_GUESSES_PER_HOUR",
        whole_number(1, 1_000_000),
        60,
        "ids that no kata has, which a caller that is no operator may try in an hour, for each "
        "participant that it names; a part of an id that completes to nothing counts as five",
    )
