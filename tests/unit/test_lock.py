"""The locks pin what pyproject.toml requires, and name no package source."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.paths import TOP

LOCKS = sorted((TOP / "requirements").glob("*.txt"))
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
PIN = re.compile(
    r"(?m)^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ;[^\\\n]+)?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
)


def pins(lock: str) -> dict[str, str]:
    text = (TOP / "requirements" / lock).read_text()
    return {canonicalize_name(each["name"]): each["version"] for each in PIN.finditer(text)}


def group(name: str) -> Iterator[str]:
    groups: dict[str, list[Any]] = PYPROJECT["dependency-groups"]
    for each in groups[name]:
        if isinstance(each, str):
            yield each
        else:
            yield from group(each["include-group"])


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("services.txt", PYPROJECT["project"]["dependencies"]),
        ("dev.txt", [*PYPROJECT["project"]["dependencies"], *group("dev")]),
        ("dev.txt", PYPROJECT["build-system"]["requires"]),
        ("web.txt", PYPROJECT["project"]["optional-dependencies"]["web"]),
    ],
    ids=["services", "development", "build", "web"],
)
def test_a_lock_pins_every_requirement(lock: str, asked: list[str]) -> None:
    pinned = pins(lock)
    wrong = []
    for each in map(Requirement, asked):
        version = pinned.get(canonicalize_name(each.name))
        if version is None or not each.specifier.contains(version):
            wrong.append(str(each))
    assert not wrong, f"not in the lock: {wrong}; run make lock"


def test_the_images_have_the_versions_that_are_tested() -> None:
    assert pins("services.txt").items() <= pins("dev.txt").items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_is_pins_with_hashes_and_comments_and_nothing_else(lock: Path) -> None:
    rest = PIN.sub("", lock.read_text())
    assert [line for line in rest.splitlines() if not re.match(r" *#", line)] == []
    assert "://" not in rest
