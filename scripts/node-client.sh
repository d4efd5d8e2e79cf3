#!/usr/bin/env bash
# Builds clients/node/dist: generates the messages from protos/, and compiles them with the client.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

node=clients/node
new=build/node-protos
rm -rf $new
mkdir -p $new
say "building $node/dist"

# The protos of google.rpc are installed with its Python package.
google=$(.venv/bin/python -c 'import google.rpc, pathlib; print(pathlib.Path(list(google.rpc.__path__)[0]).parents[1])')
mapfile -t protos < <(cd protos && find cyberdojo -name '*.proto' | LC_ALL=C sort)
logged node-protos .venv/bin/python -m grpc_tools.protoc --proto_path protos --proto_path "$google" \
    --plugin=protoc-gen-es=$node/node_modules/.bin/protoc-gen-es \
    --es_out=$new --es_opt=target=ts,import_extension=js \
    "${protos[@]}" google/rpc/error_details.proto google/rpc/status.proto
printf 'export * from "./%s_pb.js";\n' "${protos[@]%.proto}" >$new/index.ts
{ printf 'export default ' && cat protos/service_config.json; } >$new/service_config.ts
rm -rf $node/src/gen $node/dist
mv $new $node/src/gen
logged node-tsc $node/node_modules/.bin/tsc --project $node
