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

# digest FILE...: one digest of the files' names and contents, whatever their times.
digest() {
    find "$@" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum | cut -c 1-64
}
