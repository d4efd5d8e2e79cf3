"""How the memory of a service is set up."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from dojo.service import memory
memory.use_large_pages()
print(os.getpid(), os.environ["GLIBC_TUNABLES"])
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_service_starts_anew_with_large_pages_unless_somebody_decided_otherwise(
    before: dict[str, str], after: str
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**environ, **before},
        stdout=subprocess.PIPE,
        text=True,
    )
    printed, _ = process.communicate()
    assert printed.split() == [str(process.pid), after]
