#!/usr/bin/env bash
# scripts/images.sh [NAME...]
#
# Builds the images that are missing or out of date: cyber-dojo/storer and
# cyber-dojo/runner (the name for both is services) and the language images,
# cyberdojofoundation/<folder in images/languages>. Without a name: all of them.
#
# No build needs a network: what comes from one is gathered on the host before.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A builder in a container of its own, if somebody's buildx is set to one, would not see
# the base images. The engine's own builder does.
export BUILDX_BUILDER=default

# build IMAGE CONTEXT OPTION...: unless IMAGE was built from the same inputs already.
build() {
    local image=$1 context=$2 base inputs
    shift 2
    base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$context/Dockerfile" | head -n 1)
    inputs=$({ digest "$context"; docker image inspect --format '{{.Id}}' "$base"; echo "$@"; } | sha256sum | cut -c 1-64)
    up_to_date "$image" "$inputs" && return
    say "building $image"
    logged "image-$(basename "$image")" docker build --network none --tag "$image" \
        --label "cyber-dojo.inputs=$inputs" "$@" "$context"
}

language() {
    build "cyberdojofoundation/$1" "images/languages/$1"
}

services() {
    scripts/services-context.sh build/context/services
    build cyber-dojo/storer build/context/services --target storer
    build cyber-dojo/runner build/context/services --target runner
}

names=("$@")
if [ $# = 0 ]; then
    # An image that others start from comes before them: the ones with packages first.
    mapfile -t names < <(
        cd images/languages
        for name in *; do
            [ -e "$name/packages.txt" ] && echo "1 $name" || echo "2 $name"
        done | sort | cut -d ' ' -f 2
    )
    names=(services "${names[@]}")
fi

bases=()
for name in "${names[@]}"; do
    case $name in
        services) folder=images/services ;;
        *) folder=images/languages/$name ;;
    esac
    [ -e "$folder/Dockerfile" ] || fail "there is no image called $name" \
        "the names are services and those in images/languages: $(cd images/languages && echo *)"
    [ ! -e "$folder/packages.txt" ] || bases+=("$folder")
done
[ ${#bases[@]} = 0 ] || images/base/build.sh "${bases[@]}"

for name in "${names[@]}"; do
    case $name in
        services) services ;;
        *) language "$name" ;;
    esac
done

# What newer builds replaced. Not what may be on its way to a name at this moment.
docker image prune --force --filter label=cyber-dojo.inputs --filter until=1h >build/logs/image-prune.log 2>&1 || true
