"""The start points are red, green and amber in their images when they should be."""

from collections.abc import Callable

import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from support.kata_folders import Kata
from support.start_point_files import (
    NAMES,
    SUITE,
    Files,
    colour_rule,
    edited,
    fixed,
    manifest,
    visible_files,
)

AVATAR = "whale"


Test = Callable[[str, Files], runner_pb2.RunResponse]


# name, filename, old, new: edits after which a start point's tests can't run.
UNABLE = [
    # The code or the tests do not compile.
    ("gcc_assert", "hiker.c", b"return", b"retrun"),
    ("gcc_assert", "hiker.tests.c", b"== 42);", b"== 42)"),
    # The tests call a function that does not exist, which only the linker notices.
    ("gcc_assert", "hiker.c", b"answer(void)", b"other(void)"),
    # The program compiles, but crashes before it can report results.
    ("gcc_assert", "hiker.c", b"return 6 * 9", b"__builtin_trap()"),
    # make finds no rule.
    ("gcc_assert", "makefile", b"test: $(OBJECTS)", b"tests: $(OBJECTS) missing"),
    # The code can't be parsed, so the tests can't import it.
    ("python_pytest", "hiker.py", b"return 6 * 9", b"return 6 *"),
    ("python_unittest", "hiker.py", b"return 6 * 9", b"return 6 *"),
    ("python_behave", "hiker.py", b"return 6 * 9", b"return 6 *"),
    ("python2_unittest", "hiker.py", b"return 6 * 9", b"return 6 *"),
    # The tests themselves can't be parsed.
    ("python2_unittest", "test_hiker.py", b"hiker.answer())", b"hiker.answer()"),
    ("python_pytest", "test_hiker.py", b"== 42", b"=="),
    ("python_unittest", "test_hiker.py", b"hiker.answer())", b"hiker.answer()"),
    ("python_behave", "steps/hiker_steps.py", b"def has_a_towel", b"def has a towel"),
    # There are no tests.
    ("python_pytest", "test_hiker.py", b"def test_", b"def _"),
    ("python_behave", "hiker.feature", b"  Scenario:", b"  "),
    # The feature can't be parsed.
    ("python_behave", "hiker.feature", b"    When", b"    Whenever"),
    # The other languages: the code can't be parsed or compiled.
    ("clang_assert", "hiker.c", b"return", b"retrun"),
    ("clangpp_assert", "hiker.cpp", b"return", b"retrun"),
    ("clangpp_googletest", "hiker.cpp", b"return", b"retrun"),
    ("gcc_cpputest", "hiker.c", b"return", b"retrun"),
    ("gpp_assert", "hiker.cpp", b"return", b"retrun"),
    ("gpp_catch", "hiker.cpp", b"return", b"retrun"),
    ("gpp_cpputest", "hiker.cpp", b"return", b"retrun"),
    ("gpp_googletest", "hiker.cpp", b"return", b"retrun"),
    ("clangpp_googlemock", "hiker.cpp", b"return", b"retrun"),
    ("gpp_googlemock", "hiker.cpp", b"return", b"retrun"),
    ("csharp_nunit", "Hiker.cs", b"return", b"retrun"),
    ("fsharp_nunit", "Hiker.fs", b"6 * 9", b"6 *"),
    ("gpp_boosttest", "hiker.cpp", b"return", b"retrun"),
    ("haskell_hunit", "Hiker.hs", b"6 * 9", b"6 *"),
    ("java_jmock", "Hiker.java", b"return", b"retrun"),
    ("java_junit_sqlite", "Hiker.java", b"this.guide = guide", b"this.giude = guide"),
    ("java_mockito", "Hiker.java", b"return", b"retrun"),
    ("java_junit", "Hiker.java", b"return", b"retrun"),
    ("groovy_junit", "Hiker.groovy", b"6 * 9", b"6 *"),
    ("groovy_spock", "Hiker.groovy", b"6 * 9", b"6 *"),
    ("coffeescript_jasmine", "hiker.coffee", b"6 * 9", b"6 *"),
    ("javascript-node_assert", "hiker.js", b"6 * 9", b"6 *"),
    ("javascript-node_assert-jquery", "hiker.js", b"6 * 9", b"6 *"),
    ("javascript-node_cucumber", "hiker.js", b"6 * 9", b"6 *"),
    ("javascript-node_jasmine", "hiker.js", b"6 * 9", b"6 *"),
    ("javascript-node_mocha_chai_sinon", "hiker.js", b"6 * 9", b"6 *"),
    ("php_phpunit", "Hiker.php", b"6 * 9", b"6 *"),
    ("ruby_cucumber", "hiker.rb", b"6 * 9", b"6 *"),
    ("ruby_mini_test", "hiker.rb", b"6 * 9", b"6 *"),
    ("ruby_rspec", "hiker.rb", b"6 * 9", b"6 *"),
    ("ruby_test_unit", "hiker.rb", b"6 * 9", b"6 *"),
    ("bash_shunit2", "hiker.sh", b"answer()", b"answer("),
    ("clojure_test", "hiker.clj", b"(* 6 9))", b"(* 6 9)"),
    ("elixir_exunit", "hiker.ex", b"6 * 9", b"6 *"),
    ("erlang_eunit", "hiker.erl", b"6 * 9", b"6 *"),
    ("go_testing", "hiker.go", b"6 * 9", b"6 *"),
    ("lua_busted", "hiker.lua", b"6 * 9", b"6 *"),
    ("perl_test_simple", "Hiker.pm", b"6 * 9", b"6 *"),
    ("prolog_plunit", "hiker.pl", b"6 * 9", b"6 *"),
    ("rust_test", "hiker.rs", b"6 * 9", b"6 *"),
    ("vhdl_assert", "hiker.vhdl", b"6 * 9", b"6 *"),
    # The tests can't be parsed or compiled.
    ("gpp_googletest", "hiker.tests.cpp", b"answer());", b"answer())"),
    ("gpp_googlemock", "hiker.tests.cpp", b"answer();", b"answer()"),
    ("csharp_nunit", "HikerTest.cs", b"Answer());", b"Answer())"),
    ("fsharp_nunit", "HikerTest.fs", b"answer ())", b"answer ("),
    ("gpp_boosttest", "hiker.tests.cpp", b"== 42);", b"== 42"),
    ("haskell_hunit", "test_Hiker.hs", b"    ]", b"    "),
    ("java_jmock", "HikerTest.java", b"publish(42);", b"publish(42)"),
    ("java_mockito", "HikerTest.java", b"publish(42);", b"publish(42)"),
    ("java_junit", "HikerTest.java", b"answer());", b"answer())"),
    ("groovy_junit", "HikerTest.groovy", b"Hiker.answer()", b"Hiker.answer("),
    ("groovy_spock", "HikerSpec.groovy", b"Hiker.answer()", b"Hiker.answer("),
    ("coffeescript_jasmine", "hiker-spec.coffee", b"answer()", b"answer("),
    ("javascript-node_assert", "hiker-test.js", b"answer(), 42", b"answer(, 42"),
    ("javascript-node_cucumber", "hiker-steps.js", b"hiker.answer()", b"hiker.answer("),
    ("javascript-node_jasmine", "hiker-spec.js", b"toEqual(42)", b"toEqual(42"),
    ("javascript-node_mocha_chai_sinon", "hiker-test.js", b"equal(42)", b"equal(42"),
    ("php_phpunit", "HikerTest.php", b"answer());", b"answer())"),
    ("ruby_cucumber", "hiker_steps.rb", b"@hiker.answer", b"@hiker."),
    ("ruby_mini_test", "test_hiker.rb", b"42, answer", b"42, "),
    ("ruby_rspec", "hiker_spec.rb", b"eq(42)", b"eq(42"),
    ("ruby_test_unit", "test_hiker.rb", b"(42, answer)", b"(42, answer"),
    ("bash_shunit2", "test_hiker.sh", b'"$(answer)"', b'"$(answer"'),
    ("clojure_test", "hiker_test.clj", b"(answer)", b"(answer"),
    ("elixir_exunit", "hiker_test.exs", b"== 42", b"=="),
    ("erlang_eunit", "hiker_tests.erl", b"hiker:answer()", b"hiker:answer("),
    ("go_testing", "hiker_test.go", b"found != 42", b"found !="),
    ("lua_busted", "hiker_spec.lua", b"hiker.answer())", b"hiker.answer()"),
    ("perl_test_simple", "hiker.t", b"== 42", b"=="),
    ("prolog_plunit", "hiker.plt", b"answer(Answer)", b"answer(Answer"),
    ("rust_test", "hiker_test.rs", b"answer());", b"answer();"),
    ("vhdl_assert", "hiker_test.vhdl", b"= 42", b"="),
    # The code crashes or exits.
    ("clang_assert", "hiker.c", b"return 6 * 9", b"__builtin_trap()"),
    ("gpp_assert", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("gpp_catch", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("gpp_cpputest", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("gpp_googletest", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("clangpp_googletest", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("clangpp_googlemock", "hiker.cpp", b"return answer", b"__builtin_trap()"),
    ("gpp_googlemock", "hiker.cpp", b"return answer", b"__builtin_trap()"),
    ("csharp_nunit", "Hiker.cs", b"return 6 * 9", b"System.Environment.Exit(0); return 42"),
    ("fsharp_nunit", "Hiker.fs", b"6 * 9", b"exit 0"),
    ("gpp_boosttest", "hiker.cpp", b"return 6 * 9", b"__builtin_trap()"),
    ("haskell_hunit", "Hiker.hs", b"6 * 9", b'error "towel"'),
    ("java_jmock", "Hiker.java", b"int answer = 6 * 9", b"int answer = 42; System.exit(0)"),
    ("java_junit_sqlite", "Hiker.java", b"= guide;", b"= guide; System.exit(0);"),
    ("java_mockito", "Hiker.java", b"int answer = 6 * 9", b"int answer = 42; System.exit(0)"),
    ("java_junit", "Hiker.java", b"return 6 * 9", b"System.exit(0); return 42"),
    ("groovy_junit", "Hiker.groovy", b"6 * 9", b"System.exit(0)"),
    ("groovy_spock", "Hiker.groovy", b"6 * 9", b"System.exit(0)"),
    ("coffeescript_jasmine", "hiker.coffee", b"6 * 9", b"process.exit 0"),
    ("javascript-node_assert", "hiker.js", b"return 6 * 9", b"process.exit(0)"),
    ("javascript-node_assert-jquery", "hiker.js", b"6 * 9", b"process.exit(0)"),
    # The page that the tests read is not there.
    ("javascript-node_assert-jquery", "hiker-test.js", b'"hiker.html"', b'"missing.html"'),
    ("javascript-node_cucumber", "hiker.js", b"return 6 * 9", b"process.exit(0)"),
    ("javascript-node_jasmine", "hiker.js", b"return 6 * 9", b"process.exit(0)"),
    ("javascript-node_mocha_chai_sinon", "hiker.js", b"return 6 * 9", b"process.exit(0)"),
    ("php_phpunit", "Hiker.php", b"return 6 * 9", b"exit(0)"),
    ("ruby_cucumber", "hiker.rb", b"6 * 9", b"exit!(0)"),
    ("ruby_mini_test", "hiker.rb", b"6 * 9", b"exit!(0)"),
    ("ruby_rspec", "hiker.rb", b"6 * 9", b"exit!(0)"),
    ("ruby_test_unit", "hiker.rb", b"6 * 9", b"exit!(0)"),
    ("clojure_test", "hiker.clj", b"(* 6 9)", b"(System/exit 0)"),
    ("elixir_exunit", "hiker.ex", b"6 * 9", b"System.halt(0)"),
    ("erlang_eunit", "hiker.erl", b"6 * 9", b"halt(0)"),
    ("lua_busted", "hiker.lua", b"return 6 * 9", b"os.exit(0)"),
    ("perl_test_simple", "Hiker.pm", b"return 6 * 9", b"exit(0)"),
    ("prolog_plunit", "hiker.pl", b"Answer is 6 * 9", b"halt(0), Answer = 42"),
    ("rust_test", "hiker.rs", b"6 * 9", b"std::process::exit(0)"),
    # There are no tests.
    (
        "gpp_catch",
        "hiker.tests.cpp",
        b'TEST_CASE("the answer to life, the universe and everything")',
        b"[[maybe_unused]] static void unused()",
    ),
    ("gcc_cpputest", "hiker.tests.cpp", b"\nTEST(Hiker", b"\nIGNORE_TEST(Hiker"),
    ("gpp_cpputest", "hiker.tests.cpp", b"\nTEST(Hiker", b"\nIGNORE_TEST(Hiker"),
    (
        "gpp_boosttest",
        "hiker.tests.cpp",
        b"BOOST_AUTO_TEST_CASE(the_answer_to_life_the_universe_and_everything)",
        b"[[maybe_unused]] static void unused()",
    ),
    (
        "haskell_hunit",
        "test_Hiker.hs",
        b"runTestTT tests",
        b"runTestTT (const (TestList []) tests)",
    ),
    ("groovy_spock", "HikerSpec.groovy", b"expect:", b""),
    ("coffeescript_jasmine", "hiker-spec.coffee", b"  it ", b"  xdescribe "),
    ("javascript-node_cucumber", "hiker.feature", b"  Scenario:", b"  "),
    ("javascript-node_jasmine", "hiker-spec.js", b"it(", b"void ("),
    ("javascript-node_mocha_chai_sinon", "hiker-test.js", b"it(", b"void ("),
    ("php_phpunit", "HikerTest.php", b"testTheAnswer", b"theAnswer"),
    ("ruby_cucumber", "hiker.feature", b"  Scenario:", b"  "),
    ("ruby_test_unit", "test_hiker.rb", b"def test_", b"def _"),
    ("bash_shunit2", "test_hiker.sh", b"test_the", b"the"),
    ("clojure_test", "hiker_test.clj", b"deftest the", b"comment the"),
    (
        "elixir_exunit",
        "hiker_test.exs",
        b'test "the answer to life, the universe and everything" do',
        b"def unused do",
    ),
    ("erlang_eunit", "hiker_tests.erl", b"_test() ->", b"() ->"),
    ("go_testing", "hiker_test.go", b"func Test", b"func test"),
    ("lua_busted", "hiker_spec.lua", b"it(", b"pending("),
    ("perl_test_simple", "hiker.t", b"ok(", b"exit("),
    ("prolog_plunit", "hiker.plt", b"test(the", b"tested(the"),
    ("rust_test", "hiker_test.rs", b"#[test]", b""),
    # A step of the scenario is undefined.
    ("javascript-node_cucumber", "hiker.feature", b"a hiker with a towel", b"a hiker"),
    ("ruby_cucumber", "hiker.feature", b"a hiker with a towel", b"a hiker"),
]

# There are no tests: the legacy rules of these languages made that green, as nothing failed.
UNTESTED = [
    ("python2_unittest", "test_hiker.py", b"def test_", b"def _"),
    ("python_unittest", "test_hiker.py", b"def test_", b"def _"),
    (
        "gpp_googletest",
        "hiker.tests.cpp",
        b"TEST(Hiker, AnswerToLifeTheUniverseAndEverything)",
        b"[[maybe_unused]] void unused()",
    ),
    (
        "gpp_googlemock",
        "hiker.tests.cpp",
        b"TEST(Hiker, PublishesTheAnswerToLifeTheUniverseAndEverything)",
        b"[[maybe_unused]] void unused()",
    ),
    ("csharp_nunit", "HikerTest.cs", b"[Test]", b""),
    ("fsharp_nunit", "HikerTest.fs", b"[<Test>]", b""),
    ("ruby_mini_test", "test_hiker.rb", b"def test_", b"def _"),
    (
        "ruby_rspec",
        "hiker_spec.rb",
        b'it "to life, the universe and everything is 42" do',
        b"before do",
    ),
    ("groovy_junit", "HikerTest.groovy", b"@Test", b""),
    ("java_junit", "HikerTest.java", b"@Test", b""),
    ("java_junit_sqlite", "HikerTest.java", b"@Test", b""),
    ("java_jmock", "HikerTest.java", b"@Test", b""),
    ("java_mockito", "HikerTest.java", b"@Test", b""),
]
# name, filename, content, colour: a second file that is added to a green start point.
EXTRA_FILES = [
    # The tests in the second file fail.
    ("clojure_test", "z_test.clj", b"(ns z-test (:use clojure.test)) (deftest z (is nil))", "RED"),
    ("javascript-node_assert", "z-test.js", b'require("assert").equal(1, 2)', "RED"),
    ("prolog_plunit", "a.plt", b":- begin_tests(a).\ntest(a) :- fail.\n:- end_tests(a).\n", "RED"),
    ("python_pytest", "test_z.py", b"def test_z(): assert False", "RED"),
    ("python_behave", "environment.py", b"def after_feature(*_): raise ValueError", "RED"),
    # The second file can't be run.
    ("haskell_hunit", "test_z.hs", b"main = (", "AMBER"),
    ("javascript-node_assert", "z-test.js", b"(", "AMBER"),
    ("javascript-node_assert", "z-test.js", b"missing()", "AMBER"),
    ("prolog_plunit", "z.plt", b":- begin_tests(z.", "AMBER"),
    ("python_pytest", "test_z.py", b"(", "AMBER"),
    ("python_pytest", "test_z.py", b"import pytest\ndef test_z(): pytest.exit('bye')", "AMBER"),
    ("python_behave", "environment.py", b"def after_all(_): raise ValueError", "AMBER"),
    ("python2_unittest", "test_z.py", b"(", "AMBER"),
    ("python_unittest", "test_z.py", b"(", "AMBER"),
    # A mock of a class, not of an interface.
    ("groovy_spock", "TowelSpec.groovy", b"""
class Towel { void wave() { throw new Error() } }
class TowelSpec extends spock.lang.Specification {
    def "waves"() {
        def towel = Mock(Towel)
        when: towel.wave()
        then: 1 * towel.wave()
    }
}
""", "GREEN"),
    # A mock that is never deleted can't tell whether it was called.
    *((name, "z.tests.cpp", b"""
#include <gmock/gmock.h>
struct Towel { MOCK_METHOD(void, wave, ()); };
TEST(Z, Leaks) { EXPECT_CALL(*new Towel, wave()); }
""", "AMBER") for name in ("clangpp_googlemock", "gpp_googlemock")),
    # The tests in the second file pass, or it has none.
    ("clojure_test", "z_test.clj",
     b"(ns z-test (:use clojure.test)) (deftest z (is @(future true)))", "GREEN"),
    ("javascript-node_assert", "a-test.js", b"", "GREEN"),
    ("prolog_plunit", "a.plt",
     b":- begin_tests(a).\ntest(a) :- true.\n:- end_tests(a).\n", "GREEN"),
    ("prolog_plunit", "b.pl", b":- module(b, [b/1]).\nb(1).\n", "GREEN"),
]  # fmt: skip
# Each family of compilers has its own program that names the lines in a sanitizer's report.
SANITIZERS = [("gcc_assert", "gcc"), ("gpp_assert", "g++"), ("clangpp_assert", "clang++")]
# JUnit calls the lack of tests a failure.
UNTESTED_IS_RED = {"groovy_junit", "java_junit", "java_junit_sqlite", "java_jmock", "java_mockito"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the suite's languages; with --all-languages, with all languages."""
    names = NAMES if metafunc.config.getoption("all_languages") else SUITE
    if "old" in metafunc.fixturenames:
        edits = UNTESTED if "untested" in metafunc.function.__name__ else UNABLE
        chosen = [each for each in edits if each[0] in names]
        metafunc.parametrize(("name", "filename", "old", "new"), chosen)
    elif "content" in metafunc.fixturenames:
        extra = [each for each in EXTRA_FILES if each[0] in names]
        metafunc.parametrize(("name", "filename", "content", "colour"), extra)
    elif "compiler" in metafunc.fixturenames:
        compilers = [each for each in SANITIZERS if each[0] in names]
        metafunc.parametrize(("name", "compiler"), compilers)
    elif "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names)


@pytest.fixture
def test(runner: runner_pb2_grpc.RunnerServiceStub, kata: Kata) -> Test:
    """Runs the tests of a start point in the whale's sandbox: `test("gcc_assert", files)`."""
    kata.start_avatar(AVATAR)

    def test(name: str, files: Files) -> runner_pb2.RunResponse:
        asked = runner_pb2.RunRequest(
            kata_id=kata.id,
            avatar=AVATAR,
            image_name=manifest(name)["image_name"],
            files=files,
            max_seconds=60,  # not the start point's limit, because the machine may be busy
            colour_rule=colour_rule(name),
            results_filename=manifest(name).get("results_filename", ""),
        )
        return runner.Run(asked, timeout=120)

    return test


def test_each_language_has_an_amber_case() -> None:
    assert {name for name, *_ in UNABLE} == set(NAMES)


def test_a_start_point_is_red(test: Test, name: str) -> None:
    response = test(name, visible_files(name))
    assert response.colour == colour_pb2.COLOUR_RED, response
    assert not response.reason


def test_a_start_point_becomes_green_and_red_again_in_one_sandbox(test: Test, name: str) -> None:
    for files, colour in (
        (fixed(name), colour_pb2.COLOUR_GREEN),
        (visible_files(name), colour_pb2.COLOUR_RED),
        (fixed(name), colour_pb2.COLOUR_GREEN),
    ):
        response = test(name, files)
        assert response.colour == colour, response
        if "results_filename" in manifest(name):
            assert not response.test_results.fault
            counts = response.test_results.counts
            assert (counts.failed > 0) == (colour == colour_pb2.COLOUR_RED), response
            assert counts.passed + counts.failed == len(response.test_results.tests) > 0


def test_tests_that_could_not_run_are_amber(
    test: Test, name: str, filename: str, old: bytes, new: bytes
) -> None:
    response = test(name, edited(name, filename, old, new))
    assert response.colour == colour_pb2.COLOUR_AMBER, response


def test_untested_code_has_its_legacy_colour(
    test: Test, name: str, filename: str, old: bytes, new: bytes
) -> None:
    response = test(name, edited(name, filename, old, new))
    is_red = name in UNTESTED_IS_RED
    assert response.colour == (colour_pb2.COLOUR_RED if is_red else colour_pb2.COLOUR_GREEN)


def test_a_second_file_counts(
    test: Test, name: str, filename: str, content: bytes, colour: str
) -> None:
    response = test(name, {**fixed(name), filename: content})
    assert response.colour == colour_pb2.Colour.Value(f"COLOUR_{colour}"), response


def test_a_command_that_is_not_there_is_amber(test: Test, name: str) -> None:
    response = test(name, {**visible_files(name), "cyber-dojo.sh": b"not-there\n"})
    assert response.colour == colour_pb2.COLOUR_AMBER
    assert response.status == 127


def test_an_image_has_a_locale_time_zones_and_the_avatars(test: Test, name: str) -> None:
    script = b"locale charmap\nTZ=Europe/Berlin date --date @0 +%Z\nwhoami\n"
    response = test(name, {**visible_files(name), "cyber-dojo.sh": script})
    assert response.stderr.content == b""
    assert response.stdout.content.decode().split() == ["UTF-8", "CET", AVATAR]


def test_a_test_creates_no_visible_files(test: Test, name: str) -> None:
    response = test(name, fixed(name))
    assert not response.changed_files
    assert not response.deleted_filenames


def test_a_sanitizer_names_the_line_of_a_fault(test: Test, name: str, compiler: str) -> None:
    script = f"{compiler} -g -fsanitize=address -o fault fault.c && ./fault"
    content = b"int main(int n, char **_)\n{\n    volatile char a[4];\n    a[3 + n] = 1;\n}\n"
    files = {**visible_files(name), "cyber-dojo.sh": script.encode(), "fault.c": content}
    response = test(name, files)
    assert b"stack-buffer-overflow" in response.stderr.content
    assert b"fault.c:4" in response.stderr.content


def test_a_changed_header_compiles_what_includes_it(test: Test) -> None:
    test("gcc_assert", visible_files("gcc_assert"))
    # The new header contradicts hiker.c, which has not changed.
    response = test("gcc_assert", edited("gcc_assert", "hiker.h", b"int answer", b"long answer"))
    assert response.colour == colour_pb2.COLOUR_AMBER
    assert b"conflicting types" in response.stderr.content


def test_another_option_in_the_makefile_compiles_everything(test: Test) -> None:
    files = visible_files("gcc_assert")
    files["hiker.c"] = files["hiker.c"].replace(b"6 * 9", b"ANSWER")
    for answer, colour in ((54, colour_pb2.COLOUR_RED), (42, colour_pb2.COLOUR_GREEN)):
        option = b"-DANSWER=%d -std" % answer
        response = test(
            "gcc_assert", {**files, "makefile": files["makefile"].replace(b"-std", option)}
        )
        assert response.colour == colour, response
