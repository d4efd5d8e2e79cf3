"""`cyber-dojo cluster`: an operator sees the machines, and drains one."""

from pathlib import Path

import pytest

from support.commands import CommandLine
from support.services import Service, wait_until
from support.storer.several import Storers


@pytest.fixture
def line(storers: Storers, tmp_path: Path) -> CommandLine:
    """The command line of an operator who reaches the second machine."""
    return CommandLine(storers.address(1), tmp_path)


def test_the_machines_are_shown_with_what_they_have(storers: Storers, line: CommandLine) -> None:
    kata_id = storers.katas(0).started("whale")
    wait_until(lambda: storers.record_count(kata_id) == 0)
    done = line.run("cluster", "status")
    assert (done.code, done.complaint) == (0, "")
    rows = [each.split() for each in done.text.splitlines()]
    assert rows[0] == ["MACHINE", "STATE", "KATAS", "ARCHIVE"]
    assert rows[1:] == [[f"n{each}", "up", str(int(each == 0)), "has", "all"] for each in range(3)]
    records = line.run("cluster", "status", "--json").records()
    assert [each["name"] for each in records] == ["n0", "n1", "n2"]
    assert [each["katas"] for each in records] == [1, 0, 0]
    assert records[2]["storer"] == storers.address(2)


def test_a_machine_is_drained_and_takes_katas_again(storers: Storers, line: CommandLine) -> None:
    kata_id = storers.katas(0).started("whale")
    done = line.run("cluster", "drain", "n0")
    assert (done.code, done.text) == (0, "n0 is being drained\n")
    wait_until(lambda: "draining" in line.run("cluster", "status").text)
    wait_until(lambda: storers.owner(kata_id) != 0)
    assert storers.katas(0).get(kata_id).avatars == ["whale"]
    done = line.run("cluster", "undrain", "n0", "--json")
    assert done.records() == [{"name": "n0", "draining": False}]


def test_an_unknown_machine_is_told(line: CommandLine) -> None:
    done = line.run("cluster", "drain", "n9")
    assert done.code == 3
    assert "'n9' is none of the machines: n0, n1, n2" in done.complaint


def test_one_machine_is_said_to_be_alone(storer_service: Service, tmp_path: Path) -> None:
    done = CommandLine(storer_service.address, tmp_path).run("cluster", "status")
    assert (done.code, done.text) == (0, "this is the only machine\n")
