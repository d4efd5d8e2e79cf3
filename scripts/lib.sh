# shellcheck shell=bash
# What the scripts here share. They source this file first; it puts them at the
# top of the checkout.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
mkdir -p build/logs

say() {
    printf -- '-- %s\n' "$*"
}

# fail LINE...: says why, and what to do, then stops.
fail() {
    printf -- '** %s\n' "$@" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# logged NAME COMMAND...: the command's output goes to build/logs/NAME.log, the
# end of which is shown when the command fails.
logged() {
    local log="build/logs/$1.log"
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" | sed 's/^/   | /' >&2
        fail "this failed: $*" "all of its output is in $log"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        # Without these apt would not find its way out through a proxy.
        sudo --preserve-env=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY "$@"
    else
        fail "this needs root, and there is no sudo: $*" "run it as root, then try again"
    fi
}

# install_packages WHY PACKAGE...: Debian packages; those already there stay as they are.
install_packages() {
    local why=$1 package missing=()
    shift
    for package; do
        dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null |
            grep -q '^.i' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || fail "$why: needs ${missing[*]}, and there is no apt-get here to install it" \
        "install it by hand, then try again"
    say "installing ${missing[*]}: $why"
    # A package source that does not answer is no reason to stop: if it mattered,
    # the installation says so.
    as_root apt-get update >build/logs/apt-update.log 2>&1 </dev/null || true
    logged "apt-install-${missing[0]}" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
}

# up_to_date IMAGE INPUTS: whether the image was built from inputs of that digest.
up_to_date() {
    [ "$(docker image inspect --format '{{index .Config.Labels "cyber-dojo.inputs"}}' "$1" 2>/dev/null)" = "$2" ]
}

# The ids of images of ours whose names went to newer ones, or are about to.
replaced_images=build/replaced-images

# to_be_replaced IMAGE: it is about to be built again. Nobody else's image is ever removed for that:
# not one of that name that was not built here, nor one that somebody built from ours.
to_be_replaced() {
    docker image inspect --format '{{if index .Config.Labels "cyber-dojo.inputs"}}{{.Id}}{{end}}' "$1" \
        >>$replaced_images 2>/dev/null || true
}

# remove_replaced: those without a name. One that a container has, or an image is built from, has
# to wait for the next time.
remove_replaced() {
    local id names left=()
    [ -e $replaced_images ] || return 0
    for id in $(sort -u $replaced_images); do
        names=$(docker image inspect --format '{{len .RepoTags}}' "$id" 2>/dev/null) || continue
        [ "$names" = 0 ] && docker image rm "$id" >/dev/null 2>&1 || left+=("$id")
    done
    printf '%s\n' "${left[@]}" >$replaced_images
}

# digest FILE...: one digest of the files' names and contents, whatever their times.
digest() {
    find "$@" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum | cut -c 1-64
}
