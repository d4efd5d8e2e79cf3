#!/usr/bin/env bash
# scripts/images.sh [NAME... | --all]
#
# Builds the images that are missing or out of date: cyber-dojo/storer and cyber-dojo/runner
# (NAME services stands for both), cyber-dojo/web, cyber-dojo/ruby_lambdas, cyber-dojo/prometheus, what
# one of several machines runs too (etcd, haproxy, registry), and language images,
# cyberdojofoundation/<folder in images/languages>. Without NAME: the services, web, ruby_lambdas,
# the languages in images/suite.txt, and on one of several machines what it runs. With --all: all
# languages instead. Base images are built first.
#
# All but the languages have the tag that scripts/lib.sh says. What runs stays, whatever is built: up.sh
# gives it tags of its own.
#
# No build needs a network: the host downloads everything beforehand. Each image is kept when it
# is complete, so the next call continues after an interruption.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The engine's own builder sees the base images. A builder in a container, to which buildx may be
# set, does not.
export BUILDX_BUILDER=default

folder_of() {
    case $1 in
        services | web | ruby_lambdas | prometheus | etcd | haproxy | registry) echo "images/$1" ;;
        *) echo "images/languages/$1" ;;
    esac
}

# bases_of FOLDER: prints the images that its Dockerfile starts from, without scratch and stages.
bases_of() {
    sed -n 's/^FROM \([^ ]*\/[^ ]*\).*/\1/p' "$1/Dockerfile"
}

# add NAME: appends to names the language images that NAME starts from, and NAME, each only once.
add() {
    local folder base
    [[ " ${names[*]} " != *" $1 "* ]] || return 0
    folder=$(folder_of "$1")
    [ -e "$folder/Dockerfile" ] || fail "there is no image called $1" \
        "the names are services, web, ruby_lambdas, prometheus, etcd, haproxy, registry and those in images/languages: $(cd images/languages && echo *)"
    for base in $(bases_of "$folder"); do
        case $base in cyberdojofoundation/*) add "${base#*/}" ;; esac
    done
    names+=("$1")
}

# build IMAGE CONTEXT OPTION...: builds IMAGE unless it was built from the same inputs.
build() {
    local image=$1 context=$2 bases inputs
    shift 2
    mapfile -t bases < <(bases_of "$context")
    inputs=$({ digest "$context"; docker image inspect --format '{{.Id}}' "${bases[@]}"; echo "$@"; } | sha256sum | cut -c 1-64)
    if up_to_date "$image" "$inputs"; then
        also_latest "$image"
        return
    fi
    say "building $image$progress"
    to_be_replaced "$image"
    logged "image-$(basename "$image")" docker_build "$context" --network none --tag "$image" \
        --label "cyber-dojo.inputs=$inputs" "$@"
    also_latest "$image"
}

# npm_packages FOLDER CONTEXT: copies FOLDER to CONTEXT and installs there the Node packages that
# its package-lock.json names, without running any scripts of theirs.
npm_packages() {
    local folder=$1 context=$2 inputs
    inputs=$(digest "$folder")
    [ "$(cat "$context.inputs" 2>/dev/null)" != "$inputs" ] || return 0
    have npm || install_packages "npm downloads the packages in $folder/package.json" nodejs npm
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
    build "cyber-dojo/storer:$CYBER_DOJO_TAG" build/context/services --target storer
    build "cyber-dojo/runner:$CYBER_DOJO_TAG" build/context/services --target runner
}

web() {
    scripts/services-context.sh build/context/services
    scripts/web-context.sh build/context/web build/context/services
    build "cyber-dojo/web:$CYBER_DOJO_TAG" build/context/web
}

names=()
# Where the settings name deploy/machine, this is one of several machines.
of_machine=()
[[ ${COMPOSE_FILE:-} != *deploy/machine/* ]] || of_machine=(etcd haproxy registry)
case "$*" in
    "") for name in services web ruby_lambdas "${of_machine[@]}" $(sed 's/#.*//' images/suite.txt); do add "$name"; done ;;
    --all) for name in services web ruby_lambdas "${of_machine[@]}" $(cd images/languages && echo *); do add "$name"; done ;;
    *) for name; do add "$name"; done ;;
esac

bases=()
for name in "${names[@]}"; do
    folder=$(folder_of "$name")
    [ ! -e "$folder/packages.txt" ] || bases+=("$folder")
    [ "$name" != web ] || [[ " ${bases[*]} " = *" images/services "* ]] || bases+=(images/services)
done
[ ${#bases[@]} = 0 ] || images/base/build.sh "${bases[@]}"

count=0
for name in "${names[@]}"; do
    count=$((count + 1))
    progress=" ($count of ${#names[@]})"
    case $name in
        services) services ;;
        web) web ;;
        ruby_lambdas | prometheus | etcd | haproxy | registry) build "cyber-dojo/$name:$CYBER_DOJO_TAG" "images/$name" ;;
        *) language "$name" ;;
    esac
done

remove_replaced
