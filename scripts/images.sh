#!/usr/bin/env bash
# scripts/images.sh [NAME... | --all]
#
# Builds the images that are missing or out of date: cyber-dojo/storer and
# cyber-dojo/runner (the name for both is services), cyber-dojo/ruby_lambdas, and language
# images, cyberdojofoundation/<folder in images/languages>. Without a name: all but the
# languages that images/suite.txt has not. With --all: all of them. An image that another one
# starts from is built before it.
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
        services | ruby_lambdas) echo "images/$1" ;;
        *) echo "images/languages/$1" ;;
    esac
}

# The images that a folder's Dockerfile starts from; not scratch, nor stages of its own.
bases_of() {
    sed -n 's/^FROM \([^ ]*\/[^ ]*\).*/\1/p' "$1/Dockerfile"
}

# add NAME: to names, behind the language images that it starts from, but not twice.
add() {
    local folder base
    [[ " ${names[*]} " != *" $1 "* ]] || return 0
    folder=$(folder_of "$1")
    [ -e "$folder/Dockerfile" ] || fail "there is no image called $1" \
        "the names are services, ruby_lambdas and those in images/languages: $(cd images/languages && echo *)"
    for base in $(bases_of "$folder"); do
        case $base in cyberdojofoundation/*) add "${base#*/}" ;; esac
    done
    names+=("$1")
}

# build IMAGE CONTEXT OPTION...: unless IMAGE was built from the same inputs already.
build() {
    local image=$1 context=$2 bases inputs
    shift 2
    mapfile -t bases < <(bases_of "$context")
    inputs=$({ digest "$context"; docker image inspect --format '{{.Id}}' "${bases[@]}"; echo "$@"; } | sha256sum | cut -c 1-64)
    up_to_date "$image" "$inputs" && return
    say "building $image$progress"
    to_be_replaced "$image"
    logged "image-$(basename "$image")" docker build --network none --tag "$image" \
        --label "cyber-dojo.inputs=$inputs" "$@" "$context"
}

# npm_packages FOLDER CONTEXT: gathers in CONTEXT what FOLDER has, and the Node packages that
# its package-lock.json names. No script of theirs is run.
npm_packages() {
    local folder=$1 context=$2 inputs
    inputs=$(digest "$folder")
    [ "$(cat "$context.inputs" 2>/dev/null)" != "$inputs" ] || return 0
    have npm || install_packages "gathers what $folder/package.json names" nodejs npm
    rm -rf "$context" "$context.inputs"
    mkdir -p "$context"
    cp "$folder"/* "$context/"
    logged "npm-$(basename "$folder")" npm --prefix "$context" ci --ignore-scripts --no-bin-links --no-progress
    echo "$inputs" >"$context.inputs"
}

language() {
    local context=images/languages/$1
    if [ -e "$context/package-lock.json" ]; then
        npm_packages "$context" "build/context/$1"
        context=build/context/$1
    fi
    build "cyberdojofoundation/$1" "$context"
}

services() {
    scripts/services-context.sh build/context/services
    build cyber-dojo/storer build/context/services --target storer
    build cyber-dojo/runner build/context/services --target runner
}

names=()
case "$*" in
    "") for name in services ruby_lambdas $(sed 's/#.*//' images/suite.txt); do add "$name"; done ;;
    --all) for name in services ruby_lambdas $(cd images/languages && echo *); do add "$name"; done ;;
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
        ruby_lambdas) build cyber-dojo/ruby_lambdas images/ruby_lambdas ;;
        *) language "$name" ;;
    esac
done

remove_replaced
