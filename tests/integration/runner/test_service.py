"""Run: a program in an avatar's sandbox, and its result."""

import contextlib
from collections.abc import Callable
from functools import partial

import grpc
import pytest

from dojo import avatars
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from support.kata_folders import Kata, make_kata
from support.own_engine import OTHER_RUNTIME, StartService, services_on_an_own_engine
from support.runner.submissions import (
    AVATAR,
    GCC,
    GREEN,
    PYTHON,
    RED,
    TIMED_OUT,
    Run,
    Stub,
    assert_serves,
    refused,
    request,
    waiting_containers,
)
from support.services import Service, wait_until


def test_a_run_returns_output_status_colour_and_duration(run: Run) -> None:
    response = run("echo tests: failed; echo trouble >&2; sleep 0.2; exit 3")
    assert response.stdout.content == b"tests: failed\n"
    assert response.stderr.content == b"trouble\n"
    assert not response.stdout.truncated
    assert response.status == 3
    assert response.colour == RED
    assert response.reason == ""
    assert 0.2 <= response.duration.ToTimedelta().total_seconds() < 60


def test_a_run_is_in_the_avatars_sandbox_as_the_avatars_user(run: Run, started_kata: Kata) -> None:
    response = run("pwd; id -u; id -g; id -G; test $HOME = /tmp")
    uid = str(avatars.uid(AVATAR))
    outer, inner = started_kata.id[:2], started_kata.id[2:]
    sandbox = f"/usr/src/cyber-dojo/katas/{outer}/{inner}/{AVATAR}/sandbox"
    assert response.stdout.content.decode().split() == [sandbox, uid, uid, uid]
    assert response.status == 0


def test_death_by_a_signal_is_128_and_the_signal(run: Run) -> None:
    assert run("kill -SEGV $$").status == 128 + 11
    assert run("kill -KILL $$").status == 128 + 9


def test_standard_input_is_empty(run: Run) -> None:
    assert run("cat; echo end").stdout.content == b"end\n"


def test_output_beyond_the_limit_is_truncated(run: Run) -> None:
    response = run("head -c 10000000 /dev/zero; head -c 51200 /dev/zero >&2")
    assert response.stdout.content == bytes(51200)
    assert response.stdout.truncated
    assert response.stderr.content == bytes(51200)
    assert not response.stderr.truncated


def test_a_run_that_takes_too_long_is_ended(run: Run) -> None:
    response = run("echo tests: passed; trap '' TERM; sleep 1000", max_seconds=2)
    assert response.colour == TIMED_OUT
    assert response.reason == "it took longer than 2 s"
    assert response.stdout.content == b"tests: passed\n"
    assert response.status == 128 + 9
    assert 2 <= response.duration.ToTimedelta().total_seconds() < 60


def test_a_daemon_that_closed_its_output_does_not_keep_a_run_from_ending(run: Run) -> None:
    response = run("setsid sleep 1000 >&- 2>&- <&- & echo tests: passed")
    assert response.colour == GREEN


def test_a_program_that_closes_its_output_is_waited_for(run: Run) -> None:
    response = run("exec >&- 2>&-; sleep 0.3; echo late > later.txt; exit 5")
    assert response.status == 5
    assert response.changed_files["later.txt"] == b"late\n"


def test_a_run_that_needs_too_much_memory_gets_a_reason(run: Run) -> None:
    response = run("python3 -c 'bytearray(2 << 30)'; echo tests: failed")
    assert response.colour == RED
    assert "limit of memory" in response.reason


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("touch /forbidden 2>&1 || echo no", "Read-only file system"),
        ("echo made > /tmp/file && cat /tmp/file", "made"),
        ("cp /bin/true /tmp/true && /tmp/true && echo ran", "ran"),
        ("echo $(ls /sys/class/net) only", "lo only\n"),
        ("grep -h -E 'CapEff|NoNewPrivs' /proc/self/status", "NoNewPrivs:\t1\n"),
        ("grep -h CapEff /proc/self/status", "0000000000000000"),
        ("ulimit -c; ulimit -n; ulimit -s", "0\n1024\n16384\n"),
    ],
)
def test_a_run_is_confined(run: Run, script: str, printed: str) -> None:
    assert printed in run(script).stdout.content.decode()


@pytest.mark.parametrize(("mebibytes", "status"), [(12, 0), (20, 128 + 11)])
def test_a_local_array_has_room_on_the_stack_up_to_the_limit(
    runner: Stub, started_kata: Kata, mebibytes: int, status: int
) -> None:
    source = f"int main(void) {{ volatile char a[{mebibytes} << 20]; a[0] = 1; return a[0] - 1; }}"
    asked = request(started_kata, "gcc a.c && ./a.out", {"a.c": source.encode()}, image_name=GCC)
    assert runner.Run(asked).status == status


def test_a_run_sees_neither_manifests_nor_the_sandboxes_of_others(
    run: Run, started_kata: Kata
) -> None:
    started_kata.start_avatar("zebra", {"secret.txt": b"zebra's"})
    response = run("cat ../../zebra/sandbox/secret.txt; ls ../../zebra/sandbox; touch ../mine")
    assert response.stdout.content == b""
    assert response.stderr.content.count(b"Permission denied") == 3


def test_the_image_has_to_be_on_this_host(runner: Stub, started_kata: Kata) -> None:
    missing = request(started_kata, image_name="cyberdojofoundation/not-here")
    error = refused(lambda: runner.Run(missing), grpc.StatusCode.FAILED_PRECONDITION)
    assert "cyberdojofoundation/not-here is not on this host" in error.details()
    assert not list(started_kata.sandbox(AVATAR).iterdir())


def test_a_kata_without_a_data_container_is_not_found(runner: Stub, started_kata: Kata) -> None:
    another = "1" if started_kata.id[-1] == "0" else "0"
    in_lower_case = started_kata.id[:-1].lower() + "f"
    for unknown in ("0000000000", started_kata.id[:-1] + another, in_lower_case):
        asked = request(started_kata, kata_id=unknown)
        error = refused(partial(runner.Run, asked), grpc.StatusCode.NOT_FOUND)
        assert unknown in error.details()


def test_an_avatar_that_was_not_started_is_not_found(runner: Stub, started_kata: Kata) -> None:
    asked = request(started_kata, avatar="zebra")
    error = refused(lambda: runner.Run(asked), grpc.StatusCode.NOT_FOUND)
    assert "zebra was not started" in error.details()


def test_a_pruned_handle_is_made_again(run: Run, started_kata: Kata, engine: Engine) -> None:
    run("echo one > left.txt")
    name = f"{started_kata.folder.parent.name}"
    engine.api.remove_container(name, v=True)
    assert run("cat left.txt").stdout.content == b"one\n"
    wait_until(lambda: engine.api.containers(all=True, filters={"name": f"^/{name}$"}))


def test_runs_use_the_configured_runtime(
    engine: Engine,
    namespace: Namespace,
    tmp_path_factory: pytest.TempPathFactory,
    start_service: StartService,
    client: Callable[[Service], Stub],
) -> None:
    folder = tmp_path_factory.mktemp("engine")
    with (
        services_on_an_own_engine(
            ["runner"], engine, folder, start_service, PYTHON, CYBER_DOJO_RUN_RUNTIME=OTHER_RUNTIME
        ) as (own, (service,)),
        contextlib.closing(Engine(own.url)) as with_own,
    ):
        kata = make_kata(DataContainers(with_own, namespace, with_own.volume_root()))
        kata.start_avatar(AVATAR)
        assert_serves(client(service), kata)
        wait_until(lambda: waiting_containers(with_own, kata))
        (container,) = waiting_containers(with_own, kata)
        config = with_own.api.inspect_container(container)["HostConfig"]
        assert config["Runtime"] == OTHER_RUNTIME
