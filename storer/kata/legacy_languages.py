"""The names that legacy katas have for their language, and the images of today.

Katas from before 2016 name a language (`"language": "C"`) and no image. The oldest name no test
framework, because there was only one for each language. Later, `Ruby-Rspec` was the name of a
folder and `Ruby-RSpec` its display name; katas have either.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language and test framework, by the names of today."""

    display_name: str
    image_name: str


# The display name of today, the image, and the legacy names.
_LANGUAGES = (
    ("Bash, shunit2", "bash_shunit2", ("BASH", "BASH-shunit2", "Bash-shunit2")),
    ("C (clang), assert", "clang_assert", ("C (clang)-assert",)),
    ("C (gcc), assert", "gcc_assert", ("C", "C-assert", "C (gcc)-assert")),
    ("C (gcc), CppUTest", "gcc_cpputest", ("C-CppUTest", "C (gcc)-CppUTest")),
    ("C#, NUnit", "csharp_nunit", ("C#", "C#-NUnit")),
    ("C++ (clang++), assert", "clangpp_assert", ("C++ (clang++)-assert",)),
    ("C++ (clang++), GoogleMock", "clangpp_googlemock", ("C++ (clang++)-GoogleMock",)),
    ("C++ (clang++), GoogleTest", "clangpp_googletest", ("C++ (clang++)-GoogleTest",)),
    ("C++ (g++), assert", "gpp_assert", ("C++", "C++-assert", "C++ (g++)-assert")),
    ("C++ (g++), Boost.Test", "gpp_boosttest", ("C++-Boost.Test", "C++ (g++)-Boost.Test")),
    ("C++ (g++), Catch", "gpp_catch", ("C++-catch", "C++-Catch", "C++ (g++)-Catch")),
    ("C++ (g++), CppUTest", "gpp_cpputest", ("C++-CppUTest", "C++ (g++)-CppUTest")),
    ("C++ (g++), GoogleMock", "gpp_googlemock", ("C++-GoogleMock", "C++ (g++)-GoogleMock")),
    ("C++ (g++), GoogleTest", "gpp_googletest", ("C++-GoogleTest", "C++ (g++)-GoogleTest")),
    ("Clojure, .test", "clojure_test", ("Clojure", "Clojure-.test")),
    ("CoffeeScript, jasmine", "coffeescript_jasmine", ("CoffeeScript", "CoffeeScript-jasmine")),
    ("Elixir, ExUnit", "elixir_exunit", ("Elixir", "Elixir-ExUnit")),
    ("Erlang, eunit", "erlang_eunit", ("Erlang", "Erlang-eunit")),
    ("F#, NUnit", "fsharp_nunit", ("F#", "F#-NUnit")),
    ("Go, testing", "go_testing", ("Go", "Go-testing")),
    ("Groovy, JUnit", "groovy_junit", ("Groovy-JUnit",)),
    ("Groovy, Spock", "groovy_spock", ("Groovy-Spock",)),
    ("Haskell, HUnit", "haskell_hunit", ("Haskell", "Haskell-hunit")),
    ("Java, JMock", "java_jmock", ("Java-JMock", "Java-1.8_JMock")),
    ("Java, JUnit", "java_junit", ("Java", "Java-JUnit", "Java-1.8_JUnit")),
    ("Java, JUnit-Sqlite", "java_junit_sqlite", ("Java-JUnit-Sqlite",)),
    (
        "Java, Mockito",
        "java_mockito",
        ("Java-Mockito", "Java-JUnit-Mockito", "Java-1.8_Mockito"),
    ),
    ("Javascript, assert", "javascript-node_assert", ("Javascript", "Javascript-assert")),
    ("Javascript, assert+jQuery", "javascript-node_assert-jquery", ("Javascript-assert+jQuery",)),
    ("Javascript, Cucumber", "javascript-node_cucumber", ("Javascript-Cucumber",)),
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

# Test frameworks that legacy manifests name beside the language. They are used only for manifests
# without a language; they do not tell enough to stand for an unknown language: Java with Mockito
# was `junit` too. `cassert` is not here because C and C++ both had it.
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


def _normalized(name: str) -> str:
    """Return a name without what varies between katas: case, blanks, most punctuation."""
    return "".join(each for each in name.lower() if each.isalnum() or each in "+#")


_BY_LEGACY_NAME = {
    _normalized(legacy_name): Language(display_name, f"cyberdojofoundation/{image}")
    for display_name, image, legacy_names in _LANGUAGES
    for legacy_name in (display_name, *legacy_names)
}
_BY_IMAGE = {language.image_name: language for language in _BY_LEGACY_NAME.values()}


def find(legacy_name: str, framework: str = "") -> Language | None:
    """Return the language of today for a legacy name; None if there is no image for it.

    `framework` is the manifest's `unit_test_framework`, used if `legacy_name` is empty.
    """
    if not legacy_name:
        return _BY_IMAGE.get(f"cyberdojofoundation/{_FRAMEWORKS.get(framework)}")
    return _BY_LEGACY_NAME.get(_normalized(legacy_name))
