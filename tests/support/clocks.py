"""Programs whose clock differs from that of this machine."""

from pathlib import Path


def shifted(seconds: int) -> dict[str, str]:
    """Return the environment in which a program's clock is so many seconds ahead.

    Its monotonic clock is the machine's, as on every machine. The program uses libfaketime, which
    scripts/test-tools.sh installs; one that is written in Go does not.
    """
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
