"""Traces: which headers count as one, and that without a receiver nothing is sent or loaded."""

import contextvars

import pytest

from dojo import traces

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
VALID = f"00-{ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize("header", [VALID, f"cc-{ID}-00f067aa0ba902b7-00-later"])
def test_a_traceparent_is_received_and_goes_on(header: str) -> None:
    metadata = [("user-agent", "a"), ("traceparent", header)]
    assert traces.received(metadata) == header
    assert traces.trace_id(header) == ID

    def serve() -> None:
        with traces.call("Run", header), traces.step("queue"):
            assert traces.metadata() == (("traceparent", header),)

    contextvars.copy_context().run(serve)
    assert traces.metadata() == ()


@pytest.mark.parametrize(
    "header",
    [
        "",
        ID,
        VALID.upper(),
        f"{VALID}\n",
        f"00-{ID}-00f067aa0ba902b7",
        f"ff-{ID}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{ID}-{'0' * 16}-01",
        f"cc-{ID}-00f067aa0ba902b7-00-{'a' * 101}",
    ],
)
def test_a_malformed_traceparent_is_ignored(header: str) -> None:
    assert traces.received([("traceparent", header)]) == ""


def test_a_call_without_metadata_has_no_trace() -> None:
    assert traces.received(None) == ""
    assert traces.received([("traceparent-bin", VALID.encode())]) == ""
