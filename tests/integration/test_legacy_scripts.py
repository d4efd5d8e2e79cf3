"""The current images run the cyber-dojo.sh and makefiles of legacy katas."""

from collections.abc import Callable

import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from support.kata_folders import Kata
from support.legacy_script_files import LegacyScript
from support.legacy_scripts import LEGACY_SCRIPTS
from support.start_point_files import NAMES, SUITE, Files, fixed, visible_files

AVATAR = "whale"

Test = Callable[[LegacyScript, Files], runner_pb2.RunResponse]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test with the scripts of the suite's languages; with --all-languages, with all."""
    if "legacy" in metafunc.fixturenames:
        names = NAMES if metafunc.config.getoption("all_languages") else SUITE
        chosen = [each for each in LEGACY_SCRIPTS if each.image in names]
        metafunc.parametrize(
            "legacy", chosen, ids=[f"{each.image}: {each.subject}" for each in chosen]
        )


@pytest.fixture
def test(runner: runner_pb2_grpc.RunnerServiceStub, kata: Kata) -> Test:
    """Runs a legacy script in the whale's sandbox."""
    kata.start_avatar(AVATAR)

    def test(legacy: LegacyScript, start_point: Files) -> runner_pb2.RunResponse:
        asked = runner_pb2.RunRequest(
            kata_id=kata.id,
            avatar=AVATAR,
            image_name=f"cyberdojofoundation/{legacy.image}",
            files=legacy.visible_files(start_point),
            max_seconds=60,
            colour_rule=legacy.colour_rule(),
        )
        return runner.Run(asked, timeout=120)

    return test


def test_a_legacy_script_is_red_and_becomes_green(test: Test, legacy: LegacyScript) -> None:
    response = test(legacy, visible_files(legacy.image))
    assert response.colour == colour_pb2.COLOUR_RED, response
    response = test(legacy, fixed(legacy.image))
    assert response.colour == colour_pb2.COLOUR_GREEN, response
