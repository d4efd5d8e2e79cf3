"""With `-Werror`, warnings that are newer than a legacy kata's compiler do not fail its build."""

from collections.abc import Callable

import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from support.kata_folders import Kata
from support.paths import TOP

IMAGES = TOP / "images" / "languages"

# The first has misleading indentation, a warning since gcc 6; the second has an unused variable,
# which has always been a warning.
NEWER = b"int f(int n)\n{\n    if (n)\n        n++;\n        n++;\n    return n;\n}\n"
OLDER = b"int f(int n)\n{\n    int unused;\n    return n;\n}\n"

Compile = Callable[[str, bytes], runner_pb2.RunResponse]


@pytest.fixture
def compile_in(runner: runner_pb2_grpc.RunnerServiceStub, kata: Kata) -> Compile:
    """Compiles a file like legacy makefiles: `compile_in("gcc", content)`."""
    kata.start_avatar("whale")

    def compile_in(compiler: str, content: bytes) -> runner_pb2.RunResponse:
        script = f"{compiler} -Wall -Wextra -Werror -O -std=c99 -c hiker.c"
        request = runner_pb2.RunRequest(
            kata_id=kata.id,
            avatar="whale",
            image_name="cyberdojofoundation/gcc_assert",
            files={"cyber-dojo.sh": script.encode(), "hiker.c": content},
            max_seconds=60,
        )
        return runner.Run(request, timeout=120)

    return compile_in


@pytest.mark.parametrize("compiler", ["gcc", "cc"])
def test_a_warning_that_only_newer_compilers_know_is_no_error(
    compile_in: Compile, compiler: str
) -> None:
    response = compile_in(compiler, NEWER)
    assert response.status == 0
    assert b"[-Wmisleading-indentation]" in response.stderr.content


def test_a_warning_that_every_compiler_knows_is_an_error(compile_in: Compile) -> None:
    response = compile_in("gcc", OLDER)
    assert response.status == 1
    assert b"[-Werror=unused-variable]" in response.stderr.content
