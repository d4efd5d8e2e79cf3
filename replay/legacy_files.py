"""The files of a legacy light as they were run, which is not how they were recorded.

Until about 2015 files were recorded as they came from the editor, and changed on their way into
the sandbox. A replay has to repeat both changes: the editor had no tabs, so the server put those of
a makefile back; and the script could have its older name.
"""

from collections.abc import Mapping

from cyberdojo.storer.v1 import storer_pb2
from dojo.visible_files import CYBER_DOJO_SH

OLDER_NAME = "cyberdojo.sh"


def files_to_run(light: storer_pb2.Light, recorded: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files to run for this light."""
    files = dict(recorded)
    if light.HasField("status"):  # then a storer recorded the light
        return files
    if CYBER_DOJO_SH not in files and OLDER_NAME in files:
        files[CYBER_DOJO_SH] = files[OLDER_NAME]
    for name, content in files.items():
        if name.rpartition("/")[2].lower() == "makefile":
            files[name] = b"\n".join(_with_tab(line) for line in content.split(b"\n"))
    return files


def _with_tab(line: bytes) -> bytes:
    """Return a makefile's line with its leading blanks replaced by one tab."""
    stripped = line.lstrip(b" \t")
    return line if stripped == line else b"\t" + stripped
