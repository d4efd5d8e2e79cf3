#!/usr/bin/env bash
# Installs the programs that only the tests use.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have mkfs.xfs || install_packages "the tests simulate power failures on ext4 and xfs" xfsprogs
have faketime || install_packages "the tests set a storer's clock back" faketime
have zstd || install_packages "the tests unpack what the storer compressed" zstd
