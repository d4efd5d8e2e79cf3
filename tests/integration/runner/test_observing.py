"""An operator sees what both services do: metrics, traces across them, and lines for calls."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from runner.metrics import STEPS
from support.kata_folders import Kata
from support.prometheus import scraped, value
from support.runner.submissions import AVATAR, GREEN, PYTHON, held, request
from support.services import Service, wait_until
from support.trace_receiver import TraceReceiver, trace_receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = (("traceparent", f"00-{TRACE}-{CALLER}-01"),)
IMAGE = f"{PYTHON}:latest"


class Pair(NamedTuple):
    """Both services, clients of theirs, and what receives their traces."""

    storer_service: Service
    runner_service: Service
    storer: storer_pb2_grpc.StorerServiceStub
    runner: runner_pb2_grpc.RunnerServiceStub
    receiver: TraceReceiver


@pytest.fixture(scope="module")
def pair(
    start_service: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    with trace_receiver() as (receiver, url):
        observed = {
            "CYBER_DOJO_METRICS_LISTEN": "127.0.0.1:0",
            "CYBER_DOJO_TRACES": url,
            "CYBER_DOJO_LOG_LEVEL": "access",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            # As in a container where docker's config.json names one.
            "http_proxy": "http://127.0.0.1:1",
            "no_proxy": "",
        }
        archive = str(tmp_path_factory.mktemp("archive"))
        storer = start_service("storer", CYBER_DOJO_ARCHIVE=archive, **observed)
        runner = start_service(
            "runner",
            CYBER_DOJO_STORER=storer.address,
            CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1",
            **observed,
        )
        yield Pair(
            storer,
            runner,
            storer_pb2_grpc.StorerServiceStub(connect(storer.address)),
            runner_pb2_grpc.RunnerServiceStub(connect(runner.address)),
            receiver,
        )
        for service in (runner, storer):
            service.stop()
            assert not [each for each in service.events() if each["level"] == "error"]


def of_call(method: str, code: str = "OK", service: str = "RunnerService") -> dict[str, str]:
    package = service.removesuffix("Service").lower()
    full_name = f"cyberdojo.{package}.v1.{service}"
    return {"grpc_service": full_name, "grpc_method": method, "grpc_code": code}


def test_a_run_is_traced_from_its_caller_into_the_storer(pair: Pair, started_kata: Kata) -> None:
    pair.storer.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=started_kata.id))
    before = scraped(pair.storer_service)
    assert pair.runner.Run(request(started_kata), metadata=TRACEPARENT).colour == GREEN
    run = "cyberdojo.runner.v1.RunnerService/Run"
    imported = "cyberdojo.storer.v1.StorerService/ImportKata"
    spans = pair.receiver.wait_for(TRACE, {run, imported, *STEPS})
    assert spans[run].parent == CALLER
    assert spans[run].service == "cyber-dojo-runner"
    assert spans[run].attributes["rpc.response.status_code"] == "OK"
    assert spans[run].attributes["cyber_dojo.kata"] == started_kata.id
    assert spans[imported].service == "cyber-dojo-storer"
    assert {spans[name].parent for name in (imported, *STEPS)} == {spans[run].id}
    # The trace is in the log lines of both services, too.
    for service, event in ((pair.runner_service, "run"), (pair.storer_service, "kata imported")):
        line = service.wait_for_event(lambda each, event=event: each["event"] == event)  # type: ignore[misc]
        assert line["trace"] == TRACE
    after = scraped(pair.storer_service)
    fetched = {"source": "archive"}
    name = "cyber_dojo_katas_fetched_total"
    assert value(after, name, **fetched) == value(before, name, **fetched) + 1
    assert value(after, "cyber_dojo_katas_archived_total") >= 1


def test_a_run_and_its_wait_are_counted_logged_and_answered(pair: Pair, started_kata: Kata) -> None:
    before = scraped(pair.runner_service)
    first = held(pair.runner, started_kata)
    second = pair.runner.Run.future(request(started_kata))
    wait_until(lambda: value(scraped(pair.runner_service), "cyber_dojo_runs_waiting") == 1)
    during = scraped(pair.runner_service)
    assert value(during, "cyber_dojo_runs_in_progress") == 1
    assert value(during, "cyber_dojo_max_runs_in_progress") == 1
    first.release()
    answer = second.result()
    assert answer.waited.ToTimedelta().total_seconds() > 0
    waited_seconds = round(answer.waited.ToTimedelta().total_seconds(), 3)
    pair.runner_service.wait_for_event(
        lambda each: each["event"] == "run" and each["waited_seconds"] == waited_seconds
    )
    line = pair.runner_service.wait_for_event(
        lambda each: each["event"] == "call" and each["kata"] == started_kata.id
    )
    assert (line["level"], line["rpc"], line["code"]) == ("access", "Run", "OK")
    assert line["avatar"] == AVATAR
    after = scraped(pair.runner_service)
    green = {"image": IMAGE, "outcome": "green"}
    runs, calls = "cyber_dojo_runs_total", "grpc_server_handled_total"
    earlier = before.get((runs, frozenset(green.items())), 0)
    assert value(after, runs, **green) >= earlier + 1
    assert value(after, calls, **of_call("Run")) >= value(before, calls, **of_call("Run")) + 1
    for step in STEPS:
        steps = "cyber_dojo_run_step_seconds_count"
        assert value(after, steps, step=step) >= value(before, steps, step=step) + 2
    assert value(after, "cyber_dojo_engine_up") == 1
    used = "cyber_dojo_run_processor_seconds_total"
    assert value(after, used) > value(before, used)
    assert value(after, "cyber_dojo_run_peak_memory_bytes_count") >= 2
    created = "cyber_dojo_engine_request_seconds_count"
    assert value(after, created, operation="POST containers create") >= 1


def test_the_storer_tells_of_its_disks_and_of_what_verifying_finds(
    pair: Pair, started_kata: Kata
) -> None:
    (started_kata.folder / "manifest.json").write_bytes(b"{")
    verify = storer_pb2.VerifyKatasRequest(kata_ids=[started_kata.id], share_percent=100)
    assert any(each.HasField("finding") for each in pair.storer.VerifyKatas(verify))
    after = scraped(pair.storer_service)
    found = value(after, "cyber_dojo_verify_findings_total", kind="manifest", mended="no")
    assert found >= 1
    for disk in ("volumes", "archive"):
        free = value(after, "cyber_dojo_disk_free_bytes", disk=disk)
        assert 0 < free <= value(after, "cyber_dojo_disk_size_bytes", disk=disk)
    assert value(after, "cyber_dojo_data_containers") >= 0
    assert value(after, "cyber_dojo_write_ahead_logs", state="foreign") == 0


def test_labels_are_bounded_whatever_callers_send(pair: Pair, started_kata: Kata) -> None:
    texts = set()
    for number in range(3):
        with pytest.raises(grpc.RpcError):
            pair.runner.Run(request(started_kata, image_name=f"nobody/has-{number}"))
        with pytest.raises(grpc.RpcError):
            pair.runner.Run(request(started_kata, files={f"../{number}": b""}))
    for samples in (scraped(pair.runner_service), scraped(pair.storer_service)):
        texts |= {text for _, labels in samples for _, text in labels}
    assert not [each for each in texts if "nobody" in each or started_kata.id in each]


def test_a_receiver_that_does_not_answer_is_told_of_and_holds_up_nothing(
    start_service: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> None:
    service = start_service("runner", CYBER_DOJO_TRACES="http://127.0.0.1:1")
    runner = runner_pb2_grpc.RunnerServiceStub(connect(service.address))
    assert runner.ListImages(runner_pb2.ListImagesRequest(page_size=1)).images
    service.stop()
    told = [each for each in service.events() if each["event"] == "traces not sent"]
    assert {each["level"] for each in told} == {"warning"}
    assert len(service.events()) == len(service._lines)  # nothing else writes there
