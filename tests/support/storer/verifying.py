"""Verification for tests: the findings of VerifyKatas and of git fsck, and damage of every kind."""

import os
import re
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyberdojo.storer.v1 import storer_pb2
from support.storer.storing import Katas, git


@dataclass(frozen=True)
class Verified:
    """The answer of VerifyKatas."""

    findings: list[storer_pb2.KataFinding]
    summary: storer_pb2.VerifySummary

    def kinds(self) -> list[tuple[str, str, bool]]:
        """Return the kind and the path of each finding, and whether it was mended."""
        return [
            (
                storer_pb2.FindingKind.Name(each.kind).removeprefix("FINDING_KIND_"),
                each.path,
                each.mended,
            )
            for each in self.findings
        ]

    def unmended(self) -> list[tuple[str, str, bool]]:
        """Return the findings that must not be left after mending, whichever process died before.

        Dangling git objects may be left: they do no harm. So may a volume that never got a kata: a
        storer that starts removes the volume once it is a minute old.
        """
        return [
            each for each in self.kinds() if each[0] != "DANGLING" and each[:2] != ("LEFTOVER", ".")
        ]


def verify(katas: Katas, *kata_ids: str, mend: bool = False, **fields: Any) -> Verified:
    """Verify katas; check that the stream ends with a summary that matches the findings."""
    request = storer_pb2.VerifyKatasRequest(
        kata_ids=kata_ids, mend=mend, **{"share_percent": 100, **fields}
    )
    parts = list(katas.stub.VerifyKatas(request))
    assert [part.HasField("summary") for part in parts] == [False] * (len(parts) - 1) + [True]
    findings = [part.finding for part in parts if part.HasField("finding")]
    summary = parts[-1].summary
    assert summary.finding_count == len(findings)
    assert summary.mended_count == sum(each.mended for each in findings)
    return Verified(findings, summary)


def fsck(avatar_folder: Path) -> dict[str, set[str]]:
    """Return the objects that `git fsck --full` calls missing, damaged and dangling."""
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "fsck", "--full", "--no-progress"],
        cwd=avatar_folder,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    return {
        "missing": set(re.findall(r"(?m)^missing \w+ ([0-9a-f]{40})$", output)),
        "damaged": set(
            re.findall(r"(?m)^error: (?:sha1 mismatch for )?.*?([0-9a-f]{2}/?[0-9a-f]{38})", output)
        ),
        "dangling": set(re.findall(r"(?m)^dangling \w+ ([0-9a-f]{40})$", output)),
    }


def objects_of(verified: Verified, kind: str) -> set[str]:
    """Return the names of the loose objects that have a finding of this kind."""
    return {
        "".join(path.split("/")[-2:])
        for found, path, _ in verified.kinds()
        if found == kind and "/.git/objects/" in path and "/pack/" not in path
    }


def object_path(avatar_folder: Path, what: str) -> Path:
    """Return the file of an object, named as git names it (`2:light.json`)."""
    name = git(avatar_folder, "rev-parse", what).decode().strip()
    return avatar_folder / ".git" / "objects" / name[:2] / name[2:]


def overwrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file that may be read-only, in place."""
    content = change(path.read_bytes())
    path.chmod(0o600)
    path.write_bytes(content)


def another_content(content: bytes) -> bytes:
    """Return the object with its last byte changed: still readable, but of another digest."""
    raw = zlib.decompress(content)
    return zlib.compress(raw[:-1] + bytes([raw[-1] ^ 1]))
