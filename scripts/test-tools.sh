#!/usr/bin/env bash
# Installs the programs that the tests use and the product does not.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have mkfs.xfs || install_packages "the tests take a storer's power away, on ext4 and on xfs" xfsprogs
have faketime || install_packages "the tests put a storer's clock back" faketime
have zstd || install_packages "the tests unpack with it what the storer compressed" zstd
