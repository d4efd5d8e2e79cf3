"""Colour rules that are Ruby lambdas: they give the colour, and can do no harm."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cyberdojo.colour.v1 import colour_pb2
from dojo import avatars
from dojo.engine.client import Engine
from dojo.naming import KIND_LABEL, LABEL, Namespace
from dojo.ruby_lambdas import MAX_SOURCE_BYTES
from support.kata_folders import Kata
from support.runner.submissions import (
    AMBER,
    AVATAR,
    FAULTY,
    GREEN,
    RED,
    TIMED_OUT,
    Run,
    Stub,
    bad_field,
    children,
    request,
    runs_in,
)
from support.services import Service, wait_until
from support.storer.legacy_katas import SPIDERS_LAMBDA

NO_COLOUR = "the Ruby lambda gave no colour: "
REACHED_OUT = NO_COLOUR + "it tried what a rule may not"
TOO_LONG = NO_COLOUR + "it took longer than "
SAYS_SO = "lambda { |output| output.strip.to_sym }"


def ruby(source: str) -> colour_pb2.ColourRule:
    return colour_pb2.ColourRule(ruby_lambda=colour_pb2.RubyLambda(source=source))


def judged(run: Run, source: str, script: str = "true") -> tuple[int, str]:
    response = run(script, colour_rule=ruby(source))
    return response.colour, response.reason


def containers(engine: Engine, namespace: Namespace) -> list[str]:
    """Return the containers in which lambdas are evaluated."""
    labels = [f"{LABEL}={namespace.name}", f"{KIND_LABEL}=lambda"]
    found = engine.api.containers(all=True, filters={"label": labels})
    return [str(each["Id"]) for each in found]


@pytest.mark.parametrize(
    ("script", "source", "colour"),
    [
        # A single argument is standard output followed by standard error.
        ("echo red", "lambda { |output| output.strip.to_sym }", RED),
        ("printf gre; printf en >&2", "lambda { |output| output }", GREEN),
        ("echo green", "proc { |output| output.strip }", GREEN),
        ("echo green", "->(output) { output.strip }", GREEN),
        # Three arguments are standard output, standard error and the status.
        ("printf red; printf amber >&2", "lambda { |stdout, stderr, status| stdout }", RED),
        ("printf red; printf amber >&2", "lambda { |stdout, stderr, status| stderr }", AMBER),
        ("exit 3", "lambda { |_, _, status| status === 3 ? :green : :red }", GREEN),
        ("exit 3", "lambda { |*given| given == ['', '', 3] ? :green : :red }", GREEN),
        # A lambda may use `return`.
        ("true", "lambda { |output|\n  return :red if true\n  return :green\n}\n", RED),
        (
            "true",
            "# a word on it\n\nlambda { |o|\n  %w( a b ).each { |e| return :amber }\n}",
            AMBER,
        ),
        # Bytes that are not UTF-8 are replaced; patterns are Ruby's.
        ("printf 'a\\377b'", 'lambda { |o| o == "a\\uFFFDb" ? :green : :red }', GREEN),
        ("printf 'caf\\303\\251'", "lambda { |o| /^caf\\p{L}$/.match(o) ? :green : :red }", GREEN),
        ("printf 'a\\000b'", 'lambda { |o| o == "a\\0b" ? :green : :red }', GREEN),
        # What a lambda prints is discarded.
        (
            "true",
            "puts 1; lambda { |o| puts 2; warn 3; $stdout.syswrite('4' * 99); :green }",
            GREEN,
        ),
        # A part of Ruby's library can be used.
        ("true", "require 'json'; require 'date'; lambda { |o| JSON.parse('[1]'); :green }", GREEN),
        ("true", "lambda { |o| o.encode('UTF-16').encode('ISO-8859-1'); :green }", GREEN),
        # Of a long output a lambda gets both ends.
        (
            "head -c 900000 /dev/zero; echo passed",
            "lambda { |o| o =~ /passed/ ? :green : :red }",
            GREEN,
        ),
        (
            "echo passed; head -c 900000 /dev/zero",
            "lambda { |o| o =~ /passed/ ? :green : :red }",
            GREEN,
        ),
    ],
)
def test_a_lambda_gives_the_colour(run: Run, script: str, source: str, colour: int) -> None:
    assert judged(run, source, script) == (colour, "")


def test_the_lambda_of_a_legacy_kata_gives_its_colours(run: Run) -> None:
    source = "\n".join(SPIDERS_LAMBDA)
    assert judged(run, source, "echo 2 scenarios failed")[0] == RED
    assert judged(run, source, "echo 0 scenarios failed")[0] == GREEN
    assert judged(run, source, "echo No steps directory")[0] == AMBER


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("lambda { |output| raise 'not today' }", "it raised RuntimeError: not today"),
        ("lambda { |output| nothing }", "it raised NameError: undefined local variable"),
        ("lambda { |output| throw :away }", "it raised UncaughtThrowError"),
        ("lambda { |output| raise Class.new(Exception) { def message = raise } }", ""),
        ("lambda { |output|", "it raised SyntaxError"),
        ("def f(n) = f(n + 1)\nlambda { |output| f(0) }", "it raised SystemStackError"),
        ("lambda { |output| exit }", "it exited"),
        ("lambda { |output| exit 0 }", "it exited"),
        ("lambda { |output| abort 'enough' }", "it exited"),
        ("exit", "it exited"),
        ("lambda { |output| exit! }", "it ended without an answer"),
        ("lambda { |output| :purple }", "it answered :purple, which is no colour"),
        ("lambda { |output| 'Green' }", 'it answered "Green", which is no colour'),
        ("lambda { |output| :timed_out }", "it answered :timed_out"),
        ("lambda { |output| nil }", "it answered nil"),
        ("lambda { |output| ['green'] }", 'it answered ["green"]'),
        ("lambda { |output| 'x' * 1_000_000 }", 'it answered "xxx'),
        ("lambda { |output| Class.new { def inspect = raise('odd') }.new }", "it raised RuntimeE"),
        ("lambda { |output, status| :green }", "it takes 2 arguments"),
        ("lambda { :green }", "it takes 0 arguments"),
        (":green", "it is no lambda but Symbol"),
        ("nil", "it is no lambda but NilClass"),
    ],
)
def test_a_lambda_that_gives_no_colour_is_faulty_with_the_reason(
    run: Run, source: str, reason: str
) -> None:
    outcome, said = judged(run, source, "echo green")
    assert outcome == FAULTY
    assert said.startswith(NO_COLOUR + reason)
    assert len(said) < 500
    assert said.isprintable()


@pytest.mark.parametrize(
    "source",
    [
        "lambda { |output| loop {} }",
        "lambda { |output| sleep }",
        "loop {}",
        "lambda { |output| ('a' * 40 + 'b') =~ /(a+)+$/ }",
        "trap('XCPU') {}; trap('TERM') {}; lambda { |output| loop {} }",
        "at_exit { loop {} }; lambda { |output| begin; loop {}; ensure; loop {}; end }",
        "lambda { |output| begin; loop {}; rescue Exception; retry; end }",
    ],
)
def test_a_lambda_that_hangs_is_ended(run: Run, source: str) -> None:
    outcome, reason = judged(run, source, "echo green")
    assert outcome == FAULTY
    assert reason.startswith(TOO_LONG)
    assert judged(run, SAYS_SO, "echo green") == (GREEN, "")


@pytest.mark.parametrize("body", ["sleep", "sleep 3.5", "loop { sleep 0.1 }"])
def test_a_lambda_that_waits_too_long_is_ended_with_the_limit_of_time(run: Run, body: str) -> None:
    source = f"lambda {{ |output| {body}; :green }}"
    assert judged(run, source) == (FAULTY, TOO_LONG + "3 s")


@pytest.mark.parametrize(
    "body", ["sleep 1.3", "13.times { sleep 0.1 }", "select(nil, nil, nil, 1.3)"]
)
def test_a_lambda_that_waits_takes_nothing_of_its_second_of_the_processor(
    run: Run, body: str
) -> None:
    source = f"""lambda do |output|
        before = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
        {body}
        used = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - before
        used < 0.1 ? :green : raise("it used #{{used}} s")
    end"""
    assert judged(run, source) == (GREEN, "")


@pytest.mark.parametrize(
    "body",
    [
        "'x' * (1 << 29)",
        "all = []; loop { all << 'x' * 1_000_000 }",
        "all = 'x'; loop { all << all }",
    ],
)
def test_a_lambda_that_takes_all_memory_is_ended(
    run: Run, engine: Engine, namespace: Namespace, body: str
) -> None:
    assert judged(run, SAYS_SO, "echo green") == (GREEN, "")
    before = containers(engine, namespace)
    outcome, reason = judged(run, f"lambda {{ |output| {body}; :green }}")
    assert outcome == FAULTY
    assert reason.startswith((NO_COLOUR + "it took more memory", NO_COLOUR + "it ended without"))
    assert containers(engine, namespace) == before


CALLS = {"prctl": 157, "prlimit": 302, "kill": 62, "ptrace": 101, "socket": 41, "clone": 56}


@pytest.mark.parametrize(
    "body",
    [
        # Files.
        "File.read('/etc/passwd')",
        "File.write('/tmp/x', 'x')",
        "Dir.entries('/')",
        "File.exist?('/proc/1/mem')",
        "File.read('/proc/1/environ')",
        "File.open('/proc/1/fd/1', 'w')",
        "File.symlink('/', 'x')",
        "require 'openssl'",
        "load '/server.rb'",
        # Programs and processes.
        "system('true')",
        "`true`",
        "%x(true)",
        "exec('/usr/bin/ruby3.1', '-e', 'puts 1')",
        "spawn('true')",
        "IO.popen('-')",
        "fork",
        "loop { fork }",
        "Process.daemon",
        "Thread.new {}",
        # Other processes.
        "Process.kill(:KILL, 1)",
        "Process.kill(:KILL, -1)",
        "Process.kill(:STOP, 1)",
        "Process.kill(:SEGV, 1)",
        "Process.kill(:CHLD, 1)",
        "Process.setpriority(Process::PRIO_PROCESS, 1, 19)",
        "Process.setrlimit(Process::RLIMIT_CPU, 1000)",
        "Process.setsid",
        # Open files.
        "IO.for_fd(0).read",
        "IO.pipe",
        # The network.
        "require 'socket'",
        # The kernel, by the numbers of x86-64.
        *(f"syscall({number}, 1, 0, 0, 0, 0)" for number in CALLS.values()),
        *(f"syscall({number | 1 << 30}, 1, 0, 0, 0, 0)" for number in CALLS.values()),
    ],
)
def test_a_lambda_that_tries_to_escape_is_faulty_whatever_it_returns(run: Run, body: str) -> None:
    outcome, reason = judged(run, f"lambda {{ |output| {body} rescue nil; :green }}")
    assert outcome == FAULTY
    assert reason.startswith(REACHED_OUT)


def test_a_lambda_has_no_capabilities_network_or_mounts(
    run: Run, engine: Engine, namespace: Namespace
) -> None:
    assert judged(run, SAYS_SO, "echo green") == (GREEN, "")
    for container in containers(engine, namespace):
        found = engine.api.inspect_container(container)
        host = found["HostConfig"]
        assert host["NetworkMode"] == "none"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert "no-new-privileges" in host["SecurityOpt"]
        assert host["Memory"] == host["MemorySwap"] == 128 * 1024**2
        assert found["Mounts"] == []
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
        assert "\nCapEff:\t0000000000000000\n" in status
        assert "\nCapBnd:\t0000000000000000\n" in status


@pytest.mark.parametrize(
    "mischief",
    [
        "$colour = :red",
        "COLOUR = :red",
        "def colour = :red",
        "class String; def strip = 'red'; end",
        "class Symbol; def to_s = 'red'; end",
        "class Array; def include?(*) = true; end",
        "module Kernel; def lambda = proc { :red }; end",
        "class BasicObject; undef_method :!; end",
        "GC.disable; ENV['COLOUR'] = 'red'",
        "Object.send(:remove_const, :String)",
        "def answer_one(*) = exit!; def colour_of(*) = [1, 'red']",
    ],
)
def test_a_lambda_leaves_no_trace_for_the_next_one(run: Run, mischief: str) -> None:
    run(colour_rule=ruby(f"{mischief}\nlambda {{ |output| :amber }}"))
    source = "lambda { |o| defined?(COLOUR) || $colour || ENV['COLOUR'] || o.strip.to_sym }"
    assert judged(run, source, "echo green") == (GREEN, "")


def test_a_lambda_finds_nothing_of_earlier_outputs(run: Run) -> None:
    first = "lambda { |output| raise 'the whale ' + output }"
    assert "the whale swims far" in judged(run, first, "echo swims far")[1]
    search = (
        "lambda { |output| found = false; "
        "ObjectSpace.each_object(String) { |each| found ||= /sw[i]ms far/n.match?(each.b) }; "
        "found ? :red : :green }"
    )
    assert judged(run, search) == (GREEN, "")


def test_a_lambda_can_not_forge_the_colour_of_another_run(run: Run) -> None:
    forge = (
        "lambda { |output| ObjectSpace.each_object(IO) { |each| "
        "each.syswrite([1, 5].pack('NN') + 'green' + [1, 3].pack('NN') + 'red') rescue nil }; "
        ":amber }"
    )
    for _ in range(3):
        judged(run, forge, "echo red")
        for colour, said in ((GREEN, "green"), (AMBER, "amber")):
            assert judged(run, SAYS_SO, f"echo {said}") == (colour, "")


def test_runs_at_the_same_time_get_their_own_colours(runner: Stub, started_kata: Kata) -> None:
    others = [each for each in avatars.NAMES if each != AVATAR][:15]
    for avatar in others:
        started_kata.start_avatar(avatar)
    said = {"red": RED, "amber": AMBER, "green": GREEN}
    wanted = [list(said)[place % 3] for place in range(len(others))]

    def press(avatar: str, word: str) -> int:
        asked = request(started_kata, f"echo {word}", avatar=avatar, colour_rule=ruby(SAYS_SO))
        return runner.Run(asked, timeout=60).colour

    with ThreadPoolExecutor(len(others)) as threads:
        assert list(threads.map(press, others, wanted)) == [said[word] for word in wanted]


def test_a_run_that_took_too_long_is_not_judged(run: Run) -> None:
    response = run("echo green; sleep 1000", max_seconds=1, colour_rule=ruby(SAYS_SO))
    assert response.colour == TIMED_OUT


@pytest.mark.parametrize("source", ["", " \n", "#" * (MAX_SOURCE_BYTES + 1)])
def test_an_empty_or_too_long_lambda_is_refused(runner: Stub, kata: Kata, source: str) -> None:
    asked = request(kata, colour_rule=ruby(source))
    assert bad_field(lambda: runner.Run(asked)) == "colour_rule.ruby_lambda.source"


def test_a_lambda_of_the_largest_size_is_evaluated(run: Run) -> None:
    source = "lambda { |output| :green }"
    source += "#" * (MAX_SOURCE_BYTES - len(source))
    assert judged(run, source) == (GREEN, "")


def test_a_removed_or_killed_container_costs_no_colour(
    run: Run, engine: Engine, namespace: Namespace
) -> None:
    for end in (engine.api.kill, lambda each: engine.api.remove_container(each, force=True)):
        assert judged(run, SAYS_SO, "echo green") == (GREEN, "")
        for container in containers(engine, namespace):
            end(container)
        assert judged(run, SAYS_SO, "echo green") == (GREEN, "")


def test_a_lambda_whose_container_is_removed_is_evaluated_in_another(
    runner: Stub, started_kata: Kata, engine: Engine, namespace: Namespace
) -> None:
    assert judged(runs_in(runner, started_kata), SAYS_SO, "echo green") == (GREEN, "")
    before = containers(engine, namespace)
    servers = [engine.api.inspect_container(each)["State"]["Pid"] for each in before]
    slow = "lambda { |output| sleep 0.6; :green }"
    call = runner.Run.future(request(started_kata, "true", colour_rule=ruby(slow)), timeout=60)
    wait_until(lambda: any(map(children, servers)) or call.done())
    for container in before:
        engine.api.remove_container(container, force=True)
    assert (call.result().colour, call.result().reason) == (GREEN, "")


def test_lambda_containers_of_a_killed_runner_end_and_the_next_runner_removes_them(
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
    started_kata: Kata,
    engine: Engine,
    namespace: Namespace,
) -> None:
    others = set(containers(engine, namespace))  # of the runner that other tests share
    earlier = start_runner()
    assert judged(runs_in(client(earlier), started_kata), SAYS_SO, "echo red") == (RED, "")
    left = set(containers(engine, namespace)) - others
    assert left
    earlier.kill()
    # The containers end by themselves, even before there is another runner.
    wait_until(lambda: not any(is_running(engine, each) for each in left))
    later = start_runner()
    wait_until(lambda: not left & set(containers(engine, namespace)))
    assert judged(runs_in(client(later), started_kata), SAYS_SO, "echo red") == (RED, "")
    own = set(containers(engine, namespace)) - others
    assert own
    later.stop()
    assert not own & set(containers(engine, namespace))


def is_running(engine: Engine, container: str) -> bool:
    return bool(engine.api.inspect_container(container)["State"]["Running"])


def test_without_the_image_for_lambdas_they_are_faulty_and_patterns_work(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], started_kata: Kata
) -> None:
    service = start_runner(CYBER_DOJO_RUNNER_RUBY_IMAGE="cyber-dojo/not-here")
    event = service.wait_for_event(lambda event: event["event"] == "no image for Ruby lambdas")
    assert event["image"] == "cyber-dojo/not-here"
    run = runs_in(client(service), started_kata)
    reason = "the image cyber-dojo/not-here, which evaluates it, is not on this host"
    assert judged(run, SAYS_SO, "echo green") == (FAULTY, NO_COLOUR + reason)
    assert run().colour == GREEN


@pytest.fixture
def ending_image(engine: Engine, namespace: Namespace, tmp_path: Path) -> Iterator[str]:
    """An image for lambdas whose first process ends itself. No known lambda ends the real one."""
    name = f"{namespace.name}-ending"
    server = "$stdout.syswrite([0, 0].pack('NN')); $stdin.sysread(16); exit!(1)\n"
    (tmp_path / "server.rb").write_text(server)
    (tmp_path / "Dockerfile").write_text("FROM cyber-dojo/ruby_lambdas\nCOPY server.rb /\n")
    # Without the cache: another worker of the tests may be removing images from the cache.
    build = ["docker", "--host", engine.url, "build", "--quiet", "--no-cache"]
    command = [*build, "--tag", name, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    yield name
    engine.api.remove_image(name, force=True)


def test_a_lambda_that_ends_its_container_is_faulty_and_harms_nobody_else(
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
    started_kata: Kata,
    ending_image: str,
) -> None:
    service = start_runner(CYBER_DOJO_RUNNER_RUBY_IMAGE=ending_image)
    run = runs_in(client(service), started_kata)
    assert judged(run, SAYS_SO) == (FAULTY, NO_COLOUR + "it ended its container")
    assert run().colour == GREEN
    service.stop()
