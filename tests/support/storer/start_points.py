"""Start points for a single test: one language and one exercise."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = "cyber-dojo.sh"


FILES = {SCRIPT: "fpc hiker.pas\n", "hiker.pas": "begin end.\n"}


def a_language(**keys: Any) -> dict[str, Any]:
    """Return the manifest of a language."""
    return {
        "display_name": "Pascal, own",
        "image_name": "cyberdojofoundation/pascal_own",
        "visible_filenames": [SCRIPT, "hiker.pas"],
        **keys,
    }


def write(
    folder: Path, manifest: dict[str, Any] | str, files: dict[str, str] | None = None
) -> None:
    """Write a start point, whose manifest may be given as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / "manifest.json").write_text(text)
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def index(*folders: Path) -> subprocess.CompletedProcess[str]:
    """Check and index folders of start points."""
    command = [sys.executable, "-m", "storer.start_points.index", *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with one language and one exercise, not indexed yet."""
    write(tmp_path / "languages/pascal", a_language(), FILES)
    exercise = {"display_name": "Own", "visible_filenames": ["instructions"]}
    write(tmp_path / "exercises/Own", exercise, {"instructions": "Do it.\n"})
    return tmp_path
