"""The domain's errors.

Domain code raises these and knows nothing of gRPC; `dojo.service.statuses` maps each to a status.
Messages are for people: they name the kata, the file or the limit, and what to do.
"""

from pathlib import PurePath


class DojoError(Exception):
    """The base of every error that is reported to a caller.

    `facts` has for programs what the message says for people, by names that refusal.proto lists.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {name: str(value) for name, value in facts.items()}


class InvalidArgument(DojoError):
    """The caller sent something malformed.

    `field` is the request's field (`files["a/../b"]`, `kata_id`), `reason` says what is wrong
    with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", field=field)
        self.field = field
        self.reason = reason


class MessageTooLarge(InvalidArgument):
    """A message has more bytes than it may."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__("request", f"has {size_bytes} bytes, more than {limit_bytes}")
        self.facts = {"size_bytes": str(size_bytes), "limit_bytes": str(limit_bytes)}


class Unauthenticated(DojoError):
    """Nobody knows the caller."""


class NotAllowed(DojoError):
    """The caller's role may not call this RPC, or not like that."""

    def __init__(self, name: str, role: str, what: str, allowed: list[str]) -> None:
        super().__init__(f"{name} has the role {role}; {what} takes {' or '.join(allowed)}")


class NotFound(DojoError):
    """The thing that the caller asked for does not exist."""


class KataNotFound(NotFound):
    """No kata has this id."""

    def __init__(self, kata_id: str, where: str = "no kata has this id") -> None:
        super().__init__(f"kata {kata_id}: {where}", kata_id=kata_id)


class AvatarNotFound(NotFound):
    """The avatar was not started in this kata."""

    def __init__(self, kata_id: str, avatar: str) -> None:
        super().__init__(
            f"kata {kata_id}: {avatar} was not started", kata_id=kata_id, avatar=avatar
        )


class LightNotFound(NotFound):
    """The avatar has no light of this number."""

    def __init__(self, kata_id: str, avatar: str, number: int, newest: int) -> None:
        super().__init__(
            f"kata {kata_id}: {avatar} has no light {number}; the newest is {newest}",
            kata_id=kata_id,
            avatar=avatar,
            number=number,
            newest_number=newest,
        )


class EditNotFound(NotFound):
    """The avatar has no edit of this number after the light."""

    def __init__(self, kata_id: str, avatar: str, number: int, edit: int, newest: int) -> None:
        super().__init__(
            f"kata {kata_id}: {avatar} has no edit {number}.{edit}; "
            + (f"the newest is {number}.{newest}" if newest else f"light {number} has none"),
            kata_id=kata_id,
            avatar=avatar,
            number=number,
            edit_number=edit,
            newest_edit_number=newest,
        )


class ImageNotFound(NotFound):
    """None of the registries that answer has this image."""

    def __init__(self, image_name: str, reason: str) -> None:
        super().__init__(f"image {image_name}: {reason}", image_name=image_name)


class StartPointNotFound(NotFound):
    """No start point of this kind, which is said in the plural, has this name."""

    def __init__(self, kind: str, display_name: str) -> None:
        super().__init__(f"{display_name[:80]!r} is none of the {kind}", display_name=display_name)


class MachineNotFound(NotFound):
    """No machine of this name lives."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"{name[:80]!r} is none of the machines: {', '.join(known)}")


class AlreadyExists(DojoError):
    """A kata with this id exists already."""

    def __init__(self, kata_id: str) -> None:
        super().__init__(
            f"kata {kata_id} exists already; set overwrite to replace it", kata_id=kata_id
        )


class RequestIdReused(DojoError):
    """The request id has come before, with another request."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id: {request_id!a} was sent before with another request; send a new one",
            request_id=request_id,
        )


class StaleNumber(DojoError):
    """Another writer was faster, and took the light number that the caller expected."""

    def __init__(self, kata_id: str, avatar: str, expected: int, newest: int) -> None:
        super().__init__(
            f"kata {kata_id}: light {expected} was expected for {avatar}, "
            f"whose newest light is {newest}; read again",
            kata_id=kata_id,
            avatar=avatar,
            expected_number=expected,
            newest_number=newest,
        )


class ImageMissing(DojoError):
    """The image is not on this host."""

    def __init__(self, image_name: str, machine: str = "", reason: str = "") -> None:
        """Of several machines, this is `machine`; `reason` says why it could not get the image."""
        where = f"machine {machine}" if machine else "this host"
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"image {image_name} is not on {where}{why}; pull it first", image_name=image_name
        )


class ImageUnusable(ImageMissing):
    """The image is on this host, but nothing can be run in it."""

    def __init__(self, image_name: str, reason: str) -> None:
        DojoError.__init__(
            self, f"image {image_name} can't be used: {reason}", image_name=image_name
        )


class Busy(DojoError):
    """Others are being served, and the call can be made again after `retry_seconds`."""

    retry_seconds: float


class Exhausted(DojoError):
    """A resource is used up."""


class AvatarsExhausted(Exhausted):
    """Every avatar that the caller would accept has been started."""

    def __init__(self, kata_id: str, tried: int) -> None:
        super().__init__(
            f"kata {kata_id}: all {tried} of the given avatars have been started", kata_id=kata_id
        )


class TooManyGuesses(Exhausted, Busy):
    """The caller has tried too many ids that no kata has."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(
            "too many ids were tried that no kata has; katas that were used before can be used; "
            f"try another id in {retry_seconds:.0f} s"
        )
        self.retry_seconds = retry_seconds


class RunsExhausted(Exhausted, Busy):
    """As many runs as `limit` allows wait or go on already; `reason` says which of them."""

    def __init__(self, reason: str, limit: int, retry_seconds: float) -> None:
        super().__init__(f"{reason}; try again in {retry_seconds:.0f} s", limit=limit)
        self.retry_seconds = retry_seconds


class ComparisonsExhausted(Exhausted, Busy):
    """As many large comparisons as are allowed go on already."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(
            f"other large comparisons have gone on for {retry_seconds:.0f} s; try again"
        )
        self.retry_seconds = retry_seconds


class ComparisonTooLarge(Exhausted):
    """Two lights can't be compared within the limits of a comparison."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the lights are too large to compare: it would take more than {limit}")


class ComparisonLost(Busy):
    """The process that compared two lights was killed, and another one can work."""

    retry_seconds = 2.0

    def __init__(self) -> None:
        super().__init__(
            "the process that compared the lights was killed, as happens where the memory of the "
            f"container is used up; call again in {self.retry_seconds:.0f} s"
        )


class ProcessesExhausted(Exhausted, Busy):
    """As many processes as are allowed do such work already."""

    retry_seconds = 5.0

    def __init__(self, work: str) -> None:
        super().__init__(
            f"other calls {work}, and have done so for long; "
            f"call again in {self.retry_seconds:.0f} s"
        )


class ProcessTooLarge(Exhausted):
    """A process would take more memory for its work than it may."""

    def __init__(self, size: int) -> None:
        super().__init__(f"it would take more than {size} bytes of memory")


class ProcessLost(Busy):
    """The process that worked for a call was killed, and another one can work."""

    retry_seconds = 2.0

    def __init__(self) -> None:
        super().__init__(
            "the process that worked for the call was killed, as happens where the memory of the "
            f"container is used up; call again in {self.retry_seconds:.0f} s"
        )


class HistoryTooLarge(Exhausted):
    """An avatar's history is too large to come along in a fork."""

    def __init__(self, kata_id: str, avatar: str, reason: str) -> None:
        super().__init__(
            f"kata {kata_id}: the history of {avatar} is too large for a fork: {reason}; "
            "fork an earlier light, or without the avatar",
            kata_id=kata_id,
            avatar=avatar,
        )


class PullsExhausted(Exhausted, Busy):
    """As many images as are allowed are being pulled already."""

    retry_seconds = 10.0

    def __init__(self, pulls: int) -> None:
        super().__init__(
            f"{pulls} images are being pulled already; try again in {self.retry_seconds:.0f} s",
            limit=pulls,
        )


class MemoryExhausted(Exhausted, Busy):
    """The calls in progress hold as much memory as all calls may."""

    retry_seconds = 2.0

    def __init__(self, reason: str) -> None:
        super().__init__(f"no memory is left for this call: {reason}; call again in 2 s")


class NothingRead(Exhausted):
    """A caller does not read its answers, while the call holds memory that others could have."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the answers were not read for {seconds:.0f} seconds")


class DiskFull(Exhausted):
    """There is no room left on the disk."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the disk is full: {what}")


class DiskReadOnly(DojoError):
    """Nothing can be written to the disk, until an operator repairs it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the disk can't be written to: {what}; repair it and mount it again")


class DiskFailed(DojoError):
    """The disk failed to read or write something, or its file system is damaged."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the disk fails: {what}; the service's log says where, the kernel's says why: "
            "repair or replace the disk"
        )


class EngineUnavailable(DojoError):
    """The docker engine does not answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the docker engine does not answer: {reason}")


class ArchiveUnavailable(DojoError):
    """The archive of katas does not answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the archive does not answer: {reason}")


class ArchiveOfAnother(DojoError):
    """The archive belongs to another namespace, whose only copies it may hold."""

    def __init__(self, owner: str, namespace: str) -> None:
        super().__init__(
            f"the archive is of the namespace {owner!r}, and this is {namespace!r}: name another "
            "place in CYBER_DOJO_ARCHIVE (with compose: CYBER_DOJO_ARCHIVE_DIRECTORY); or, if that "
            "namespace has given the archive up, delete the file .namespace in it",
            namespace=owner,
        )


class StorerUnavailable(DojoError):
    """The storer can't say whether the kata exists."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the storer can't be asked: {reason}")


class MachineUnavailable(StorerUnavailable):
    """Another machine did not do its part of what all were asked for."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"machine {name}: {reason}")


class EtcdBehind(DojoError):
    """etcd has lost its data: the archive has what was written later than anything that etcd knows.

    Whatever is written now would count as older.
    """

    def __init__(self, kata_id: str) -> None:
        super().__init__(
            f"kata {kata_id}: the archive has a copy of a later owner than etcd knows of: etcd has "
            "lost its data; restore it from a snapshot, or have it accepted by cyber-dojo cluster "
            "accept-etcd",
            kata_id=kata_id,
        )


class OnlyMachine(DojoError):
    """There is one machine, and what was asked for takes several."""

    def __init__(self) -> None:
        super().__init__("this is the only machine: CYBER_DOJO_ETCD is not set")


class EtcdUnavailable(DojoError):
    """None of etcd's members answers, or they have no majority; a retry later can succeed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"etcd does not answer: {reason}")


class EtcdFull(Exhausted):
    """etcd has no more room; its operator has to give it some."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"etcd takes nothing more: {reason}")


class KataMoved(Busy):
    """Another machine has taken the kata over; it answers the call if it is sent again."""

    retry_seconds = 0.1

    def __init__(self, kata_id: str) -> None:
        super().__init__(
            f"kata {kata_id} is on another machine by now; call again", kata_id=kata_id
        )


class KataInUse(DojoError):
    """The kata is in use, so it can't be archived now."""

    def __init__(self, kata_id: str, reason: str) -> None:
        super().__init__(f"kata {kata_id} is in use: {reason}", kata_id=kata_id)


class LockHeld(Busy):
    """The call can't use a kata now, as others hold its lock; they have held it for too long."""

    retry_seconds = 5.0

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"{what} can't be used yet: {reason}; call again in {self.retry_seconds:.0f} s"
        )
        self.reason = reason


class ArchiveMissing(DojoError):
    """The storer has no archive."""

    def __init__(self) -> None:
        super().__init__("the storer has no archive; say in CYBER_DOJO_ARCHIVE where it is")


class ArchiveConflict(DojoError):
    """The archive and this machine each have lights or options that the other has not."""

    def __init__(self, kata_id: str) -> None:
        super().__init__(
            f"kata {kata_id}: the archive has lights or options that are not here, as another "
            "machine serves it too; the archive stays as it is: restore the copy that is right, "
            "with overwrite",
            kata_id=kata_id,
        )


class UnknownBackup(DojoError):
    """The storer has no record of what an earlier backup held."""

    def __init__(self, token: str) -> None:
        super().__init__(f"backup {token[:40]!r} is not known, or no longer; make a full one")


class Stopping(DojoError):
    """The service is stopping, and ends a call that would not end by itself."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; call again")


class RunLost(DojoError):
    """The run's container or kata was removed or replaced by somebody, and another run can work."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the run was lost: {reason}; run again")


class RegistryUnavailable(DojoError):
    """None of the image registries answers."""

    def __init__(self, image_name: str, reason: str) -> None:
        super().__init__(
            f"image {image_name}: no registry answers: {reason}", image_name=image_name
        )


class StartPointDamaged(DojoError):
    """The mounted start points can't be read."""

    def __init__(self, path: PurePath, reason: str) -> None:
        super().__init__(f"start points: {path}: {reason}", path=path)


class KataDamaged(DojoError):
    """A kata's own files contradict themselves or can't be read."""

    def __init__(self, kata_id: str, path: PurePath | str, reason: str) -> None:
        super().__init__(f"kata {kata_id} is damaged: {path}: {reason}", kata_id=kata_id, path=path)
        self.kata_id = kata_id
        self.path = path
        self.reason = reason


class ArchiveDamaged(DojoError):
    """The archive's copy of a kata is not what was archived."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the archive is damaged: {key}: {reason}", key=key)
