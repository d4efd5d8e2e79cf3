#!/usr/bin/env bash
# scripts/launcher.sh [FILE]
#
# Compiles the launcher, runner/launch/launcher.c, to FILE or beside its source. It is linked
# statically, so it runs in any image.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

source=runner/launch/launcher.c
output=${1:-runner/launch/launcher}
[ ! "$output" -nt $source ] || exit 0
have gcc && [ -e /usr/include/stdio.h ] ||
    install_packages "the runner's launcher is written in C" gcc libc6-dev
gcc -std=gnu17 -O2 -Wall -Wextra -Werror -static -s -o "$output.part" $source
mv "$output.part" "$output"
