#!/usr/bin/env bash
# scripts/images.sh [NAME... | --all]
#
# Builds the images that are missing or out of date: cyber-dojo/storer and
# cyber-dojo/runner (the name for both is services) and language images,
# cyberdojofoundation/<folder in images/languages>. Without a name: the services and the
# languages in images/suite.txt. With --all: the services and all languages. An image that
# another one starts from is built before it.
#
# No build needs a network: what comes from one is gathered on the host before. Each image
# is kept as soon as it is complete: after an interruption the next call goes on from there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# A builder in a container of its own, if somebody's buildx is set to one, would not see
# the base images. The engine's own builder does.
export BUILDX_BUILDER=default

folder_of() {
    case $1 in
        services) echo images/services ;;
        *) echo "images/languages/$1" ;;
    esac
}

# The image that a folder's Dockerfile starts from.
base_of() {
    sed -n 's/^FROM \([^ ]*\).*/\1/p' "$1/Dockerfile" | head -n 1
}

# add NAME: to names, behind the language image that it starts from, but not twice.
add() {
    local folder base
    [[ " ${names[*]} " != *" $1 "* ]] || return 0
    folder=$(folder_of "$1")
    [ -e "$folder/Dockerfile" ] || fail "there is no image called $1" \
        "the names are services and those in images/languages: $(cd images/languages && echo *)"
    base=$(base_of "$folder")
    case $base in cyberdojofoundation/*) add "${base#*/}" ;; esac
    names+=("$1")
}

# build IMAGE CONTEXT OPTION...: unless IMAGE was built from the same inputs already.
build() {
    local image=$1 context=$2 base inputs
    shift 2
    base=$(base_of "$context")
    inputs=$({ digest "$context"; docker image inspect --format '{{.Id}}' "$base"; echo "$@"; } | sha256sum | cut -c 1-64)
    up_to_date "$image" "$inputs" && return
    say "building $image$progress"
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

names=()
case "$*" in
    "") for name in services $(sed 's/#.*//' images/suite.txt); do add "$name"; done ;;
    --all) for name in services $(cd images/languages && echo *); do add "$name"; done ;;
    *) for name; do add "$name"; done ;;
esac

bases=()
for name in "${names[@]}"; do
    folder=$(folder_of "$name")
    [ ! -e "$folder/packages.txt" ] || bases+=("$folder")
done
[ ${#bases[@]} = 0 ] || images/base/build.sh "${bases[@]}"

count=0
for name in "${names[@]}"; do
    count=$((count + 1))
    progress=" ($count of ${#names[@]})"
    case $name in
        services) services ;;
        *) language "$name" ;;
    esac
done

# What newer builds replaced. Not what may be on its way to a name at this moment.
docker image prune --force --filter label=cyber-dojo.inputs --filter until=1h >build/logs/image-prune.log 2>&1 || true
