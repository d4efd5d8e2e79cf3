#!/usr/bin/env bash
# scripts/lock.sh [OPTION-OF-UV...]
#
# Writes the locks, requirements/*.txt, from pyproject.toml: the version of every package and the
# hashes of all its files, for all platforms. A locked version stays as long as pyproject.toml
# allows it; --upgrade takes the newest instead.
#
# With uv, because pip-compile locks for this machine's Python and platform only, and takes hashes
# from the package sources that this machine's pip is configured with.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p build/lock

# lock FILE OPTION...: writes a lock. An unchanged one keeps its time, so make reinstalls nothing.
lock() {
    local name=$1
    shift
    [ ! -e "requirements/$name" ] || cp "requirements/$name" "build/lock/$name"
    logged "lock-$name" .venv/bin/uv pip compile --python .venv/bin/python --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" --extra traces --output-file "build/lock/$name" "$@" pyproject.toml
    # Behind an empty line uv lists what it left out.
    sed -i '/^$/,$d' "build/lock/$name"
    cmp --quiet "build/lock/$name" "requirements/$name" || cp "build/lock/$name" "requirements/$name"
}

say "locking the Python packages that pyproject.toml names"
# For the services' images: Debian 12's Python, on x86-64 and 64-bit ARM.
lock services.txt --python-platform x86_64-manylinux_2_36 "$@"
# For the web tier's image, beside those. What services.txt has is not listed again.
mapfile -t of_services < <(sed -n 's/^\([a-z0-9_.-]*\)==.*/--no-emit-package=\1/p' requirements/services.txt)
lock web.txt --extra web --python-platform x86_64-manylinux_2_36 --constraint requirements/services.txt "${of_services[@]}" "$@"
# For .venv: the same versions, and the development tools, for Python 3.11 and newer.
lock dev.txt --universal --extra web --group dev --constraint requirements/services.txt "$@"
