#!/usr/bin/env bash
# scripts/clients.sh [FOLDER]
#
# Packs the clients, into an empty FOLDER or build/clients/: a source distribution and a wheel of the
# Python client, and the Node client as npm takes it, which scripts/node-client.sh has built.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

folder=${1:-$PWD/build/clients}
[ $# = 1 ] || rm -rf build/clients
mkdir -p "$folder"

# Packed from a copy, because setuptools packs what is beside its pyproject.toml. Without build
# isolation, for which an unlocked setuptools would be downloaded.
mkdir "$folder/python"
cp -R clients/python/. LICENSE cyber_dojo_client cyberdojo "$folder/python/"
find "$folder/python" -name __pycache__ -prune -exec rm -rf {} +
logged clients-python .venv/bin/uv build --offline --no-build-isolation --python .venv/bin/python \
    --out-dir "$folder" "$folder/python"

# From a copy too, with the licence beside it.
mkdir "$folder/node"
cp -R clients/node/package.json clients/node/README.md clients/node/dist LICENSE "$folder/node/"
logged clients-node npm pack --pack-destination "$folder" "$folder/node"
say "packed into $folder"
