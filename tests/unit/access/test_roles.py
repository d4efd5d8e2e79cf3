"""One table says who may call what, and callers are refused before their message is parsed."""

import asyncio
import dataclasses
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from dojo.access import tokens
from dojo.access.gate import ON_BEHALF_KEY
from dojo.access.roles import ROLES, Role, roles_of
from dojo.service.settings import CommonSettings
from support.access import METHODS, Files, bearer, channel_to, make_files, path_of, served

UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
DELETE = "/cyberdojo.storer.v1.StorerService/DeleteKata"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Tokens of every role. Tests must not change them."""
    return make_files(tmp_path_factory.mktemp("access"))


@pytest.fixture
def settings(files: Files) -> CommonSettings:
    """The settings of a service that knows its callers, without TLS."""
    return CommonSettings(callers=files.callers)


def test_the_table_names_every_rpc_that_the_services_have_and_no_other() -> None:
    assert set(ROLES) == {path_of(method) for method in METHODS}


def test_an_operator_may_do_everything_and_nobody_else_may_lose_or_list_katas() -> None:
    assert all(Role.OPERATOR in allowed for allowed in ROLES.values())
    for name in ("DeleteKata", "ArchiveKata", "ListKatas", "BackupKatas", "RestoreKatas"):
        assert ROLES[f"/cyberdojo.storer.v1.StorerService/{name}"] == {Role.OPERATOR}


def test_a_reader_changes_nothing() -> None:
    reads = ("Get", "List", "Watch", "Diff", "Download")
    for method, allowed in ROLES.items():
        if Role.READER in allowed:
            assert method.rpartition("/")[2].startswith(reads)


def test_an_rpc_that_the_table_lacks_is_for_operators() -> None:
    assert roles_of("/cyberdojo.storer.v1.StorerService/New") == {Role.OPERATOR}


@pytest.mark.parametrize("role", Role)
def test_each_rpc_takes_the_roles_of_the_table(
    settings: CommonSettings, files: Files, role: Role
) -> None:
    async def main() -> None:
        async with served(settings) as server, channel_to(server.address) as channel:
            refused = 0
            for method, allowed in ROLES.items():
                code = await server.call(channel, method, bearer(files.tokens[role]))
                # Whoever is let in is told that the request can't be parsed.
                assert code is (INVALID_ARGUMENT if role in allowed else PERMISSION_DENIED), method
                refused += role not in allowed
            assert server.access.gate.denials.counts.total() == refused

    asyncio.run(main())


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Basic {0}", "{0}", "Bearer {0}x"])
def test_no_rpc_is_for_somebody_without_a_valid_token(
    settings: CommonSettings, files: Files, sent: str
) -> None:
    metadata = [("authorization", sent.format(files.tokens[Role.OPERATOR]))] if sent else []

    async def main() -> None:
        async with served(settings) as server, channel_to(server.address) as channel:
            for method in ROLES:
                assert await server.call(channel, method, *metadata) is UNAUTHENTICATED, method
            counts = server.access.gate.denials.counts
            assert counts == {(method, UNAUTHENTICATED): 1 for method in ROLES}

    asyncio.run(main())


def test_a_scheme_has_no_case(settings: CommonSettings, files: Files) -> None:
    metadata = ("authorization", f"bearer {files.tokens[Role.OPERATOR]}")

    async def main() -> None:
        async with served(settings) as server, channel_to(server.address) as channel:
            assert await server.call(channel, DELETE, metadata) is INVALID_ARGUMENT

    asyncio.run(main())


@pytest.mark.parametrize(
    ("role", "on_behalf", "code"),
    [
        (Role.OPERATOR, "operator somebody", INVALID_ARGUMENT),
        (Role.OPERATOR, "web somebody", PERMISSION_DENIED),
        (Role.OPERATOR, "reader", PERMISSION_DENIED),
        (Role.OPERATOR, "nobody somebody", UNAUTHENTICATED),
        (Role.OPERATOR, "", UNAUTHENTICATED),
        (Role.WEB, "operator somebody", PERMISSION_DENIED),
    ],
)
def test_a_machine_that_sends_a_call_on_may_do_what_its_caller_may(
    settings: CommonSettings, files: Files, role: Role, on_behalf: str, code: grpc.StatusCode
) -> None:
    metadata = [bearer(files.tokens[role]), (ON_BEHALF_KEY, on_behalf)]

    async def main() -> None:
        async with served(settings) as server, channel_to(server.address) as channel:
            assert await server.call(channel, DELETE, *metadata) is code

    asyncio.run(main())


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    (operator,) = (each for each in files.entries() if each.role is Role.OPERATOR)
    files.write_callers([dataclasses.replace(operator, expires=tokens.parse_expiry("2020-01-31"))])

    async def main() -> None:
        settings = CommonSettings(callers=files.callers)
        async with served(settings) as server, channel_to(server.address) as channel:
            metadata = bearer(files.tokens[Role.OPERATOR])
            assert await server.call(channel, DELETE, metadata) is UNAUTHENTICATED

    asyncio.run(main())


def test_health_is_open_and_reflection_is_for_who_has_a_token(
    settings: CommonSettings, files: Files
) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")

    async def main() -> None:
        async with served(settings) as server, channel_to(server.address) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest()
            )
            assert health.status == health_pb2.HealthCheckResponse.SERVING
            reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflect(iter([request])).read()
            assert caught.value.code() is UNAUTHENTICATED
            metadata = [bearer(files.tokens[Role.READER])]
            answer = await reflect(iter([request]), metadata=metadata).read()
            assert len(answer.list_services_response.service) >= 3

    asyncio.run(main())


def test_without_callers_everybody_may_do_everything() -> None:
    async def main() -> None:
        async with served(CommonSettings()) as server, channel_to(server.address) as channel:
            for method in ROLES:
                assert await server.call(channel, method) is INVALID_ARGUMENT, method

    asyncio.run(main())
