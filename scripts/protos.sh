#!/usr/bin/env bash
# Generates the package cyberdojo/ (messages, stubs, servicers and their types) from protos/. The
# service config, which clients read, goes with them. The messages of etcd's API are generated from
# dojo/etcd/rpc.proto, into dojo/etcd/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

new=build/protos
rm -rf $new
mkdir -p $new
mapfile -t protos < <(cd protos && find cyberdojo -name '*.proto' | LC_ALL=C sort)
say "generating cyberdojo/ from ${#protos[@]} protos"

# The protos of google.rpc are installed with its Python package.
google=$(.venv/bin/python -c 'import google.rpc, pathlib; print(pathlib.Path(list(google.rpc.__path__)[0]).parents[1])')
logged protos .venv/bin/python -m grpc_tools.protoc --proto_path protos --proto_path "$google" \
    --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy \
    --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc \
    --python_out=$new --grpc_python_out=$new --mypy_out=quiet:$new --mypy_grpc_out=quiet:$new \
    "${protos[@]}"
# etcd's are ours to call only, and stay beside the code that does.
logged protos-etcd .venv/bin/python -m grpc_tools.protoc --proto_path . \
    --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy \
    --python_out=. --mypy_out=quiet:. dojo/etcd/rpc.proto
find $new/cyberdojo -type d -exec touch {}/__init__.py \;
touch $new/cyberdojo/py.typed
cp protos/service_config.json $new/cyberdojo/

rm -rf cyberdojo
mv $new/cyberdojo cyberdojo
