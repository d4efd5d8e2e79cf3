#!/usr/bin/env bash
# scripts/start-points.sh [FOLDER]
#
# Checks and indexes start points, and builds the images that are mounted into the storer:
# cyber-dojo/languages and cyber-dojo/exercises. FOLDER has languages/ and exercises/ with a
# folder for each start point; the default is this project's start_points/.
set -euo pipefail
folder=$(realpath "${1:-$(dirname "$0")/../start_points}")
. "$(dirname "$0")/lib.sh"

context=build/context/start-points
rm -rf $context
for kind in languages exercises; do
    mkdir -p "$context/$kind"
    cp -R "$folder/$kind" "$context/$kind/" 2>/dev/null || fail "there is no folder $folder/$kind"
    find "$context/$kind" -name .git -prune -exec rm -rf {} +
done
.venv/bin/python -m storer.start_points.index $context/languages/languages $context/exercises/exercises \
    >build/logs/start-points.log || fail "the start points in $folder have errors: correct them"

for kind in languages exercises; do
    mv "$context/$kind/$kind" "$context/$kind/files"
    cp images/start_points/Dockerfile "$context/$kind/"
    base=$(docker image inspect --format '{{.Id}}' cyber-dojo/base-services)
    inputs=$({ digest "$context/$kind"; echo "$base"; } | sha256sum | cut -c 1-64)
    up_to_date "cyber-dojo/$kind" "$inputs" && continue
    say "building cyber-dojo/$kind"
    to_be_replaced "cyber-dojo/$kind"
    logged "image-$kind" docker build --network none --tag "cyber-dojo/$kind" \
        --label "cyber-dojo.inputs=$inputs" --build-arg "kind=$kind" "$context/$kind"
done
remove_replaced
