"""The clients as they are packed, each installed into an empty place."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from support.paths import TOP


def pack(folder: Path) -> None:
    """Pack both clients into an empty folder."""
    subprocess.run([TOP / "scripts/clients.sh", folder], check=True, capture_output=True)


class Python:
    """An empty place with the Python client's wheel, and the packages that it asks for."""

    fence = "python"

    def __init__(self, packed: Path, folder: Path) -> None:
        self._folder = folder
        (wheel,) = packed.glob("*.whl")
        install = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--offline"]
        place = ["--no-deps", "--python", sys.executable, "--target", "site"]
        _run([*install, *place, str(wheel)], folder)
        (metadata,) = (folder / "site").glob("*.dist-info/METADATA")
        for name in re.findall(r"(?m)^Requires-Dist: ([\w-]+)", metadata.read_text()):
            self._add(name)

    def _add(self, name: str) -> None:
        """Add an installed package, without a copy, and what it asks for itself."""
        package = distribution(name)
        for file in package.files or []:
            source, target = Path(str(package.locate_file(file))), self._folder / "site" / file
            if source.suffix != ".pyc" and ".." not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
        for required in package.requires or []:
            if "extra ==" not in required:
                self._add(re.split(r"[^\w-]", required)[0])

    def run(self, script: str) -> str:
        """Run a script that finds these packages alone, and return what it prints."""
        (self._folder / "script.py").write_text(script)
        add = "import runpy, sys; sys.path.append('site'); runpy.run_path('script.py')"
        return _run([sys.executable, "-I", "-S", "-c", add], self._folder)


class Node:
    """An empty place with the Node client as npm installs it."""

    fence = "js"

    def __init__(self, packed: Path, folder: Path) -> None:
        self._folder = folder
        (package,) = packed.glob("*.tgz")
        (folder / "package.json").write_text('{"type": "module"}')
        _run(
            ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund", str(package)], folder
        )

    def run(self, script: str) -> str:
        """Run a script, and return what it prints."""
        (self._folder / "script.js").write_text(script)
        return _run(["node", "script.js"], self._folder)

    def check_types(self, script: str) -> None:
        """Check the types of a script."""
        (self._folder / "script.ts").write_text(script)
        tsc = TOP / "clients/node/node_modules/.bin/tsc"
        options = [
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--module",
            "nodenext",
            "--target",
            "es2022",
        ]
        types = ["--typeRoots", str(TOP / "clients/node/node_modules/@types"), "--types", "node"]
        _run([str(tsc), *options, *types, "script.ts"], self._folder)


def snippets(page: Path, fence: str) -> str:
    """Return a page's snippets in a language, as one script."""
    return "\n".join(re.findall(rf"(?ms)^```{fence}\n(.*?)^```$", page.read_text()))


def _run(command: list[str], folder: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
