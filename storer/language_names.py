"""What old katas called their language, and the image it is today.

Katas of before 2016 name a language (`"language": "C"`) and no image.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language and test framework as it is called today."""

    display_name: str
    image_name: str


_C_ASSERT = Language("C (gcc), assert", "cyberdojofoundation/gcc_assert")
_PYTEST = Language("Python, pytest", "cyberdojofoundation/python_pytest")
_UNITTEST = Language("Python, unittest", "cyberdojofoundation/python_unittest")
_BEHAVE = Language("Python, behave", "cyberdojofoundation/python_behave")

_BY_OLD_NAME = {
    "C": _C_ASSERT,
    "C-assert": _C_ASSERT,
    "C (gcc)-assert": _C_ASSERT,
    "Python": _UNITTEST,
    "Python-unittest": _UNITTEST,
    "Python-pytest": _PYTEST,
    "Python-py.test": _PYTEST,
    "Python-behave": _BEHAVE,
}


def find(old_name: str) -> Language | None:
    """Return what a language of old is today, or None if there is no image for it."""
    return _BY_OLD_NAME.get(old_name)
