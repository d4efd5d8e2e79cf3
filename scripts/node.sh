#!/usr/bin/env bash
# Gets what tests/node/package-lock.json names: the Node client's packages and buf, which
# lints the protos. Node itself only if there is none.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if ! have node || ! have npm; then
    install_packages "the test client in Node, and the linter of the protos" nodejs npm
fi
say "installing the Node packages that tests/node/package.json names"
# buf's binary is a package of its own for each platform, so no install script has to run.
logged npm-ci npm --prefix tests/node ci --ignore-scripts --no-progress
touch tests/node/node_modules/.package-lock.json
