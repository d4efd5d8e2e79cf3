#!/usr/bin/env bash
# Installs the packages in clients/node/package-lock.json: those of the Node client, and buf, which
# lints the protos. Installs Node too if it is missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if ! have node || ! have npm; then
    install_packages "the Node client and the linter of the protos need them" nodejs npm
fi
say "installing the Node packages in clients/node/package-lock.json"
# No install script has to run: buf's binary is a package of its own for each platform.
logged npm-ci npm --prefix clients/node ci --ignore-scripts --no-progress
touch clients/node/node_modules/.package-lock.json
