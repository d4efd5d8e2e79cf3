"""The results of each test, as a message."""

import datetime as dt

from cyberdojo.results.v1 import results_pb2
from runner.results.results import Results, Status

_STATUSES = {
    Status.PASSED: results_pb2.TEST_STATUS_PASSED,
    Status.FAILED: results_pb2.TEST_STATUS_FAILED,
    Status.ERROR: results_pb2.TEST_STATUS_ERROR,
    Status.SKIPPED: results_pb2.TEST_STATUS_SKIPPED,
}


def write(results: Results, message: results_pb2.TestResults) -> None:
    """Write results into an empty message."""
    message.message, message.fault = results.message, results.fault
    counts = results.counts
    message.counts.CopyFrom(
        results_pb2.TestCounts(
            passed=counts.get(Status.PASSED, 0),
            failed=counts.get(Status.FAILED, 0),
            errors=counts.get(Status.ERROR, 0),
            skipped=counts.get(Status.SKIPPED, 0),
        )
    )
    for each in results.tests:
        added = message.tests.add(
            name=each.name,
            group=each.group,
            status=_STATUSES[each.status],
            message=each.message,
        )
        if each.seconds is not None:
            added.duration.FromTimedelta(dt.timedelta(seconds=each.seconds))
