#!/usr/bin/env bash
# scripts/start-points.sh [FOLDER]
# scripts/start-points.sh --add languages|exercises|custom FOLDER
#
# Checks and indexes start points, and builds the images that are mounted into the storer:
# cyber-dojo/languages, cyber-dojo/exercises and cyber-dojo/custom, with the tag of scripts/lib.sh.
# FOLDER has languages/ and exercises/, and maybe custom/, with a folder for each start point; the
# default is this project's start_points/.
#
# With --add, FOLDER is one start point, or has some in it. They are added to those of the storer that
# runs, which serves them at once, and are kept in CYBER_DOJO_ADDED_START_POINTS, so that they are in
# all images that are built from then on.
set -euo pipefail
usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
adds=
case ${1:-} in
    --add)
        [ $# = 3 ] || usage
        case $2 in languages | exercises | custom) ;; *) usage ;; esac
        adds=$2
        shift 2
        ;;
    --*) usage ;;
esac
folder=$(realpath "${1:-$(dirname "$0")/../start_points}")
. "$(dirname "$0")/lib.sh"
added=${CYBER_DOJO_ADDED_START_POINTS:-/var/lib/${CYBER_DOJO_NAMESPACE:-cyber-dojo}/start_points}

# Files that belong to the operator are mounted where they are, so that errors name them there.
add() {
    local container storer
    container=$(scripts/compose ps --all --quiet "$1")
    storer=$(scripts/compose ps --quiet storer)
    [ -n "$container" ] && [ -n "$storer" ] || fail "the storer does not run" "start it: make up"
    docker run --rm --network none --read-only --cap-drop ALL --cap-add DAC_OVERRIDE \
        --volumes-from "$container" --volume "$folder:$folder:ro" --entrypoint python3 \
        "$(docker inspect --format '{{.Image}}' "$storer")" \
        -m storer.start_points.add "/usr/src/cyber-dojo/start_points/$1" "$folder" ||
        fail "nothing was added: correct $folder"
    as_root mkdir -p "$added/$1"
    as_root cp -R "$folder" "$added/$1/"
    say "the storer serves it; it is kept in $added/$1"
}
if [ -n "$adds" ]; then
    add "$adds"
    exit
fi

for kind in languages exercises; do
    [ -d "$folder/$kind" ] || fail "there is no folder $folder/$kind"
done
checked=("$folder/languages" "$folder/exercises")
[ ! -d "$folder/custom" ] || checked+=("$folder/custom")
.venv/bin/python -m storer.start_points.index --check "${checked[@]}" ||
    fail "the start points in $folder have errors: correct them"

context=build/context/start-points
rm -rf $context
for kind in languages exercises custom; do
    mkdir -p "$context/$kind/$kind"
    for from in "$folder" "$added"; do
        [ ! -d "$from/$kind" ] || cp -R "$from/$kind/." "$context/$kind/$kind/"
    done
    find "$context/$kind" -name .git -prune -exec rm -rf {} +
done
.venv/bin/python -m storer.start_points.index $context/languages/languages $context/exercises/exercises \
    $context/custom/custom >build/logs/start-points.log 2>&1 || {
    sed 's/^/   | /' build/logs/start-points.log >&2
    fail "the start points of $folder and those that were added to them, in $added, don't go together"
}

for kind in languages exercises custom; do
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
