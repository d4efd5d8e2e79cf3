"""The healthcheck command."""

from support.services import run_healthcheck


def test_the_healthcheck_command_says_why_a_service_is_not_serving() -> None:
    done = run_healthcheck("127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("127.0.0.1:1: ")
    assert "Traceback" not in done.stderr
