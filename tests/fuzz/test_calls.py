"""Every RPC withstands every message, and every order of a stream's messages."""

from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import messages, profiles, strengths
from support.fuzz.targets import try_
from support.fuzz.watched import World

# Each of these starts a container, or makes a kata and reads it by every RPC.
SLOW = {"Run", "RunStream", "Prepare", "CreateKata", "ForkKata"}


def inputs(method: MethodDescriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Return calls of an RPC."""
    can_be_open = method.client_streaming or (strengths.CANCELLED_RUNS and "Run" in method.name)
    return st.fixed_dictionaries(
        {
            "method": st.just(method.full_name),
            "messages": messages.requests(method),
            "is_open": st.sampled_from([False, False, can_be_open]),
        }
    )


@pytest.mark.parametrize(
    "method", [*messages.STORER, *messages.RUNNER], ids=lambda method: method.name
)
def test_an_rpc_withstands_every_request(world: World, method: MethodDescriptor) -> None:
    @profiles.examples(6 if method.name in SLOW else 20)
    @given(inputs(method))
    def fuzz(call: dict[str, Any]) -> None:
        try_(world, "call", call)

    fuzz()
