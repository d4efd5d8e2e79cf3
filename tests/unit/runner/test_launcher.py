"""What a launcher answers, and what the runner makes of an answer that is not whole."""

import os
import socket
from collections.abc import Iterator

import pytest

from runner.launch.control_group import ControlGroup
from runner.launch.launcher import ContainerGone, Launcher, LaunchFailed

Ends = tuple[Launcher, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A launcher as the runner has it, and the launcher's own end of the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    launcher = Launcher(ours, ControlGroup({}))
    with theirs:
        yield launcher, theirs
    launcher.close()


def open_files() -> list[str]:
    return os.listdir("/proc/self/fd")


def a_process_and_a_file() -> list[int]:
    return [os.pidfd_open(os.getpid()), os.open("/proc/self/ns/mnt", os.O_RDONLY)]


def test_what_was_started_is_closed_as_a_whole(ends: Ends) -> None:
    launcher, theirs = ends
    before = open_files()
    handed = a_process_and_a_file()
    socket.send_fds(theirs, [b"started"], handed)
    for descriptor in handed:
        os.close(descriptor)
    started = launcher.ordered()
    assert not started.process.has_ended()
    started.close()
    assert open_files() == before


@pytest.mark.parametrize("count", [0, 1])
def test_an_answer_that_lacks_descriptors_is_a_failure_and_leaves_none_open(
    ends: Ends, count: int
) -> None:
    launcher, theirs = ends
    handed = a_process_and_a_file()
    socket.send_fds(theirs, [b"started"], handed[:count])
    for descriptor in handed:
        os.close(descriptor)
    before = open_files()
    with pytest.raises(LaunchFailed, match=f"{count} descriptors came"):
        launcher.ordered()
    assert open_files() == before


def test_an_end_of_the_launcher_is_told_from_its_failure(ends: Ends) -> None:
    launcher, theirs = ends
    theirs.send(b"failed mounting /tmp: No space left on device")
    with pytest.raises(LaunchFailed, match="No space left") as caught:
        launcher.ordered()
    assert not isinstance(caught.value, ContainerGone)
    assert launcher.is_there()
    theirs.close()
    with pytest.raises(ContainerGone):
        launcher.ordered()
    assert not launcher.is_there()
