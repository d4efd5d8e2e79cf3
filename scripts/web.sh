#!/usr/bin/env bash
# Bundles the web tier's scripts and styles into build/web/. Installs Node too if it is missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if ! have node || ! have npm; then
    install_packages "the web tier's scripts are bundled with them" nodejs npm
fi
folder=web/script
if [ ! -e $folder/node_modules/.package-lock.json ] ||
    [ $folder/package-lock.json -nt $folder/node_modules/.package-lock.json ]; then
    say "installing the Node packages in $folder/package-lock.json"
    # No install script has to run: esbuild's binary is a package of its own for each platform.
    logged npm-web npm --prefix $folder ci --ignore-scripts --no-progress
    touch $folder/node_modules/.package-lock.json
fi
logged web node $folder/build.mjs build/web
