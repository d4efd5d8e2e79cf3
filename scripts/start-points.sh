#!/usr/bin/env bash
# scripts/start-points.sh [FOLDER]
#
# Checks and indexes start points, and builds the images that are mounted into the storer:
# cyber-dojo/languages and cyber-dojo/exercises, with the tag of scripts/lib.sh. FOLDER has languages/ and exercises/ with a
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
    image=cyber-dojo/$kind:$CYBER_DOJO_TAG
    if ! up_to_date "$image" "$inputs"; then
        say "building $image"
        to_be_replaced "$image"
        logged "image-$kind" docker_build "$context/$kind" --network none --tag "$image" \
            --label "cyber-dojo.inputs=$inputs" --build-arg "kind=$kind"
    fi
    also_latest "$image"
done
remove_replaced
