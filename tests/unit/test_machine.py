"""The suite finds what it changed on the machine."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from support import machine, test_run
from support.machine import Machine, Thing, changes, firewall_rules

DOCKER0 = Thing("network link", "docker0")
MOUNT = Thing("mount", "/mnt")


def test_an_unchanged_machine_has_no_changes() -> None:
    seen = Machine({DOCKER0: "up mtu 1500", MOUNT: "rw"})
    assert changes(seen, seen) == []


def test_removed_and_changed_things_are_reported() -> None:
    before = Machine({DOCKER0: "up mtu 1500", MOUNT: "rw"})
    after = Machine({MOUNT: "ro"})
    assert changes(before, after) == ["network link docker0 is gone", "mount /mnt was rw and is ro"]


def test_short_lived_things_of_others_may_disappear() -> None:
    theirs = Thing("container", "theirs")
    before = Machine({theirs: "", MOUNT: "rw"}, passing=frozenset({theirs}))
    assert changes(before, Machine({})) == ["mount /mnt is gone"]


def test_a_new_thing_counts_only_if_this_run_made_it_or_no_container_could_have() -> None:
    ours, others = Thing("volume", "test-0123ab00-kata"), Thing("volume", "theirs")
    after = Machine({ours: "", others: "", MOUNT: "rw", DOCKER0: "up"}, ours=frozenset({ours}))
    assert changes(Machine({}), after) == [
        "network link docker0 is new",
        "volume test-0123ab00-kata is new",
    ]


@pytest.mark.parametrize(
    ("rule", "is_kept"),
    [
        (":FORWARD DROP [12:3456]", True),
        ("-A FORWARD -o docker0 -j DOCKER", True),
        ("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", True),
        ("-A FORWARD -i br-0123456789ab -j ACCEPT", False),
        ("-A DOCKER -d 172.17.0.2/32 ! -i docker0 -p tcp --dport 80 -j ACCEPT", False),
        ("-A DOCKER -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", False),
    ],
)
def test_rules_of_containers_and_of_their_networks_are_left_out(
    rule: str, *, is_kept: bool
) -> None:
    text = f"# Generated\n*nat\n{rule}\nCOMMIT\n"
    kept = {f"*nat: {rule.removesuffix(' [12:3456]')}"} if is_kept else set()
    assert firewall_rules(text) == {"*nat: *nat", *kept}


def test_a_rule_of_nftables_is_reported_with_its_table_and_chain() -> None:
    text = 'table ip nat {\n\tchain DOCKER {\n\t\tiifname "docker0" return\n\t}\n}\n'
    assert 'table ip nat chain DOCKER: iifname "docker0" return' in firewall_rules(text)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a run name that no other test has."""
    monkeypatch.setenv(test_run.VARIABLE, f"test-{secrets.token_hex(3)}")


@pytest.mark.usefixtures("alone")
def test_a_process_that_a_test_left_is_found(tmp_path: Path) -> None:
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    before = machine.look(tmp_path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        after = machine.look(tmp_path)
        process.communicate()
    found = [each for each in changes(before, after) if each.startswith("process ")]
    assert [each.split()[1] for each in found] == [str(process.pid)]


@pytest.mark.usefixtures("alone")
def test_a_mount_is_reported_until_it_is_gone(tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    before = machine.look(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        after = machine.look(tmp_path)
    finally:
        subprocess.run(["umount", place], check=True)
    assert f"mount {place} is new" in changes(before, after)
    assert f"mount {place} is new" not in machine.changes_that_stay(before, tmp_path)


@pytest.mark.usefixtures("alone")
def test_a_link_of_this_run_is_found_and_one_of_another_run_is_not(tmp_path: Path) -> None:
    ours, theirs = f"{test_run.name()}-a", f"test-{secrets.token_hex(3)}-b"
    before = machine.look(tmp_path)
    subprocess.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs], check=True)
    try:
        after = machine.look(tmp_path)
    finally:
        subprocess.run(["ip", "link", "del", ours], check=True)
    found = [each for each in changes(before, after) if each.startswith("network link ")]
    assert found == [f"network link {ours} is new"]
    assert not machine.look(tmp_path).ours
