"""With `-Werror`, warnings that are newer than a legacy kata's compiler do not fail its build."""

from collections.abc import Callable

import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from support.kata_folders import Kata
from support.paths import TOP

IMAGES = TOP / "images" / "languages"

# Code that newer compilers warn of, by the warning. Unused results are older than gcc 4.8, but
# newer headers mark many more functions.
NEWER = {
    "builtin-declaration-mismatch": b"int strlen(int);\nint f(void) { return strlen(1); }\n",
    "misleading-indentation": b"int f(int n)\n{\n  if (n)\n    n++;\n    n++;\n  return n;\n}\n",
    "pointer-compare": b"int f(const char* text) { return text == '\\0'; }\n",
    "unused-result": b"__attribute__((warn_unused_result)) int g(void);\nvoid f(void) { g(); }\n",
}
# An unused variable has always been a warning.
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


@pytest.mark.parametrize("warning", NEWER)
@pytest.mark.parametrize("compiler", ["gcc", "cc"])
def test_a_warning_that_only_newer_compilers_know_is_no_error(
    compile_in: Compile, compiler: str, warning: str
) -> None:
    response = compile_in(compiler, NEWER[warning])
    assert response.status == 0, response
    assert f"[-W{warning}]".encode() in response.stderr.content


def test_a_warning_that_every_compiler_knows_is_an_error(compile_in: Compile) -> None:
    response = compile_in("gcc", OLDER)
    assert response.status == 1
    assert b"[-Werror=unused-variable]" in response.stderr.content
