"""An older version of the services, out of git's history."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.paths import TOP

# The first version of which several machines can be one installation.
FIRST_OF_SEVERAL = "eb08a13210ff24e4d2b0fbbb7250e3495140d548"


def unpack(commit: str, folder: Path) -> Mapping[str, str]:
    """Unpack a version into a folder; return what a service's environment has to have to be it."""
    folder.mkdir()
    tar = subprocess.run(
        ["git", "-C", TOP, "archive", commit], capture_output=True, check=True, timeout=60
    ).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=tar, check=True, timeout=60)
    (folder / ".venv").symlink_to((TOP / ".venv").resolve())
    made = subprocess.run(
        [folder / "scripts/protos.sh"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    # Else Python would look into the folder that the tests run in first.
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
