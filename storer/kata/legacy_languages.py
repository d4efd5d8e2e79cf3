"""What old katas called their language, and the image it is today.

Katas of before 2016 name a language (`"language": "C"`) and no image. The oldest name no test
framework: there was one for each language. Later `Ruby-Rspec` was the name of a folder, and
`Ruby-RSpec` how it was shown; katas have either.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language and test framework as it is called today."""

    display_name: str
    image_name: str


# Today's display name, the image, and the names of old.
_LANGUAGES = (
    ("Bash, shunit2", "bash_shunit2", ("BASH", "BASH-shunit2", "Bash-shunit2")),
    ("C (gcc), assert", "gcc_assert", ("C", "C-assert", "C (gcc)-assert")),
    ("C (gcc), CppUTest", "gcc_cpputest", ("C-CppUTest", "C (gcc)-CppUTest")),
    ("C#, NUnit", "csharp_nunit", ("C#", "C#-NUnit")),
    ("C++ (clang++), assert", "clangpp_assert", ("C++ (clang++)-assert",)),
    ("C++ (clang++), GoogleTest", "clangpp_googletest", ("C++ (clang++)-GoogleTest",)),
    ("C++ (g++), assert", "gpp_assert", ("C++", "C++-assert", "C++ (g++)-assert")),
    ("C++ (g++), Boost.Test", "gpp_boosttest", ("C++-Boost.Test", "C++ (g++)-Boost.Test")),
    ("C++ (g++), Catch", "gpp_catch", ("C++-catch", "C++-Catch", "C++ (g++)-Catch")),
    ("C++ (g++), CppUTest", "gpp_cpputest", ("C++-CppUTest", "C++ (g++)-CppUTest")),
    ("C++ (g++), GoogleTest", "gpp_googletest", ("C++-GoogleTest", "C++ (g++)-GoogleTest")),
    ("Clojure, .test", "clojure_test", ("Clojure", "Clojure-.test")),
    ("Elixir, ExUnit", "elixir_exunit", ("Elixir", "Elixir-ExUnit")),
    ("Erlang, eunit", "erlang_eunit", ("Erlang", "Erlang-eunit")),
    ("F#, NUnit", "fsharp_nunit", ("F#", "F#-NUnit")),
    ("Go, testing", "go_testing", ("Go", "Go-testing")),
    ("Haskell, HUnit", "haskell_hunit", ("Haskell", "Haskell-hunit")),
    ("Java, JMock", "java_jmock", ("Java-JMock", "Java-1.8_JMock")),
    ("Java, JUnit", "java_junit", ("Java", "Java-JUnit", "Java-1.8_JUnit")),
    ("Java, Mockito", "java_mockito", ("Java-Mockito", "Java-1.8_Mockito")),
    ("Javascript, assert", "javascript-node_assert", ("Javascript", "Javascript-assert")),
    ("Javascript, jasmine", "javascript-node_jasmine", ("Javascript-jasmine",)),
    (
        "Javascript, Mocha+chai+sinon",
        "javascript-node_mocha_chai_sinon",
        ("Javascript-mocha_chai_sinon", "Javascript-Mocha+chai+sinon"),
    ),
    ("Lua, busted", "lua_busted", ("Lua-busted",)),
    ("Perl, Test::Simple", "perl_test_simple", ("Perl", "Perl-TestSimple", "Perl-Test::Simple")),
    ("PHP, PHPUnit", "php_phpunit", ("PHP", "PHP-PHPUnit")),
    ("Prolog, plunit", "prolog_plunit", ("Prolog-plunit",)),
    ("Python, behave", "python_behave", ("Python-behave",)),
    ("Python, pytest", "python_pytest", ("Python-pytest", "Python-py.test")),
    ("Python, unittest", "python_unittest", ("Python", "Python-unittest")),
    ("Ruby, Cucumber", "ruby_cucumber", ("Ruby-Cucumber",)),
    ("Ruby, MiniTest", "ruby_mini_test", ("Ruby-MiniTest",)),
    ("Ruby, RSpec", "ruby_rspec", ("Ruby-Rspec", "Ruby-RSpec")),
    ("Ruby, Test::Unit", "ruby_test_unit", ("Ruby", "Ruby-TestUnit", "Ruby-Test::Unit")),
    ("Rust, test", "rust_test", ("Rust-test",)),
    ("VHDL, assert", "vhdl_assert", ("VHDL-assert",)),
)

# The test framework that a manifest of old names beside the language: it decides where there is
# no language at all. Beside one that we don't know it says little: Java with Mockito was `junit`
# too. (`cassert` is not here: C and C++ had it.)
_FRAMEWORKS = {
    "bash_shunit2": "bash_shunit2",
    "catch": "gpp_catch",
    "clojure_test": "clojure_test",
    "eunit": "erlang_eunit",
    "go_testing": "go_testing",
    "google_test": "gpp_googletest",
    "hunit": "haskell_hunit",
    "jasmine": "javascript-node_jasmine",
    "junit": "java_junit",
    "mocha": "javascript-node_mocha_chai_sinon",
    "node": "javascript-node_assert",
    "nunit": "csharp_nunit",
    "perl_test_simple": "perl_test_simple",
    "php_unit": "php_phpunit",
    "python_pytest": "python_pytest",
    "python_unittest": "python_unittest",
    "ruby_mini_test": "ruby_mini_test",
    "ruby_rspec": "ruby_rspec",
    "ruby_test_unit": "ruby_test_unit",
    "rust_test": "rust_test",
}


def _folded(name: str) -> str:
    """Return a name without what differed between generations: case, blanks, most signs."""
    return "".join(each for each in name.lower() if each.isalnum() or each in "+#")


_BY_OLD_NAME = {
    _folded(old_name): Language(display_name, f"cyberdojofoundation/{image}")
    for display_name, image, old_names in _LANGUAGES
    for old_name in (display_name, *old_names)
}
_BY_IMAGE = {language.image_name: language for language in _BY_OLD_NAME.values()}


def find(old_name: str, framework: str = "") -> Language | None:
    """Return what a language of old is today, or None if there is no image for it.

    `framework` is the manifest's `unit_test_framework`, for one that names no language.
    """
    if not old_name:
        return _BY_IMAGE.get(f"cyberdojofoundation/{_FRAMEWORKS.get(framework)}")
    return _BY_OLD_NAME.get(_folded(old_name))
