"""Does with a Python client what a case of clients/cases.json says."""

import asyncio
import base64
import inspect
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, message_factory

from cyber_dojo_client import (
    Access,
    AsyncClient,
    CallFailed,
    Client,
    Incomplete,
    Tls,
    in_order,
    plain,
    refused,
    text,
)
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from support.clients.scripted import SERVICES

KATA_ID = "493A06504A"


def drive(
    kind: type[Client] | type[AsyncClient],
    do: Mapping[str, Any],
    address: str,
    folder: Path,
    root_certificates: bytes,
) -> dict[str, Any]:
    """Return what comes of it, as a case expects it."""

    async def all_of_it() -> dict[str, Any]:
        tls = Tls(root_certificates) if do.get("tls") else None
        client: Any = kind(address, address, Access(do.get("token", ""), tls))
        try:
            return await _done(client, do, folder)
        except (CallFailed, Incomplete) as error:
            return {"error": _told(error, do.get("only"))}
        except (TypeError, ValueError) as error:
            return {"refused": str(error)}
        finally:
            await _value(client.close())

    return asyncio.run(all_of_it())


async def _done(client: Any, do: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    match do:
        case {"text": contents}:
            return {"texts": [text(base64.b64decode(each)) for each in contents]}
        case {"order": names, "first": first}:
            return {"order": list(in_order(dict.fromkeys(names, b""), first))}
        case {"plain": fields}:
            kata = json_format.ParseDict(fields, storer_pb2.GetKataResponse())
            milliseconds = round(plain(kata.created).timestamp() * 1000)
            return {"other": plain(kata.manifest.other), "created_milliseconds": milliseconds}
        case {"press": files}:
            return await _press(client, do, files)
        case {"watch": watch}:
            return {"seen": await _watched(client, watch)}
        case {"watch_katas": watch}:
            return {"seen": await _watched_katas(client, **watch)}
        case {"download": name}:
            await _value(client.download(KATA_ID, folder / name))
            return {}
        case {"bundle": name}:
            await _value(client.download_bundle(KATA_ID, "whale", folder / name))
            return {}
    return await _called(client, do)


async def _called(client: Any, do: Mapping[str, Any]) -> dict[str, Any]:
    how, name = next(iter(do.items()))
    rpc, request = _rpc(client, name), _request(name, do)
    if how == "pages":
        return {"parts": await _messages(client.pages(rpc, request))}
    if how == "retry":
        answer = await _value(client.call(rpc, request, do.get("seconds", 30)))
    elif name == "runner.RunStream":
        return {"parts": await _messages(rpc(request))}
    else:
        answer = await _value(rpc(request))
    return (
        {"size": len(answer.stdout.content)}
        if do.get("only") == "size"
        else {"answer": json_format.MessageToDict(answer)}
    )


async def _messages(iterator: Any) -> list[dict[str, Any]]:
    return [json_format.MessageToDict(each) async for each in _each(iterator)]


async def _watched(client: Any, watch: Mapping[str, Any]) -> list[Any]:
    happened: list[Any] = []
    more = {"with_options": True} if watch.get("withOptions") else {}
    watching = client.watch(KATA_ID, watch["seen"], **more)
    async for each in _each(watching):
        light = [each.avatar, each.light.number]
        if each.HasField("options"):
            happened.append(json_format.MessageToDict(each.options))
        else:
            happened.append("caught up" if each.caught_up else light)
        if len(happened) == watch["take"]:
            break
    await _value(watching.aclose() if hasattr(watching, "aclose") else watching.close())
    return happened


async def _watched_katas(client: Any, seen: dict[str, dict[str, int]]) -> list[Any]:
    happened: list[Any] = []
    async for each in _each(client.watch_katas(seen)):
        light = [each.happened.avatar, each.happened.light.number]
        what: Any = "caught up" if each.happened.caught_up else light
        if each.HasField("refusal"):
            what = type(refused(each.refusal)).__name__
        happened.append([each.kata_id, what])
    return happened


async def _press(client: Any, do: Mapping[str, Any], files: dict[str, str]) -> dict[str, Any]:
    outputs: list[str] = []

    def show(part: runner_pb2.RunStreamResponse) -> None:
        if part.stdout:
            outputs.append(part.stdout.decode())

    contents: Any = files
    if not do.get("as_text"):
        contents = {name: content.encode() for name, content in files.items()}
    pressed = await _value(
        client.press_test(
            KATA_ID,
            "whale",
            json_format.ParseDict(do["manifest"], storer_pb2.Manifest()),
            contents,
            expected_number=do.get("expected"),
            predicted=do.get("predicted", 0),
            writer=do.get("writer", ""),
            on_part=show,
        )
    )
    shown = {name: content.decode() for name, content in pressed.files.items()}
    return {"light": pressed.light.number, "outputs": outputs, "files": shown}


def _rpc(client: Any, name: str) -> Any:
    service, _, rpc = name.partition(".")
    return getattr(getattr(client, service), rpc)


def _request(name: str, do: Mapping[str, Any]) -> Any:
    service, _, rpc = name.partition(".")
    kind = message_factory.GetMessageClass(SERVICES[service].methods_by_name[rpc].input_type)
    return kind(**do["fields"]) if "fields" in do else json_format.ParseDict(do["request"], kind())


async def _value(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _each(iterator: Any) -> AsyncIterator[Any]:
    if hasattr(iterator, "__aiter__"):
        async for each in iterator:
            yield each
    else:
        for each in iterator:
            yield each


def _told(error: Any, only: list[str] | None) -> dict[str, Any]:
    if isinstance(error, Incomplete):
        return {"type": "Incomplete"}
    told = {
        "type": type(error).__name__,
        "code": error.code().name,
        "message": error.details(),
        "reason": error.reason,
        "facts": error.facts,
        "fields": error.fields,
        "retry_after": error.retry_after,
        "is_temporary": error.is_temporary,
    }
    told |= {"newest": error.newest} if hasattr(error, "newest") else {}
    told |= {"ran": json_format.MessageToDict(error.ran)} if error.ran is not None else {}
    return {name: told[name] for name in only or told}
