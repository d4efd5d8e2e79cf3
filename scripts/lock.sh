#!/usr/bin/env bash
# scripts/lock.sh [OPTION-OF-UV...]
#
# Writes the locks, requirements/*.txt, from pyproject.toml: the version of every package and
# the hashes of all its files, so they hold on every platform. A version in a lock stays as
# long as pyproject.toml admits that version; --upgrade takes the newest instead.
#
# By uv, not by pip-compile: pip-compile writes what this machine's Python and platform need,
# and takes hashes from the package sources that this machine's pip is set up with.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p build/lock

# lock FILE OPTION...: a lock that stays the same keeps its time, so make installs nothing again.
lock() {
    local name=$1
    shift
    cp "requirements/$name" "build/lock/$name"
    logged "lock-$name" .venv/bin/uv pip compile --python .venv/bin/python --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" --output-file "build/lock/$name" "$@" pyproject.toml
    cmp --quiet "build/lock/$name" "requirements/$name" || cp "build/lock/$name" "requirements/$name"
}

say "locking the Python packages that pyproject.toml names"
# What is in the services' images: Debian 12's Python, on x86-64 and 64-bit ARM.
lock services.txt --python-platform x86_64-manylinux_2_36 "$@"
# What is in .venv: the same versions, and the tools. For any Python from 3.11 on.
lock dev.txt --universal --group dev --constraint requirements/services.txt "$@"
