"""Legacy names of languages lead to the images of today."""

import pytest

from storer.kata import legacy_languages


@pytest.mark.parametrize(
    ("legacy_name", "framework", "image"),
    [
        ("C", "cassert", "gcc_assert"),
        ("C (clang)-assert", "", "clang_assert"),
        ("C++", "cassert", "gpp_assert"),
        ("C#", "nunit", "csharp_nunit"),
        ("CoffeeScript", "jasmine", "coffeescript_jasmine"),
        ("Groovy-Spock", "groovy_spock", "groovy_spock"),
        ("Java-1.8_JUnit", "junit", "java_junit"),
        ("Java-JUnit-Mockito", "junit", "java_mockito"),
        ("Ruby-TestUnit", "ruby_test_unit", "ruby_test_unit"),
        ("C++ (g++)-GoogleTest", "", "gpp_googletest"),
        ("C++-GoogleMock", "", "gpp_googlemock"),
        ("Javascript-cucumber", "", "javascript-node_cucumber"),
        ("Javascript-mocha_chai_sinon", "mocha", "javascript-node_mocha_chai_sinon"),
        ("Python-py.test", "python_pytest", "python_pytest"),
        ("python, PyTest", "", "python_pytest"),
        ("", "php_unit", "php_phpunit"),
    ],
)
def test_a_legacy_name_leads_to_an_image(legacy_name: str, framework: str, image: str) -> None:
    found = legacy_languages.find(legacy_name, framework)
    assert found is not None
    assert found.image_name == f"cyberdojofoundation/{image}"


@pytest.mark.parametrize(
    ("legacy_name", "framework"),
    [("", "cassert"), ("F#-NUnit-legacy", "nunit"), ("Scala-scalatest", "junit"), ("", "")],
)
def test_an_unknown_legacy_name_leads_to_no_image(legacy_name: str, framework: str) -> None:
    assert legacy_languages.find(legacy_name, framework) is None
