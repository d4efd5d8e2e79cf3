"""How long a run may take, where a message does not say it."""

import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import run_seconds
from dojo.errors import InvalidArgument
from runner.api import servicer
from storer.api import converters


def test_an_absent_limit_is_the_same_for_a_run_and_for_a_kata() -> None:
    run = runner_pb2.RunRequest(
        kata_id="5A0F824303", avatar="whale", image_name="a/b", files={"cyber-dojo.sh": b""}
    )
    assert servicer._validated(run).max_seconds == run_seconds.DEFAULT_SECONDS
    manifest = converters.manifest_from(storer_pb2.Manifest())
    assert manifest.max_seconds == run_seconds.DEFAULT_SECONDS


@pytest.mark.parametrize("bad", [-1, 61, 2**31 - 1])
def test_a_limit_that_is_out_of_range_is_refused(bad: int) -> None:
    with pytest.raises(InvalidArgument, match="is not from 1 to 60"):
        run_seconds.check(bad, "max_seconds")
    assert run_seconds.check(60, "max_seconds") == 60
