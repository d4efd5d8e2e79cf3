"""What is read of a container's control group, of either version."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.launch.control_group import ControlGroup, Usage

MIB = 1024**2
V1 = {
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "memory.usage_in_bytes": f"{100 * MIB}\n",
    "memory.max_usage_in_bytes": f"{200 * MIB}\n",
    "memory.stat": f"cache 7\ntotal_inactive_file {40 * MIB}\ntotal_active_file {50 * MIB}\n",
    "cpuacct.usage": "2500000000\n",
}
V2 = {
    "memory.events": "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n",
    "memory.current": f"{100 * MIB}\n",
    "memory.peak": f"{200 * MIB}\n",
    "memory.stat": (
        f"anon 7\ninactive_file {40 * MIB}\nactive_file {45 * MIB}\nslab_reclaimable {5 * MIB}\n"
    ),
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
}

Make = Callable[[dict[str, str]], ControlGroup]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes control groups of files."""
    made: list[ControlGroup] = []

    def make(files: dict[str, str]) -> ControlGroup:
        descriptors = {}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            descriptors[name] = os.open(tmp_path / name, os.O_RDWR)
        made.append(ControlGroup(descriptors))
        return made[-1]

    yield make
    for group in made:
        group.close()


def rewrite(path: Path, text: str) -> None:
    """Replace a file's content, as the kernel does."""
    with path.open("r+") as file:
        file.truncate()
        file.write(text)


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_both_versions_tell_the_same(make: Make, files: dict[str, str]) -> None:
    group = make(files)
    assert group.killed_for_memory() == 3
    assert group.held_bytes() == 10 * MIB


@pytest.mark.parametrize(
    ("files", "later", "expected"),
    [
        (
            V1,
            {"cpuacct.usage": "4000000000\n", "memory.max_usage_in_bytes": "300\n"},
            Usage(1.5, 300, None),
        ),
        (
            {**V2, "io.stat": "8:0 rbytes=5 wbytes=10\n8:16 rbytes=5 wbytes=20 wios=7\n"},
            {
                "cpu.stat": "usage_usec 4000000\n",
                "memory.peak": "300\n",
                "io.stat": "8:0 rbytes=5 wbytes=110\n8:16 rbytes=5 wbytes=25\n",
            },
            Usage(1.5, 300, 105),
        ),
    ],
    ids=["v1", "v2"],
)
def test_what_a_run_used_is_what_was_added(
    make: Make, tmp_path: Path, files: dict[str, str], later: dict[str, str], expected: Usage
) -> None:
    usage = make(files).begin_usage()
    for name, text in later.items():
        rewrite(tmp_path / name, text)
    assert usage() == expected


def test_a_kernel_that_tells_nothing_has_killed_nothing(make: Make) -> None:
    group = make({})
    assert (group.killed_for_memory(), group.held_bytes()) == (0, 0)
    assert group.begin_usage()() == Usage(None, None, None)
