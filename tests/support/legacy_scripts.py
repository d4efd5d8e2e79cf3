"""The cyber-dojo.sh and makefiles of legacy katas.

Each calls the same programs, with the same options and paths, as those of its time did.
"""

from support.legacy_script_files import LegacyScript

# Legacy makefiles for C++ compiled all files at once, and each header by itself.
MAKEFILE = """\
    CXXFLAGS += -I. {flags}
    HPP_FILES = $(wildcard *.hpp)
    COMPILED_HPP_FILES = $(patsubst %.hpp,%.compiled_hpp,$(HPP_FILES))
    CPP_FILES = $(wildcard *.cpp)

    .PHONY: test.output
    test.output: test makefile
    \t@./$< {options}

    test: makefile $(CPP_FILES) $(COMPILED_HPP_FILES)
    \t@$(CXX) $(CXXFLAGS) -O $(CPP_FILES) {libraries} -o $@

    %.compiled_hpp: %.hpp
    \t@$(CXX) -x c++ $(CXXFLAGS) -c -o $@ $<
    """


def makefile(flags: str, libraries: str = "", options: str = "") -> dict[str, str]:
    return {"makefile": MAKEFILE.format(flags=flags, libraries=libraries, options=options)}


CPPUTEST = """\
    SILENCE = @
    COMPONENT_NAME = Hiker
    PROJECT_HOME_DIR = .
    SRC_FILES = {source}
    TEST_SRC_FILES = hiker.tests.cpp
    INCLUDE_DIRS =\\
    \t.\\
    \t$(CPPUTEST_HOME)/include/ \\
    \t$(CPPUTEST_HOME)/include/Platforms/Gcc\\

    CPPUTEST_WARNINGFLAGS = -Wall -Werror -Wswitch-default -Wfatal-errors
    CPPUTEST_CXXFLAGS = -std=c++14
    CPPUTEST_CFLAGS = -std=c99
    include $(CPPUTEST_HOME)/build/MakefileWorker.mk
    """

UNDEFINED = "-fsanitize=undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

JUNIT = """\
    rm -f *.class
    CLASSES=.:`ls {jars} | tr '\\n' ':'`
    javac -Xlint:unchecked -Xlint:deprecation -cp $CLASSES  *.java
    if [ $? -eq 0 ]; then
      java -cp $CLASSES org.junit.runner.JUnitCore \\
        `ls -1 *Test*.class | grep -v '\\\\$' | sed 's/\\(.*\\)\\..*/\\1/'`
    fi
    """

GROOVY = """\
    rm -f *.class
    GROOVY_HOME=/groovy-2.2.0
    PATH=$GROOVY_HOME/bin:$PATH
    groovyc {options} *.groovy
    if [ $? -eq 0 ]; then
      java -cp .:$(ls {jars} | xargs | sed -e 's/ /:/g') org.junit.runner.JUnitCore \\
        `ls -1 *{tests}*.class | sed 's/\\(.*\\)\\..*/\\1/'`
    fi
    """

NODE = """\
    NODE_VERSION=8.4.0
    if [ -f .jshintrc ]; then
      n use $NODE_VERSION /usr/lib/node_modules/jshint/bin/jshint --config .jshintrc *.js
    fi
    if [ $? == 0 ]; then
      n use $NODE_VERSION {program}
    fi
    """
JSHINTRC = {".jshintrc": '{"esversion": 9, "node": true, "mocha": true, "jasmine": true}\n'}

# What these headers brought along until GCC 9.
LEGACY_HEADERS = """\
#include <map>
typedef std::map<std::string, size_t> Sizes;
inline void fail(const std::string& why) { throw std::invalid_argument(why); }
int answer();"""

# How steps were defined until Cucumber 2.2 for Node, and where they found it.
DEFINE_SUPPORT_CODE = """\
const { defineSupportCode } = require('/usr/local/lib/node_modules/cucumber');
defineSupportCode(function ({ Given, When, Then }) {
"""

EACH_RUBY_TEST = """\
    for test_file in *test*.rb
    do
      ruby $test_file
    done
    """

LEGACY_SCRIPTS = [
    LegacyScript(
        "gcc_assert",
        "all files at once",
        "LANG=C\nmake\n",
        {
            "makefile": """\
            run.tests.output : run.tests
            \t./run.tests

            run.tests : *.c
            \tgcc -Wall -Werror -O -std=c99 *.c -o run.tests
            """
        },
    ),
    LegacyScript(
        "gcc_assert",
        "sanitizers and coverage",
        "set -e\nmake\ngcov *.c &> coverage.txt\ncat *.gcov >> coverage.txt\n",
        {
            "makefile": f"""\
            CFLAGS += -I. -Wall -Wextra -Werror -std=c11 {UNDEFINED} -fsanitize=address
            CFLAGS += -fprofile-arcs -ftest-coverage
            .PHONY: test.output
            test.output: test makefile
            \t@./$<
            test: makefile $(wildcard *.c)
            \t@$(CC) $(CFLAGS) -O $(wildcard *.c) -o $@
            """
        },
    ),
    LegacyScript(
        "gpp_assert", "g++ by its variable", "make\n", makefile("-std=c++11 -Wall -Wextra")
    ),
    *(
        LegacyScript(
            image,
            "headers that include others",
            "make\n",
            makefile("-std=c++11 -Wall -Wextra -Werror -pedantic"),
            edits=(("hiker.hpp", "int answer();", LEGACY_HEADERS),),
        )
        for image in ("gpp_assert", "clangpp_assert")
    ),
    LegacyScript(
        "clang_assert",
        "sanitizers",
        "make\n",
        {
            "makefile": f"""\
            CFLAGS += -I. -Wall -Wextra -Werror -std=c11 {UNDEFINED}
            .PHONY: test.output
            test.output: test makefile
            \t@./$<
            test: makefile $(wildcard *.c)
            \t@$(CC) $(CFLAGS) -O $(wildcard *.c) -o $@
            """
        },
    ),
    LegacyScript("clangpp_assert", "sanitizers", "make\n", makefile(f"-std=c++1z {UNDEFINED}")),
    LegacyScript(
        "clangpp_assert", "a search for leaks", "make\n", makefile("-std=c++1z -fsanitize=address")
    ),
    LegacyScript(
        "gpp_googletest",
        "libraries by their names",
        "make\n",
        makefile("-std=c++11 -g -Wall -Wextra -Werror -pthread", "-lgtest -lgtest_main"),
    ),
    LegacyScript(
        "gpp_googletest",
        "a parameter of type auto",
        "make\n",
        makefile("-std=c++14 -Wall -Wextra -Werror -pthread", "-lgtest -lgtest_main"),
        edits=(
            (
                "hiker.tests.cpp",
                "namespace {\n",
                "static auto same(auto n) { return n; }\nnamespace {\n",
            ),
            (
                "hiker.tests.cpp",
                "EXPECT_EQ(42, answer());",
                "EXPECT_EQ(42, same(answer()));",
            ),
        ),
    ),
    LegacyScript(
        "clangpp_googletest",
        "sanitizers",
        "make\n",
        makefile(
            f"-std=c++1z -Wall -Wextra -Werror {UNDEFINED}",
            "-lgtest -lgtest_main -pthread",
            "--gtest_shuffle",
        ),
    ),
    LegacyScript(
        "gpp_googlemock",
        "coverage",
        "make\n",
        makefile(
            "-std=c++17 -Wpedantic -Wall -Wextra -fprofile-arcs -ftest-coverage",
            "-lgtest -lgmock -lgmock_main -pthread",
            "--gtest_shuffle",
        ),
        edits=(
            (
                "hiker.tests.cpp",
                "MOCK_METHOD(void, publish, (int answer), (override));",
                "MOCK_METHOD1(publish, void(int answer));",
            ),
        ),
    ),
    LegacyScript(
        "clangpp_googlemock",
        "sanitizers",
        "make\n",
        makefile(
            f"-std=c++2a -Wall -Wextra {UNDEFINED} -fsanitize=leak,address",
            "-lgtest -lgmock -lgmock_main -pthread",
            "--gtest_shuffle",
        ),
    ),
    LegacyScript(
        "gpp_catch",
        "one header",
        "make\n",
        makefile("-std=c++17 -Wall -Wextra"),
        edits=(
            (
                "hiker.tests.cpp",
                "#include <catch2/catch.hpp>",
                '#define CATCH_CONFIG_MAIN\n#include "catch.hpp"',
            ),
        ),
    ),
    LegacyScript(
        "gpp_boosttest",
        "a shared library",
        "make\n",
        makefile(
            "-std=c++14 -Wall -Wextra -Werror -DBOOST_TEST_DYN_LINK", "-lboost_unit_test_framework"
        ),
    ),
    LegacyScript(
        "gpp_cpputest",
        "a makefile that includes another",
        "make\n",
        {"makefile": CPPUTEST.format(source="hiker.cpp")},
    ),
    LegacyScript(
        "gcc_cpputest",
        "a makefile that includes another",
        "make\n",
        {"makefile": CPPUTEST.format(source="hiker.c")},
    ),
    LegacyScript("java_junit", "jars in a folder", JUNIT.format(jars="/junit/*.jar")),
    LegacyScript("java_junit", "jars beside it", JUNIT.format(jars="*.jar")),
    LegacyScript("java_mockito", "jars in a folder", JUNIT.format(jars="/mockito/*.jar")),
    LegacyScript("java_mockito", "jars beside it", JUNIT.format(jars="*.jar")),
    LegacyScript("java_jmock", "jars in a folder", JUNIT.format(jars="/jmock/*.jar")),
    LegacyScript("java_jmock", "jars beside it", JUNIT.format(jars="*.jar")),
    LegacyScript(
        "java_junit_sqlite",
        "a database that all katas share",
        JUNIT.format(jars="/junit/*.jar") + "\nchmod 0775 /sandboxes/shared/*\n",
        edits=(("HikerTest.java", ":memory:", "/sandboxes/shared/change-me.db"),),
    ),
    LegacyScript(
        "groovy_junit",
        "jars in a folder",
        GROOVY.format(options="", jars="/groovy/*.jar", tests="Test"),
    ),
    LegacyScript(
        "groovy_junit", "jars beside it", GROOVY.format(options="", jars="*.jar", tests="Test")
    ),
    *(
        LegacyScript(
            "groovy_spock",
            spock,
            GROOVY.format(options=f"-cp {spock}", jars=jars, tests="Spec"),
        )
        for spock, jars in (
            ("/groovy/spock-core-1.0-groovy-2.4.jar", "/groovy/*.jar"),
            ("spock-core-0.7-groovy-2.0.jar", "*.jar"),
        )
    ),
    LegacyScript(
        "javascript-node_assert-jquery",
        "a version of Node by its path",
        """\
        NODE_VERSION=9.4.0
        if [ -f .jshintrc ]
          then
            n use $NODE_VERSION /usr/lib/node_modules/jshint/bin/jshint --config .jshintrc *.js
        fi
        `n bin $NODE_VERSION` *-test.js
        """,
        JSHINTRC,
    ),
    LegacyScript(
        "python2_unittest",
        "a test as a program",
        "python test_hiker.py\n",
        edits=(("hiker.py", "return", 'print "no function: a statement"\n    return'),),
    ),
    LegacyScript(
        "javascript-node_jasmine",
        "a version of Node, and jshint",
        NODE.format(
            program="/usr/local/lib/node_modules/jasmine/bin/jasmine "
            "JASMINE_CONFIG_PATH=./jasmine.json"
        ),
        JSHINTRC,
    ),
    LegacyScript(
        "coffeescript_jasmine",
        "jasmine-node",
        "jasmine-node --noColor --coffee .\n",
    ),
    LegacyScript(
        "javascript-node_jasmine",
        "jasmine-node",
        "jasmine-node --noColor .\n",
        patterns=(
            r"\d+ tests?, \d+ assertions?, [1-9]\d* failures?",
            r"\d+ tests?, \d+ assertions?, 0 failures",
        ),
    ),
    LegacyScript(
        "javascript-node_mocha_chai_sinon",
        "a version of Node, and jshint",
        NODE.format(program="/usr/local/bin/mocha *Test.js --require config.js --no-colors"),
        {
            **JSHINTRC,
            "config.js": 'global.expect = require("chai").use(require("sinon-chai")).expect;\n',
        },
        {"hiker-test.js": "hikerTest.js"},
        (("hikerTest.js", 'const { expect } = require("chai");\n', ""),),
    ),
    LegacyScript(
        "javascript-node_cucumber",
        "a folder in the avatar's home",
        """\
        NODE_VERSION=8.4.0
        cd ~/node_modules/cucumber/bin
        export NODE_PATH=/home/$CYBER_DOJO_AVATAR_NAME/node_modules
        n use ${NODE_VERSION} \\
          ./cucumber.js \\
          --format-options '{"colorsEnabled":false}' \\
          ${CYBER_DOJO_SANDBOX}/*.feature
        """,
        names={"hiker-steps.js": "hiker_steps.js"},
        edits=(
            (
                "hiker_steps.js",
                'const { Given, When, Then } = require("cucumber");\n',
                DEFINE_SUPPORT_CODE,
            ),
            ("hiker_steps.js", '"the answer is {int}"', r"/^the answer is (\d+)$/"),
            ("hiker_steps.js", "(this.answer, expected);\n", "(this.answer, expected);\n});\n"),
        ),
    ),
    LegacyScript(
        "javascript-node_cucumber",
        "a folder in the sandbox user's home, and jshint",
        """\
        NODE_VERSION=10.1.0
        export NODE_NO_WARNINGS=1
        if [ -f .jshintrc ]; then
          n use $NODE_VERSION \\
            /usr/lib/node_modules/jshint/bin/jshint --config .jshintrc *.js
        fi
        if [ $? == 0 ]; then
          cd ~/node_modules/cucumber/bin
          export NODE_PATH=/home/sandbox/node_modules
          n use ${NODE_VERSION} \\
            ./cucumber-js \\
            --format-options '{"colorsEnabled":false}' \\
            ${CYBER_DOJO_SANDBOX}/*.feature
        fi
        """,
        JSHINTRC,
    ),
    LegacyScript(
        "javascript-node_cucumber",
        "a program in the sandbox user's home",
        """\
        PATH=/home/sandbox/node_modules/cucumber/bin:${PATH}
        cd /home/sandbox
        cucumber-js \\
          --format-options '{"colorsEnabled":false}' \\
          ${CYBER_DOJO_SANDBOX}/*.feature
        """,
    ),
    LegacyScript(
        "javascript-node_assert",
        "jshint on the path",
        "if [ -f .jshintrc ]; then\n  jshint --config .jshintrc *.js\nfi\n"
        "if [ $? == 0 ]; then\n  node *-test.js\nfi\n",
        JSHINTRC,
    ),
    *(
        LegacyScript("javascript-node_assert", script, f"{script} hiker-test.js\n")
        for script in (
            "$(n bin 0.12)/node",
            "$(n bin 0.12)",
            "n use 0.12",
            "n io use 3.3.1",
            "n exec 0.12 node",
            "n 0.12 && node",
        )
    ),
    LegacyScript("python_unittest", "modules by their files", "python -m unittest *test*.py\n"),
    LegacyScript(
        "python_unittest",
        "coverage",
        "coverage3 run -m unittest *test*.py\ncoverage3 report -m\n",
    ),
    LegacyScript("python_unittest", "py", "py -m unittest *test*.py\n"),
    LegacyScript("python_pytest", "modules by their files", "python -m pytest *test*.py\n"),
    LegacyScript("python_pytest", "py.test", "py.test *test*.py\n"),
    LegacyScript(
        "python_behave",
        "steps that are put where they have to be",
        "mkdir steps\ncp *_steps.py steps\n\nbehave\n\nrm -rf steps\n",
        names={"steps/hiker_steps.py": "hiker_steps.py"},
    ),
    LegacyScript(
        "csharp_nunit",
        "folders of versions",
        """\
        NUNIT_PATH=/nunit/NUnit.2.6.2/lib
        export MONO_PATH=${NUNIT_PATH}
        mcs -t:library -r:${NUNIT_PATH}/nunit.framework.dll -out:RunTests.dll *.cs
        if [ $? -eq 0 ]; then
          mono /nunit/NUnit.Runners.2.6.1/tools/nunit-console.exe -nologo ./RunTests.dll
        fi
        """,
    ),
    LegacyScript(
        "csharp_nunit",
        "the places and the words of NUnit 3",
        """\
        NUNIT_PATH=/nunit/lib/net45
        export MONO_PATH=${NUNIT_PATH}
        mcs -t:library -r:${NUNIT_PATH}/nunit.framework.dll -out:RunTests.dll *.cs
        if [ $? -eq 0 ]; then
          NUNIT_RUNNERS_PATH=/nunit/tools
          mono ${NUNIT_RUNNERS_PATH}/nunit3-console.exe --noheader ./RunTests.dll
        fi
        """,
        patterns=(r"Test Count: \d+, Passed: \d+, Failed: [1-9]", r"Overall result: Passed"),
    ),
    LegacyScript(
        "csharp_nunit",
        "dmcs",
        """\
        NUNIT=/usr/lib/cli/nunit.framework-2.6/nunit.framework.dll
        dmcs -t:library -r:$NUNIT -out:RunTests.dll *.cs
        if [ $? -eq 0 ]; then
          nunit-console -nologo RunTests.dll
        fi
        """,
    ),
    *(
        LegacyScript(
            "fsharp_nunit",
            f"a run of {folder}RunTests.dll",
            f"""\
            fsharpc --nologo \\
                    --target:library \\
                    -r:/Packages/NUnit.Runners/tools/nunit.framework.dll \\
                    -o RunTests.dll *.fs

            if [ $? -eq 0 ]; then
              mono /Packages/NUnit.Runners/tools/nunit-console.exe -nologo {folder}RunTests.dll
            fi
            """,
        )
        for folder in ("./", "/sandbox/")
    ),
    LegacyScript(
        "ruby_rspec",
        "a format",
        "# Test output can be formatted as progress or documentation\nrspec . --format progress",
    ),
    LegacyScript(
        "ruby_mini_test",
        "each test by itself",
        EACH_RUBY_TEST,
        edits=(("test_hiker.rb", "Minitest::Test", "MiniTest::Test"),),
    ),
    LegacyScript("ruby_test_unit", "each test by itself", EACH_RUBY_TEST),
    LegacyScript(
        "ruby_cucumber",
        "each file of steps by its name",
        """\
        REQUIRES=""
        for file in *_steps.rb; do
          REQUIRES+=" -r ${file}"
        done
        cucumber -f progress . ${REQUIRES}
        """,
    ),
    LegacyScript(
        "ruby_cucumber", "a folder", "cucumber -f progress ./*.feature -I . -r *steps.rb\n"
    ),
    LegacyScript(
        "php_phpunit",
        "a class by its old name",
        "phpunit --verbose .\n",
        edits=(
            ("HikerTest.php", "use PHPUnit\\Framework\\TestCase;\n", ""),
            ("HikerTest.php", "extends TestCase", "extends PHPUnit_Framework_TestCase"),
        ),
    ),
    LegacyScript(
        "bash_shunit2",
        "the tests as programs",
        "./test_*.sh\n",
        edits=(("test_hiker.sh", ". ./hiker.sh", "#!/bin/bash\n. ./hiker.sh"),),
    ),
    LegacyScript("lua_busted", "a folder", "busted .\n"),
    LegacyScript(
        "erlang_eunit",
        "a makefile",
        "make\n",
        {
            "Makefile": """\
            SOURCES=$(wildcard *.erl)
            OBJECTS=$(SOURCES:%.erl=%.beam)
            TESTS=tests

            all : clean $(OBJECTS) test

            clean :
            \t@rm -f *.beam

            %.beam : %.erl
            \t@erlc $<

            test :
            \t@rm -rf $(TESTS)
            \t@mkdir -p $(TESTS)
            \t@cp -f *_tests.beam $(TESTS)
            \t@erl -noshell -eval 'eunit:test({dir, "$(TESTS)"})' -s init stop
            """
        },
    ),
    LegacyScript("elixir_exunit", "files by their names", "elixir -r hiker.ex hiker_test.exs\n"),
    LegacyScript("go_testing", "no module", "go test\n", names={"go.mod": None}),
    *(
        LegacyScript("haskell_hunit", script.split()[0], script)
        for script in (
            "runhaskell *test*.hs\n",
            "runghc *test*.hs\n",
            "ghc --make -v0 test_Hiker.hs -o run.tests && ./run.tests\n",
        )
    ),
    LegacyScript(
        "clojure_test",
        "a jar beside it",
        "java -cp ./clojure-1.4.0.jar:. -Dclojure.compile.path=. clojure.main -i run_tests.clj\n",
    ),
    LegacyScript(
        "clojure_test",
        "lein",
        "ln -sf /.lein ~/\nln -sf /.m2 ~/\nlein test *_test.clj\n",
        {"project.clj": '(defproject hiker "1.0" :source-paths ["."] :test-paths ["."])\n'},
        {"run_tests.clj": None},
    ),
    LegacyScript(
        "perl_test_simple",
        "the test as a program",
        "perl hiker.t\n",
        edits=(("hiker.t", "use Hiker;", 'use lib ".";\nuse Hiker;'),),
        patterns=("Looks like you failed", "(?m)^ok 1 "),
    ),
    LegacyScript(
        "rust_test",
        "one file",
        "rustc --test -o run.tests *test.rs && ./run.tests",
        names={"main.rs": None},
        edits=(("hiker_test.rs", "use crate::hiker::answer;", "mod hiker;\nuse hiker::answer;"),),
    ),
    LegacyScript(
        "rust_test",
        "cargo",
        "cargo test -- --nocapture\n",
        {"Cargo.toml": '[package]\nname = "hiker"\nversion = "0.1.0"\n[lib]\npath = "main.rs"\n'},
    ),
    LegacyScript(
        "vhdl_assert",
        "entities that are found",
        """\
        rm work-obj93.cf
        ghdl -i *.vhdl
        entities=$(grep entity work-obj93.cf | cut -d \\  -f 4)
        for entity in $entities; do
          ghdl -m $entity || exit 1
        done
        for entity in $entities; do
          ghdl -r $entity || exit 1
        done
        """,
    ),
    LegacyScript(
        "prolog_plunit",
        "a goal",
        'swipl -t "load_test_files([]), run_tests." -s hiker.plt\n',
        edits=(("hiker.plt", ":- begin_tests(hiker).", ":- [hiker].\n:- begin_tests(hiker)."),),
    ),
]
