"""Who makes the call that the current task, or its thread, works for."""

from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from dojo.access.roles import Role
from dojo.errors import NotAllowed


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller. `name` is "" where callers have no names."""

    name: str
    role: Role
    address: str
    """`127.0.0.1:50312`, or `[::1]:50312`."""
    participant: str = ""
    """For whom the caller calls, if it says so."""


_current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def use(caller: Caller) -> None:
    """Let this task, and what it starts, work for a caller."""
    _current.set(caller)


def current() -> Caller | None:
    """Return the caller of the call in progress; None for work that is for no call."""
    return _current.get()


def require_operator(what: str) -> None:
    """Raise NotAllowed unless an operator makes the call; `what` names what only operators may do.

    For what a request says: which RPCs a role may call is in `dojo.access.roles`.
    """
    who = current()
    if who is not None and who.role is not Role.OPERATOR:
        raise NotAllowed(who.name, who.role.value, what, [Role.OPERATOR.value])


@lru_cache(maxsize=4096)
def address_of(peer: str) -> str:
    """Return the address in gRPC's name of a peer: `ipv6:%5B::1%5D:50312` is `[::1]:50312`."""
    return unquote(peer.partition(":")[2])
