#!/usr/bin/env bash
# Installs the programs that the tests use and the product does not.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have zstd || install_packages "the tests unpack with it what the storer compressed" zstd
