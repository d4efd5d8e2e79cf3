"""Which roles may call which RPC: the only place that says so."""

from collections.abc import Mapping
from enum import Enum


class Role(Enum):
    """What a caller is."""

    WEB = "web"
    """A web tier: what participants do in katas whose ids they know."""
    READER = "reader"
    """A dashboard: reading and watching katas whose ids it knows."""
    OPERATOR = "operator"
    """Everything."""


_STORER = "/cyberdojo.storer.v1.StorerService/"
_START_POINTS = "/cyberdojo.startpoints.v1.StartPointsService/"
_STATUS = "/cyberdojo.status.v1.StatusService/"
_MACHINES = "/cyberdojo.machines.v1.MachinesService/"
_RUNNER = "/cyberdojo.runner.v1.RunnerService/"

_ALL = frozenset(Role)
_WEB = frozenset({Role.WEB, Role.OPERATOR})
_OPERATOR = frozenset({Role.OPERATOR})

ROLES: Mapping[str, frozenset[Role]] = {
    _STORER + "CreateKata": _WEB,
    _STORER + "GetKata": _ALL,
    _STORER + "SetOptions": _WEB,
    _STORER + "CompleteKataId": _WEB,
    _STORER + "ListKatas": _OPERATOR,  # whoever knows a kata's id may enter the kata
    _STORER + "ImportKata": _WEB,
    _STORER + "ForkKata": _WEB,
    _STORER + "DeleteKata": _OPERATOR,
    _STORER + "ArchiveKata": _OPERATOR,
    _STORER + "StartAvatar": _WEB,
    _STORER + "ListAvatars": _ALL,
    _STORER + "ListLights": _ALL,
    _STORER + "WatchKata": _ALL,
    _STORER + "WatchKatas": _ALL,
    _STORER + "RecordTest": _WEB,
    _STORER + "RecordEdit": _WEB,
    _STORER + "GetFiles": _ALL,
    _STORER + "GetOutputs": _ALL,
    _STORER + "DiffLights": _ALL,
    _STORER + "DownloadPatch": _ALL,
    _STORER + "DownloadKata": _ALL,
    _STORER + "VerifyKatas": _OPERATOR,
    _STORER + "RestoreKata": _OPERATOR,
    _STORER + "BackupKatas": _OPERATOR,
    _STORER + "ListBackups": _OPERATOR,
    _STORER + "RestoreKatas": _OPERATOR,
    _STATUS + "GetStatus": _OPERATOR,  # it tells settings
    _STATUS + "GetVersion": _ALL,
    _MACHINES + "ListMachines": _OPERATOR,
    _MACHINES + "DrainMachine": _OPERATOR,
    _MACHINES + "AcceptEtcd": _OPERATOR,
    _START_POINTS + "ListLanguages": _ALL,
    _START_POINTS + "ListExercises": _ALL,
    _START_POINTS + "ListCustomStartPoints": _ALL,
    _START_POINTS + "GetStartPoint": _ALL,
    _START_POINTS + "CheckStartPoint": _WEB,
    _RUNNER + "Run": _WEB,
    _RUNNER + "RunStream": _WEB,
    _RUNNER + "Prepare": _WEB,
    _RUNNER + "Release": _WEB,
    _RUNNER + "PullImage": _WEB,
    _RUNNER + "ListImages": _ALL,
}
"""The roles of each RPC, by its full name. A test insists that every RPC is here."""


# An RPC that the table lacks is for operators: nobody gets a right by an omission.
_UNNAMED = _OPERATOR


def roles_of(method: str) -> frozenset[Role]:
    """Return the roles that may call an RPC, `/package.Service/Name`."""
    if method.startswith("/grpc.reflection."):
        return _ALL
    return ROLES.get(method, _UNNAMED)


def is_open(method: str) -> bool:
    """Say whether anybody may call an RPC: a service's health says nothing about katas."""
    return method.startswith("/grpc.health.")
