"""What start points and images rely on in a run: variables, cleaners, and bash."""

import io
import re
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from dojo import naming
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    GCC,
    GREEN,
    PYTHON,
    Run,
    Stub,
    prepare,
    refused,
    request,
    runs_in,
)
from support.services import wait_until

CLEANERS = ". ~/cyber_dojo_fs_cleaners.sh\n"


@pytest.fixture(scope="module")
def build(engine: Engine, namespace: Namespace) -> Iterator[Callable[[str], str]]:
    """Builds images that start from Python's: `build("RUN rm /bin/bash")`."""
    built: list[str] = []

    def build(instructions: str) -> str:
        name = f"{namespace.name}-{secrets.token_hex(4)}"
        dockerfile = io.BytesIO(f"FROM {PYTHON}\nUSER root\n{instructions}\n".encode())
        # Without the cache: another worker of the tests may be removing images from the cache.
        lines = engine.api.build(
            fileobj=dockerfile,
            tag=name,
            nocache=True,
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
        )
        for line in lines:
            assert "error" not in line, line
        built.append(name)
        return name

    yield build
    for name in built:
        engine.api.remove_image(name)


@pytest.fixture(scope="module")
def without_bash(build: Callable[[str], str]) -> str:
    """An image that has sh but no bash."""
    return build("RUN rm /bin/bash")


@pytest.fixture(params=["bash", "sh"])
def run_in_each(request: pytest.FixtureRequest, run: Run) -> Run:
    """Runs a script in an image with bash, and in one without bash."""
    if request.param == "bash":
        return run
    return partial(run, image_name=request.getfixturevalue("without_bash"))


@pytest.fixture
def sandbox(started_kata: Kata) -> Path:
    """The whale's sandbox."""
    return started_kata.sandbox(AVATAR)


def names(sandbox: Path) -> set[str]:
    """Return the paths in a sandbox, without cyber-dojo.sh."""
    found = {str(path.relative_to(sandbox)) for path in sandbox.rglob("*")}
    return found - {"cyber-dojo.sh"}


@pytest.mark.parametrize("is_warm", [False, True])
def test_variables_identify_the_run(runner: Stub, started_kata: Kata, *, is_warm: bool) -> None:
    if is_warm:
        assert prepare(runner, started_kata)
    response = runs_in(runner, started_kata)("env | grep ^CYBER_DOJO_ | sort")
    assert response.stdout.content.decode().splitlines() == [
        f"CYBER_DOJO_AVATAR_NAME={AVATAR}",
        f"CYBER_DOJO_ID={started_kata.id}",
        f"CYBER_DOJO_IMAGE_NAME={PYTHON}",
        f"CYBER_DOJO_SANDBOX={naming.sandbox_path(started_kata.id, AVATAR)}",
    ]


def test_a_program_finds_its_user_name(run: Run) -> None:
    response = run("python3 -c 'import getpass; print(getpass.getuser())'")
    assert response.stdout.content.decode() == f"{AVATAR}\n"


def test_the_sandbox_variable_is_the_working_directory(run_in_each: Run) -> None:
    response = run_in_each('[ "$CYBER_DOJO_SANDBOX" = "$(pwd -P)" ]; echo $?')
    assert response.stdout.content == b"0\n"


def test_variables_of_the_image_are_kept_except_home(run: Run, build: Callable[[str], str]) -> None:
    image = build("ENV HOME=/root LANG=C.UTF-8 LIBRARY=/usr/lib/a shell=own PATH=/opt/a:$PATH")
    response = run('echo "$HOME $LANG $LIBRARY $shell ${PATH%%:*}"', image_name=image)
    assert response.stdout.content == b"/tmp C.UTF-8 /usr/lib/a own /opt/a\n"


def anonymous_volumes(engine: Engine) -> set[str]:
    """Return the names of the volumes that the engine made by itself."""
    names = (each["Name"] for each in engine.api.volumes()["Volumes"])
    return {name for name in names if re.fullmatch("[0-9a-f]{64}", name)}


def test_what_an_image_declares_takes_nothing_from_the_limits_of_a_run(
    run: Run, build: Callable[[str], str], engine: Engine
) -> None:
    image = build(
        'VOLUME /data /tmp /sandbox /dev/shm /srv/data/\nUSER nobody\nENTRYPOINT ["/bin/false"]\n'
        "HEALTHCHECK --interval=1s CMD touch /tmp/checked\nWORKDIR /var\n"
    )
    before = anonymous_volumes(engine)
    response = run(
        "for path in /data /srv/data; do touch $path/x && echo written; done\n"
        "touch /tmp/x /dev/shm/x && echo kept\n"
        "grep -cE ' (/tmp|/dev/shm) tmpfs ' /proc/mounts; id -un; ls /tmp/checked\n",
        image_name=image,
    )
    assert response.stdout.content == b"kept\n2\nwhale\n"
    assert b"Read-only file system" in response.stderr.content
    wait_until(lambda: anonymous_volumes(engine) <= before)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/sandbox/data", "a run can have none at /sandbox/data"),
        ("//sandbox/../sandbox/data", "a run can have none at //sandbox/../sandbox/data"),
        ("/usr/src/cyber-dojo/katas/49", "a run can have none at /usr/src/cyber-dojo/katas/49"),
        ("data", "a run can have none at data"),
        ("/", "a run can have none at /"),
        ("/dev", "nothing can be run without what it has at /dev"),
        ("/usr", "nothing can be run without what it has at /usr"),
    ],
)
def test_an_image_with_a_volume_that_no_run_can_have_is_refused(
    run: Run, build: Callable[[str], str], sandbox: Path, path: str, reason: str
) -> None:
    image = build(f"VOLUME {path}")
    error = refused(lambda: run(image_name=image), grpc.StatusCode.FAILED_PRECONDITION)
    says = f"image {image} can't be used: it declares volumes, and {reason}"
    assert says in error.details()
    assert not (sandbox / "data").exists()


@pytest.mark.parametrize("path", ["//tmp", "/data/../tmp/", "/tmp/inner"])  # noqa: S108
def test_a_volume_that_an_image_declares_in_another_way_is_covered_too(
    run: Run, build: Callable[[str], str], engine: Engine, path: str
) -> None:
    before = anonymous_volumes(engine)
    response = run(
        "touch /tmp/x && echo kept\n"
        "touch /tmp/inner/x && echo written\n"
        'awk \'$2 ~ "^/tmp" && $3 != "tmpfs"\' /proc/mounts\n',
        image_name=build(f"VOLUME {path}"),
    )
    assert response.stdout.content == b"kept\n"
    wait_until(lambda: anonymous_volumes(engine) <= before)


def test_home_is_writable_and_new_in_each_run(run_in_each: Run) -> None:
    script = "cat ~/made ~/.made; echo made > ~/made; echo made > ~/.made; cat ~/made"
    for _ in range(2):
        assert run_in_each(script).stdout.content == b"made\n"


def test_a_run_can_not_change_the_cleaners_of_the_next_one(run: Run) -> None:
    run("echo 'echo forged' > ~/cyber_dojo_fs_cleaners.sh")
    run("rm ~/cyber_dojo_fs_cleaners.sh; mkdir ~/cyber_dojo_fs_cleaners.sh")
    response = run(CLEANERS + "cyber_dojo_delete_files a; echo $?")
    assert (response.stdout.content, response.stderr.content) == (b"0\n", b"")


def test_folders_are_deleted_with_what_is_in_them(run_in_each: Run, sandbox: Path) -> None:
    response = run_in_each(
        CLEANERS + "mkdir -p obj/deep 'a  b' ./-r .cache keep; touch obj/deep/a 'a  b/*' file\n"
        "cyber_dojo_delete_dirs obj 'a  b' not-there -r '' .cache"
    )
    assert (response.status, response.stderr.content) == (0, b"")
    assert names(sandbox) == {"keep", "file"}


def test_files_are_deleted_and_folders_are_not(run_in_each: Run, sandbox: Path) -> None:
    response = run_in_each(
        CLEANERS
        + "mkdir folder; touch a.out b.pyc c.pyc 'a  b' ./-f keep folder/a; chmod 0 a.out\n"
        "cyber_dojo_delete_files a.out *.pyc 'a  b' -f not-there *.none folder"
    )
    assert (response.status, response.stderr.content) == (0, b"")
    assert names(sandbox) == {"keep", "folder", "folder/a"}


def test_folders_are_reset(run_in_each: Run, sandbox: Path) -> None:
    response = run_in_each(
        CLEANERS + "mkdir coverage; touch coverage/old file\n"
        "cyber_dojo_reset_dirs coverage 'a  b' new/deep file\n"
        "cyber_dojo_reset_dirs"
    )
    assert (response.status, response.stderr.content) == (0, b"")
    assert names(sandbox) == {"coverage", "a  b", "new", "new/deep", "file"}
    assert (sandbox / "file").is_dir()


def test_a_link_is_deleted_and_what_it_leads_to_stays(run_in_each: Run, sandbox: Path) -> None:
    response = run_in_each(
        CLEANERS + "mkdir folder; touch folder/a file; ln -s folder one; ln -s file two\n"
        "cyber_dojo_delete_dirs one; cyber_dojo_delete_files two"
    )
    assert response.status == 0
    assert names(sandbox) == {"folder", "folder/a", "file"}


@pytest.mark.parametrize("status", [0, 3])
def test_cleaners_in_an_exit_trap_keep_the_exit_status(
    run_in_each: Run, sandbox: Path, status: int
) -> None:
    response = run_in_each(
        "set -eu\n"
        + CLEANERS
        + "cleaned() { cyber_dojo_delete_dirs obj; cyber_dojo_delete_files a.txt *.none; }\n"
        f"trap cleaned EXIT\nmkdir obj; touch a.txt b.txt; (exit {status}); echo tests: passed"
    )
    assert response.status == status
    assert names(sandbox) == {"b.txt"}


def test_the_script_of_a_legacy_start_point_runs(run: Run, sandbox: Path) -> None:
    response = run(
        """set -e
source ~/cyber_dojo_fs_cleaners.sh
export REPORT_DIR=${CYBER_DOJO_SANDBOX}/report
function cyber_dojo_enter()
{
  cyber_dojo_reset_dirs ${REPORT_DIR}
}
function cyber_dojo_exit()
{
  cyber_dojo_delete_dirs .pytest_cache
  cyber_dojo_delete_files *.pyc
}
cyber_dojo_enter
trap cyber_dojo_exit EXIT SIGTERM
mkdir .pytest_cache
touch a.pyc
echo all well > ${REPORT_DIR}/style.txt
echo tests: passed | tee ${REPORT_DIR}/coverage.txt
"""
    )
    assert (response.colour, response.status, response.stderr.content) == (GREEN, 0, b"")
    assert dict(response.changed_files) == {
        "report/coverage.txt": b"tests: passed\n",
        "report/style.txt": b"all well\n",
    }
    assert names(sandbox) == {"report", "report/coverage.txt", "report/style.txt"}


@pytest.mark.parametrize(
    "instructions",
    [
        "",
        "RUN mkdir /sandbox && touch /sandbox/mine",
        "VOLUME /sandbox",
        "RUN ln -s /proc/self/cwd /sandbox",
    ],
    ids=["nothing", "a folder", "a volume", "a link"],
)
def test_the_sandbox_is_where_scripts_of_today_look_for_it(
    run: Run, build: Callable[[str], str], sandbox: Path, instructions: str
) -> None:
    """Start points of today write `/sandbox/…`; an image may have a folder or a link there."""
    image = build(instructions)
    response = run(
        "echo one > /sandbox/one.txt; mkdir -p inner; (cd /sandbox/inner; echo two > two.txt)\n"
        "cat /sandbox/given.txt; test /sandbox -ef . && echo same",
        {"given.txt": b"given\n"},
        image_name=image,
    )
    assert response.stderr.content == b""
    assert response.stdout.content == b"given\nsame\n"
    assert dict(response.changed_files) == {"one.txt": b"one\n", "inner/two.txt": b"two\n"}
    assert names(sandbox) == {"given.txt", "one.txt", "inner", "inner/two.txt"}


@pytest.mark.parametrize("path", ["/sandbox", "/tmp"])  # noqa: S108
def test_an_image_with_a_file_where_a_run_has_a_folder_is_refused(
    runner: Stub, started_kata: Kata, build: Callable[[str], str], path: str
) -> None:
    image = build(f"RUN rm -rf {path} && touch {path}")
    asked = request(started_kata, image_name=image)
    error = refused(lambda: runner.Run(asked), grpc.StatusCode.FAILED_PRECONDITION)
    assert f"image {image} can't be used: it has a file where a run has a folder" in error.details()


def test_the_sandbox_is_there_too_for_a_program_in_another_folder(run: Run) -> None:
    response = run("cd /tmp; echo made > /sandbox/made.txt")
    assert dict(response.changed_files) == {"made.txt": b"made\n"}


@pytest.mark.parametrize("image_name", [PYTHON, GCC])
def test_a_script_runs_in_bash_if_the_image_has_bash(run: Run, image_name: str) -> None:
    script = """set -o pipefail
words=(one two)
[[ ${words[1]} == t?o && $BASH_SOURCE == ./cyber-dojo.sh ]] && echo "${#words[@]}" <(true)
false | true
echo "$? ${PIPESTATUS[0]} $-"
"""
    response = run(script, image_name=image_name)
    lines = response.stdout.content.decode().splitlines()
    assert lines == ["2 /dev/fd/63", "1 1 hB"]
    assert (response.status, response.stderr.content) == (0, b"")


def test_a_script_runs_in_sh_if_the_image_has_no_bash(run: Run, without_bash: str) -> None:
    response = run('echo "${BASH_VERSION-none}"; [[ a == a ]]', image_name=without_bash)
    assert response.stdout.content == b"none\n"
    assert (response.status, b"[[: not found" in response.stderr.content) == (127, True)


@pytest.mark.parametrize(
    ("number", "said"), [(9, b"Killed"), (11, b"Segmentation fault"), (6, b"Aborted")]
)
def test_the_shell_reports_a_program_that_crashed(
    run_in_each: Run, number: int, said: bytes
) -> None:
    response = run_in_each(f"sh -c 'kill -{number} $$'\necho $?")
    assert response.stdout.content == b"%d\n" % (128 + number)
    assert said in response.stderr.content
    assert response.status == 0


def test_a_terminated_script_runs_its_traps(run_in_each: Run) -> None:
    response = run_in_each("trap 'echo asked; exit 5' TERM; trap 'echo end' EXIT; kill $$")
    assert (response.stdout.content, response.status) == (b"asked\nend\n", 5)


def test_a_start_up_file_of_the_shell_is_read_once_and_only_for_the_script(
    run: Run, build: Callable[[str], str]
) -> None:
    image = build("ENV ENV=/read BASH_ENV=/read\nRUN echo 'echo read by $0' > /read")
    response = run("echo run", image_name=image)
    assert response.stdout.content == b"read by ./cyber-dojo.sh\nrun\n"
    assert (response.status, response.stderr.content) == (0, b"")


def test_programs_that_a_run_left_do_not_run_before_the_next_run_begins(
    runner: Stub, started_kata: Kata, build: Callable[[str], str], sandbox: Path
) -> None:
    image = build("ENV PATH=.:$PATH")
    run = partial(runs_in(runner, started_kata), image_name=image)
    program = '#!/bin/sh\\nPATH=/usr/bin:/bin; echo $0 >> ran; exec bash "$@"\\n'
    programs = "bash cat echo mkdir printf rm"
    run(f"for each in {programs}; do printf '{program}' > $each; chmod +x $each; done")
    assert prepare(runner, started_kata, image_name=image)
    assert not (sandbox / "ran").exists()
    assert run("echo tests: passed").colour == GREEN
    assert (sandbox / "ran").read_bytes() == b"./bash\n"


@pytest.mark.parametrize("is_warm", [False, True])
def test_a_program_can_connect_to_itself_by_name(
    runner: Stub, started_kata: Kata, *, is_warm: bool
) -> None:
    if is_warm:
        assert prepare(runner, started_kata)
    talking = b"""import os, socket, threading
for name, family in (
    ("localhost", socket.AF_INET),
    ("localhost", socket.AF_INET6),
    (socket.gethostname(), socket.AF_INET),
):
    (_, _, _, _, address), *_ = socket.getaddrinfo(name, 0, family, socket.SOCK_STREAM)
    with socket.create_server(address, family=family) as server:
        port = server.getsockname()[1]
        with socket.create_connection((name, port)) as client, server.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
"""
    response = runs_in(runner, started_kata)("python3 talking.py", {"talking.py": talking})
    assert (response.status, response.stderr.content) == (0, b"")


def test_no_run_can_change_the_hosts_file(run: Run, sandbox: Path) -> None:
    script = "ln /etc/hosts .; rm /etc/hosts; echo 127.0.0.1 forged >> /etc/hosts; cat /etc/hosts"
    response = run(script)
    assert b"localhost" in response.stdout.content
    assert b"forged" not in response.stdout.content
    assert names(sandbox) == set()
