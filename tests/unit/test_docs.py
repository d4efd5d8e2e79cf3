"""The documentation is complete, and names nothing that does not exist.

That its examples run needs an engine.
"""

import fnmatch
import pkgutil
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.paths import TOP
from web.settings import WebSettings

PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
MAP = (TOP / "docs/changing.md").read_text()
FOLDERS = {path.name for path in TOP.iterdir() if path.is_dir()}
PACKAGES = ("cyber_dojo_client", "storer", "runner", "web", "dojo", "cli", "replay", "benchmarks")
FILES = {"replay.jsonl", "web.token"}  # which look like modules
MAPPED = [*PACKAGES[:-1], "tests/support"]
RPCS = [
    method
    for file in (
        storer_pb2.DESCRIPTOR,
        startpoints_pb2.DESCRIPTOR,
        machines_pb2.DESCRIPTOR,
        runner_pb2.DESCRIPTOR,
        status_pb2.DESCRIPTOR,
    )
    for service in file.services_by_name.values()
    for method in service.methods
]

# Targets of the Makefile, as patterns.
TARGETS = [
    name.replace("%", "*")
    for name in re.findall(r"(?m)^([\w%-]+):", (TOP / "Makefile").read_text())
]


def code_in(text: str) -> list[str]:
    """Return what a page has as code, inside its sentences and tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))


def rooms() -> dict[str, set[str]]:
    """Return the folders that the map describes, each with the modules that it names there."""
    items = re.findall(r"(?ms)^- `([\w/]+)/` (.*?)(?=^- |^\n)", MAP)
    return {folder: set(re.findall(r"`(\w+)`", text)) for folder, text in items}


def modules() -> dict[str, set[str]]:
    """Return the folders of the packages that the map describes, each with its modules."""
    found: dict[str, set[str]] = {}
    for package in MAPPED:
        for path in (TOP / package).rglob("*.py"):
            if path.stem not in {"__init__", "rpc_pb2"}:  # which is generated
                found.setdefault(path.parent.relative_to(TOP).as_posix(), set()).add(path.stem)
    return found


def test_every_rpc_is_explained_to_callers() -> None:
    text = (TOP / "docs/calling.md").read_text()
    for method in RPCS:
        assert f"**{method.name}**" in text, method.full_name


def test_the_map_says_where_each_rpc_is() -> None:
    rows = re.findall(r"(?m)^\| ((?:[A-Z]\w+(?:, )?)+) \| `(?:storer|runner|dojo)/.*$", MAP)
    assert sorted(name for row in rows for name in row.split(", ")) == sorted(
        method.name for method in RPCS
    )


@pytest.mark.parametrize("settings", [StorerSettings, RunnerSettings, WebSettings])
def test_every_setting_is_explained_to_operators(
    settings: type[StorerSettings | RunnerSettings | WebSettings],
) -> None:
    text = (TOP / "docs/running.md").read_text()
    for field in fields(settings):
        name, meaning = field.metadata["name"], field.metadata["meaning"]
        row = rf"(?m)^\| `{name}` \| {re.escape(meaning)} \| .+ \|$"
        assert re.search(row, text), f"no row: | `{name}` | {meaning} | ... |"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"(?m)^#+ (.*)$", found.read_text())
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_of_the_repository_exists(page: Path) -> None:
    for code in code_in(page.read_text()):
        path = code.partition("::")[0]
        if re.fullmatch(r"[\w.+/-]+", path) and path.split("/")[0] in FOLDERS and "/" in path:
            assert (TOP / path).exists(), code
        elif re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", code) and code not in FILES:
            assert pkgutil.resolve_name(code) is not None, code
        elif target := re.match(r"make ([\w-]+)", code):
            assert any(fnmatch.fnmatch(target[1], each) for each in TARGETS), code


def test_the_map_names_every_module_and_none_besides() -> None:
    assert rooms() == modules()


@pytest.mark.parametrize("package", ["storer", "runner", "cli"])
def test_the_map_draws_the_direction_of_imports_as_it_is_checked(package: str) -> None:
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (
        each["layers"]
        for each in contracts["contracts"]
        if each["type"] == "layers" and each["layers"][0].startswith(f"{package}.")
    )
    drawn = re.search(rf"(?ms)^{package}   +(.*?)(?:\n\n|\n```)", MAP)
    assert drawn is not None
    assert " ".join(drawn[1].split()) == " → ".join(layers).replace(f"{package}.", "")


def test_the_map_has_every_folder() -> None:
    ignored = [line.strip("/") for line in (TOP / ".gitignore").read_text().split()]
    table = MAP.split("## The folders")[1].split("\n## ")[0]
    assert {row.split("/")[0] for row in re.findall(r"(?m)^\| `(\w+/)` \|", table)} == {
        name
        for name in FOLDERS
        if not name.startswith(".") and not any(fnmatch.fnmatch(name, each) for each in ignored)
    }


UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def test_the_table_of_bounds_has_each_bound_with_its_value() -> None:
    table = (TOP / "docs/running.md").read_text().split("## Bounds")[1].split("\n## ")[0]
    told = {}
    for name, value, unit in re.findall(
        r"^\| `(\w+)` \|.*\| ([\d.,]+)(?: (\w+))? \|$", table, re.MULTILINE
    ):
        told[name] = float(value.replace(",", "")) * UNITS.get(unit, 1)
    assert told == {name: value for name, value in vars(limits).items() if name.isupper()}
